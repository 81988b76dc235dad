//! The worlds that cells start from, made once and copied; and looking into a copy.

use std::collections::{BTreeMap, BTreeSet};

use dacapo::sandbox::{Admin, Ready, Request};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::calls::CALLS;
use crate::support::Project;

/// How fast the clock of a cell's world runs: no faster, or on a busy machine a proof is stale before it is used.
const SPEED: u32 = 200;

/// What a cell starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Start {
    /// Nothing was ever there.
    New,
    /// The session is up and agrees with its spec.
    Up,
    /// A model was trained that isn't stored.
    Worked,
    /// The machine is shut down.
    Offline,
    /// The machine is gone as it should, its volume isn't.
    Leftover,
}

/// The worlds to copy.
pub struct Prepared {
    worlds: BTreeMap<Start, Project>,
    /// How many calls of each column there are when nothing goes wrong.
    usual: Vec<u64>,
    uncovered: BTreeSet<String>,
    /// The model that the store starts with.
    pub model: Vec<u8>,
}

/// What was trained on the machine of [`Start::Worked`].
pub fn trained() -> Vec<u8> {
    (0..5_000).flat_map(|line| format!("trained {line}\n").into_bytes()).collect()
}

impl Prepared {
    /// Makes the worlds, and learns from a day without faults which calls there are.
    pub fn new() -> Self {
        let new = Project::with_speed(SPEED);
        new.dacapo(&["plan"]).exits(0);
        let admin = World::of(&new);
        admin.set(&json!({"cloud": {"balance": 1000.0}}));
        drop(admin);
        let mut worlds = BTreeMap::from([(Start::New, stopped(new))]);

        let mut up = worlds[&Start::New].copy(SPEED);
        up.dacapo(&["up", "--yes"]).exits(0);
        let model = std::fs::read(up.server().join("lesson3/export.pkl")).unwrap();
        up.stop_world();
        worlds.insert(Start::Up, up);

        let worked = worlds[&Start::Up].copy(SPEED);
        std::fs::write(worked.server().join("lesson3/export.pkl"), trained()).unwrap();
        worlds.insert(Start::Worked, stopped(worked));

        let offline = worlds[&Start::Up].copy(SPEED);
        let world = World::of(&offline);
        world.set(&json!({"cloud": {"status": {world.instance(): "offline"}}}));
        drop(world);
        worlds.insert(Start::Offline, stopped(offline));
        worlds.insert(Start::Leftover, leftover(&worlds[&Start::Up]));

        let mut prepared = Self { worlds, usual: Vec::new(), uncovered: BTreeSet::new(), model };
        prepared.learn();
        prepared
    }

    /// Returns a copy that runs.
    pub fn copy(&self, start: Start) -> Project {
        self.worlds[&start].copy(SPEED)
    }

    /// Returns how many calls of a column there are when nothing goes wrong.
    pub fn usual(&self, call: &super::Call) -> u64 {
        let column = CALLS.iter().position(|other| other.name == call.name).unwrap();
        self.usual[column]
    }

    /// Returns the calls of a day without faults that no column is about.
    pub fn uncovered(&self) -> BTreeSet<String> {
        self.uncovered.clone()
    }

    fn learn(&mut self) {
        let mut usual = vec![0; CALLS.len()];
        let mut commands: Vec<_> = CALLS.iter().map(|call| (call.start, call.command)).collect();
        commands.sort_unstable();
        commands.dedup();
        for (start, command) in commands {
            let columns: Vec<usize> = (0..CALLS.len())
                .filter(|column| (CALLS[*column].start, CALLS[*column].command) == (start, command))
                .collect();
            let project = self.copy(start);
            let world = World::of(&project);
            let rules: Vec<Value> =
                columns.iter().map(|column| CALLS[*column].rule(json!(0), json!("cut"))).collect();
            world.faults(&rules);
            project.dacapo(command).exits(0);
            let told = world.strikes();
            for (place, column) in columns.iter().enumerate() {
                usual[*column] = told["rules"][place]["matched"].as_u64().unwrap();
            }
            self.uncovered.extend(world.requests().iter().filter(|one| !is_covered(one)).map(described));
        }
        self.usual = usual;
    }
}

fn stopped(mut project: Project) -> Project {
    project.stop_world();
    project
}

/// Ends the machine as a `down` that was cut short would have, but keeps its volume.
fn leftover(up: &Project) -> Project {
    let project = up.copy(SPEED);
    let world = World::of(&project);
    // The volume is detached by the one deletion that doesn't name it.
    world.faults(&[json!({"service": "cloud", "method": "PUT", "path": "/v1/volumes", "times": "always",
                          "fault": "forbidden"})]);
    let id = world.instance();
    world.cloud("PUT", "/instances", &json!({"action": "delete", "id": [id.as_str()], "volume_ids": []}));
    // It is gone, not going.
    world.jump(600.0);
    let path = "/fastai/lesson3/.dacapo/lesson3.json";
    let mut record: Value = serde_json::from_str(&world.download(path)).unwrap();
    let volume = world.bill()["billing"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["kind"] == "volume")
        .map(|one| one["id"].clone())
        .unwrap();
    record["machine"]["ending"] =
        json!({"id": id, "at": "2026-11-24T00:00:00Z", "volumes": [volume], "discarded": []});
    world.upload(path, &record.to_string());
    world.clear_faults();
    drop(world);
    stopped(project)
}

fn is_covered(request: &Request) -> bool {
    !["cloud", "dropbox_api", "dropbox_content"].contains(&request.service.as_str())
        || CALLS.iter().any(|call| {
            (call.service, call.method) == (&request.service, &request.method)
                && same_path(call.path, &request.path)
        })
}

fn same_path(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern.iter().zip(&path).all(|(wanted, part)| *wanted == "*" || wanted == part)
}

fn described(request: &Request) -> String {
    format!("{} {} {}", request.service, request.method, request.path)
}

/// A look into a running world.
pub struct World {
    ready: Ready,
    admin: Admin,
    http: reqwest::Client,
    runtime: Runtime,
}

impl World {
    pub fn of(project: &Project) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ready: Ready = serde_json::from_value(project.ready.clone()).unwrap();
        let admin = Admin::of(&ready).unwrap();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Self { ready, admin, http, runtime }
    }

    pub fn faults(&self, rules: &[Value]) {
        self.runtime.block_on(self.admin.faults(&json!({"rules": rules}))).unwrap();
    }

    /// Adds a whole fault plan.
    pub fn plan(&self, plan: &Value) {
        self.runtime.block_on(self.admin.faults(plan)).unwrap();
    }

    pub fn clear_faults(&self) {
        self.runtime.block_on(self.admin.clear_faults()).unwrap();
    }

    pub fn strikes(&self) -> Value {
        self.runtime.block_on(self.admin.strikes()).unwrap()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.runtime.block_on(self.admin.requests()).unwrap()
    }

    pub fn bill(&self) -> Value {
        self.runtime.block_on(self.admin.bill()).unwrap()
    }

    pub fn jump(&self, seconds: f64) {
        self.runtime.block_on(self.admin.jump(seconds)).unwrap();
    }

    pub fn set(&self, changes: &Value) {
        self.runtime.block_on(self.admin.set(changes)).unwrap();
    }

    /// Returns the ids of every machine that ever billed.
    pub fn machines(&self) -> BTreeSet<String> {
        let bill = self.bill();
        let all = ["billing", "ended"].into_iter().flat_map(|part| bill[part].as_array().unwrap().clone());
        let machines = all.filter(|one| one["kind"] == "instance");
        machines.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns every key that the account holds.
    pub fn keys(&self) -> Vec<Value> {
        serde_json::from_str(&self.cloud("GET", "/ssh-keys", &Value::Null)).unwrap()
    }

    /// Returns the id of the machine that bills.
    pub fn instance(&self) -> String {
        let bill = self.bill();
        let mut billing = bill["billing"].as_array().unwrap().iter();
        let instance = billing.find(|one| one["kind"] == "instance").expect("a machine bills");
        instance["id"].as_str().unwrap().to_owned()
    }

    /// Asks the cloud with a token of its own.
    pub fn cloud(&self, method: &str, path: &str, body: &Value) -> String {
        self.runtime.block_on(async {
            let login = json!({"grant_type": "client_credentials", "client_id": self.ready.client_id,
                               "client_secret": self.ready.client_secret});
            let url = format!("{}/oauth2/token", self.ready.cloud);
            let token = self.http.post(url).json(&login).send().await.unwrap().json::<Value>().await.unwrap();
            let url = format!("{}{path}", self.ready.cloud);
            let call = self.http.request(method.parse().unwrap(), url);
            let call = call.bearer_auth(token["access_token"].as_str().unwrap());
            let call = if body.is_null() { call } else { call.json(body) };
            let answer = call.send().await.unwrap();
            let status = answer.status();
            let text = answer.text().await.unwrap();
            assert!(status.is_success(), "{method} {path}: {status} {text}");
            text
        })
    }

    fn download(&self, path: &str) -> String {
        self.content("download", &json!({"path": path}), None)
    }

    fn upload(&self, path: &str, text: &str) {
        self.content("upload", &json!({"path": path, "mode": "overwrite"}), Some(text));
    }

    fn content(&self, route: &str, argument: &Value, body: Option<&str>) -> String {
        self.runtime.block_on(async {
            let url = format!("{}/2/files/{route}", self.ready.dropbox_content);
            let call = self.http.post(url).bearer_auth(&self.ready.dropbox_token);
            let call = call.header("dropbox-api-arg", argument.to_string());
            let call = match body {
                Some(text) => call.header("content-type", "application/octet-stream").body(text.to_owned()),
                None => call,
            };
            let answer = call.send().await.unwrap();
            assert!(answer.status().is_success(), "{route}: {}", answer.status());
            answer.text().await.unwrap()
        })
    }
}
