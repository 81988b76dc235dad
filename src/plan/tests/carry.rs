//! Plans carried out on generated worlds by a small model of `apply` and of the worlds.
//!
//! The model looks at every single action with its own eyes: whatever an action would overwrite, hide or
//! delete must be elsewhere, or named as a loss. Then it plans again, until nothing is left to do.

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::*;
use crate::facts::{Kernel, Notebook};
use crate::guard;
use crate::record::{Goal, Hand, Step, View};
use crate::version::{file_name, free_name, versions};
use crate::{facts, spec};

const PACKED: &str = "2026-11-19_export.pkl.gz";

/// What was chosen for one generated world.
#[derive(Clone, Debug)]
struct Choice {
    absent: bool,
    machine: Rental,
    status: &'static str,
    login: bool,
    ending: bool,
    reachable: bool,
    set_up: bool,
    files: Option<usize>,
    process: bool,
    checkout: &'static str,
    artifact: &'static str,
    notebook: &'static str,
    setup: &'static str,
    stored: Vec<&'static str>,
    base: Option<&'static str>,
    wanted: &'static str,
    surroundings: Vec<&'static str>,
    discards: Vec<&'static str>,
    keep_disk: bool,
    replace: bool,
    trashed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rental {
    Never,
    Intended,
    IntendedLongAgo,
    Doubted,
    Arrived,
    Unrecorded,
    Ghost,
    Recorded,
    UnknownToAccount,
}

fn choices() -> impl Strategy<Value = Choice> {
    use Rental::*;
    let rental =
        select(vec![Never, Intended, IntendedLongAgo, Doubted, Arrived, Unrecorded, Ghost, UnknownToAccount]);
    let machine = (
        any::<bool>(),
        prop_oneof![3 => Just(Recorded), 1 => rental],
        prop_oneof![
            2 => Just("running"),
            1 => select(vec![
                "ordered", "provisioning", "offline", "deleting", "discontinued", "no_capacity", "error", "unknown",
            ]),
        ],
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.9),
    );
    let server = (
        any::<bool>(),
        select(vec![None, Some(0), Some(0), Some(0), Some(2)]),
        prop::bool::weighted(0.2),
        select(vec![
            "none",
            "clean",
            "clean",
            "behind",
            "behind dirty",
            "ahead",
            "parted",
            "dirty",
            "stash",
            "other branch",
            "detached",
            "broken",
            "other remote",
            "merging",
        ]),
        select(vec!["missing", "empty", "v1", "v2", "payload", "mine", "unreadable", "unmentioned", "large"]),
        select(vec!["none", "none", "wanted", "runs", "other port", "kernel", "unwanted", "image's"]),
        select(vec![
            "none", "none", "wanted", "done", "half", "broke", "other", "changed", "missing", "unwanted",
        ]),
    );
    let store = (
        subsequence(vec![V1, V2, PACKED], 0..=3),
        select(vec![None, Some(V1), Some(V2), Some(PACKED)]),
        select(vec!["latest", "latest", "named", "content", "none"]),
    );
    let around = (
        subsequence(
            vec![
                "foreign machine",
                "foreign volume",
                "explained",
                "unexplained",
                "no key",
                "data volume",
                "local",
            ],
            0..=7,
        ),
        subsequence(
            vec![
                "server:gone",
                "server:unreachable",
                "repo:untracked",
                "repo:unpushed",
                "artifacts:model",
                "files:**",
                "processes",
                "volume:left",
            ],
            0..=8,
        ),
        prop::bool::weighted(0.5),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.2),
        any::<bool>(),
    );
    (machine, server, store, around).prop_map(|(machine, server, store, around)| Choice {
        absent: machine.0,
        machine: machine.1,
        status: machine.2,
        login: machine.3,
        ending: machine.4,
        reachable: machine.5,
        set_up: server.0,
        files: server.1,
        process: server.2,
        checkout: server.3,
        artifact: server.4,
        notebook: server.5,
        setup: server.6,
        stored: store.0,
        base: store.1,
        wanted: store.2,
        surroundings: around.0,
        discards: if around.2 { Vec::new() } else { around.1 },
        keep_disk: around.3,
        replace: around.4,
        trashed: around.5,
    })
}

/// The worlds, with what only they know: the disk of a machine that can't be looked at just now.
#[derive(Clone, Debug, PartialEq)]
struct Worlds {
    spec: Spec,
    seen: Observed,
    disk: Probe,
    reachable: bool,
    discards: Vec<Discard>,
    keep_disk: bool,
    replace: bool,
    machines: usize,
}

fn build(choice: &Choice) -> Worlds {
    let mut worlds = Worlds {
        spec: spec(),
        seen: observed(),
        disk: probe(),
        reachable: choice.reachable,
        discards: choice.discards.iter().map(|word| word.parse().unwrap()).collect(),
        keep_disk: choice.keep_disk,
        replace: choice.replace,
        machines: 1,
    };
    put_in_store(&mut worlds, choice);
    put_on_disk(&mut worlds, choice);
    put_notebook(&mut worlds, choice.notebook);
    put_set_up(&mut worlds, choice.setup);
    put_machine(&mut worlds, choice);
    let unused = worlds.seen.record.machine.as_ref().is_some_and(|machine| !machine.login);
    if unused || choice.machine == Rental::Arrived {
        worlds.disk = as_the_image_made_it();
    }
    choice.surroundings.iter().for_each(|what| put_around(&mut worlds.seen, what));
    if choice.replace {
        worlds.spec.instance.types = vec!["big".to_owned()];
    }
    if choice.trashed && choice.status == "discontinued" {
        let cloud = &mut worlds.seen.cloud;
        let (gone, there) = cloud.volumes.drain(..).partition(|volume| volume.id == "os-m-1");
        (cloud.trash, cloud.volumes) = (Some(gone), there);
    }
    worlds.look();
    worlds
}

fn put_in_store(worlds: &mut Worlds, choice: &Choice) {
    let content = |name: &str| match name {
        V1 => "v1",
        V2 => "v2",
        _ => "gzipped",
    };
    let (spec, seen) = (&mut worlds.spec, &mut worlds.seen);
    let listed = choice.stored.iter().enumerate();
    seen.store.files = listed.map(|(number, name)| stored(name, content(name), number as i64)).collect();
    if choice.absent {
        spec.state = State::Absent;
    }
    let last = choice.stored.last().map(|name| (*name).to_owned());
    let wanted = match (choice.wanted, last) {
        ("named", Some(name)) => Wanted::Named(name),
        ("content", Some(name)) if name != PACKED => Wanted::Content(hash(content(&name))),
        ("none", _) => Wanted::None,
        _ => Wanted::Latest,
    };
    spec.artifacts.insert("model".to_owned(), model(wanted));
}

fn put_on_disk(worlds: &mut Worlds, choice: &Choice) {
    let (disk, repo) = (&mut worlds.disk, &mut worlds.seen.repo);
    disk.set_up = choice.set_up;
    disk.files = choice.files.map(|count| {
        (0..count).map(|number| NewFile { path: format!("notes/{number}.txt"), size: 9 }).collect()
    });
    if choice.process {
        disk.processes.push(Process {
            pid: 7,
            command: "python3 train.py".to_owned(),
            why: "gpu".to_owned(),
        });
    }
    let there = match choice.artifact {
        "missing" => Some(ArtifactFile::Missing),
        "empty" => Some(file("")),
        "unreadable" => Some(ArtifactFile::Unreadable { why: "it is a folder".to_owned() }),
        "unmentioned" => None,
        "large" => Some(ArtifactFile::File { size: 150_000_001, content: hash("large") }),
        content => Some(file(content)),
    };
    disk.artifacts = there.map(|there| ("model".to_owned(), there)).into_iter().collect();
    let found = disk.checkout.as_mut().unwrap();
    let mut move_to = |commit: String| {
        found.head = Some(commit.clone());
        found.tips[0].commit = commit;
    };
    match choice.checkout {
        "behind" | "behind dirty" => move_to(old()),
        "ahead" | "parted" => move_to(mine()),
        _ => {}
    }
    found.contains_wanted = !matches!(choice.checkout, "behind" | "behind dirty" | "parted");
    repo.head_behind = Some(!matches!(choice.checkout, "ahead" | "parted"));
    match choice.checkout {
        "none" => disk.checkout = None,
        "behind dirty" | "dirty" => found.dirty.push(dirty("new.py", "untracked")),
        "stash" => found.tips.push(named("stash@{0}", mine())),
        "other branch" => found.branch = Some("try".to_owned()),
        "detached" => found.branch = None,
        "broken" => *found = Checkout { broken: Some("no HEAD".to_owned()), ..Checkout::default() },
        "other remote" => found.remote = Some("git@else:x.git".to_owned()),
        "merging" => found.unfinished = vec!["merge".to_owned()],
        _ => {}
    }
}

fn put_notebook(worlds: &mut Worlds, choice: &str) {
    let there = Notebook { running: true, port: 8888, directory: ".".to_owned(), ..Notebook::default() };
    let kernel = Kernel { document: None, idle: true };
    worlds.disk.notebook = match choice {
        "none" | "wanted" => None,
        "other port" => Some(Notebook { port: 8889, ..there }),
        "kernel" => Some(Notebook { port: 8889, kernels: vec![kernel], ..there }),
        "image's" => Some(Notebook { port: 8889, given: true, ..there }),
        _ => Some(there),
    };
    worlds.spec.notebook = (!matches!(choice, "none" | "unwanted")).then(|| spec::Notebook {
        port: 8888,
        kind: spec::NotebookKind::JupyterLab,
        directory: ".".to_owned(),
        packages: Vec::new(),
    });
}

/// Two steps and an input.
fn put_set_up(worlds: &mut Worlds, choice: &str) {
    let file = |text: &str| ArtifactFile::File { size: 1, content: hash(text) };
    let ran = |run: &str, given: &str| facts::RanStep {
        run: run.to_owned(),
        inputs: [("needs.txt".to_owned(), hash(given))].into(),
    };
    let steps = match choice {
        "done" | "unwanted" | "missing" => vec![ran("one", "1"), ran("two", "1")],
        "half" | "broke" => vec![ran("one", "1")],
        "other" => vec![ran("one", "1"), ran("three", "1")],
        "changed" => vec![ran("one", "0"), ran("two", "0")],
        _ => Vec::new(),
    };
    let broke = (choice == "broke").then(|| facts::BrokenStep { run: "two".to_owned(), code: Some(1) });
    let lies = if choice == "missing" { ArtifactFile::Missing } else { file("1") };
    worlds.disk.setup = Some(facts::SetUp {
        steps,
        broke,
        inputs: [("needs.txt".to_owned(), lies)].into(),
        ..facts::SetUp::default()
    });
    worlds.spec.setup = (!matches!(choice, "none" | "unwanted")).then(|| spec::SetUp {
        run: vec!["one".to_owned(), "two".to_owned()],
        inputs: vec!["needs.txt".to_owned()],
        timeout: "1h".parse().unwrap(),
    });
}

fn put_machine(worlds: &mut Worlds, choice: &Choice) {
    let seen = &mut worlds.seen;
    seen.cloud.instances[0].status = Status::from(choice.status.to_owned());
    let recorded = seen.record.machine.as_mut().unwrap();
    recorded.login = choice.login;
    recorded.ending = choice.ending.then(|| ended(ID, &["os-m-1"]));
    recorded.base.artifacts.clear();
    if let Some(name) = choice.base {
        let payload = match name {
            V1 => "v1",
            V2 => "v2",
            _ => "payload",
        };
        recorded.base.artifacts.insert("model".to_owned(), kept(name, payload));
    }
    let intent = |noted_at| {
        Some(Intent {
            nonce: "n-1".to_owned(),
            noted_at,
            unclear: true,
            asked: asked(),
            boots: None,
            host_keys: Vec::new(),
        })
    };
    let fresh = Record::start("lesson3", "abcd", None);
    match choice.machine {
        Rental::Recorded => return,
        Rental::UnknownToAccount => {
            seen.cloud.instances.clear();
            seen.cloud.volumes.clear();
            seen.cloud.recorded = Some(None);
            return;
        }
        Rental::Ghost => {
            let gone = seen.record.clone().without_machine();
            seen.record = gone;
            return;
        }
        Rental::Unrecorded | Rental::Never | Rental::Doubted => seen.record = fresh,
        Rental::Intended | Rental::Arrived => seen.record = Record { intent: intent(now()), ..fresh },
        Rental::IntendedLongAgo => {
            seen.record = Record { intent: intent(now() - SignedDuration::from_hours(1)), ..fresh };
        }
    }
    if choice.machine == Rental::Doubted {
        seen.record.doubt = Some(now());
    }
    if !matches!(choice.machine, Rental::Unrecorded | Rental::Arrived) {
        seen.cloud.instances.clear();
        seen.cloud.volumes.clear();
    }
}

fn put_around(seen: &mut Observed, what: &str) {
    let foreign_volume = |id: &str| Volume { tags: BTreeMap::new(), ..volume(id, None) };
    match what {
        "foreign machine" => {
            let tags = record::tags("lesson4", "abcd", "n-1");
            seen.cloud.instances.push(Instance { tags, ..instance("foreign", "running") });
        }
        "foreign volume" => seen.cloud.volumes.push(foreign_volume("foreign")),
        "explained" => {
            seen.cloud.volumes.push(volume("explained", None));
            seen.record.ended = Some(ended("m-0", &["explained"]));
        }
        "unexplained" => seen.cloud.volumes.push(volume("left", None)),
        "no key" => seen.cloud.keys.clear(),
        "data volume" => {
            if let Some(machine) = seen.cloud.instances.iter_mut().find(|machine| machine.id == ID) {
                machine.volumes.push("data".to_owned());
                seen.cloud.volumes.push(Volume { instance: Some(ID.to_owned()), ..foreign_volume("data") });
            }
        }
        _ => seen.repo.local = Some(LocalCheckout { unpushed: 1, dirty: true }),
    }
}

fn as_the_image_made_it() -> Probe {
    let artifacts = [("model".to_owned(), ArtifactFile::Missing)].into();
    Probe { checkout: None, artifacts, files: Some(Vec::new()), set_up: false, ..probe() }
}

impl Worlds {
    fn plan(&self) -> Result<Plan> {
        let (discards, keep_disk, replace) = (&self.discards, self.keep_disk, self.replace);
        plan(Request { discards, keep_disk, replace, ..Request::of(&self.spec) }, &self.seen)
    }

    fn names(&self, word: &str) -> bool {
        self.discards.contains(&word.parse().unwrap())
    }

    fn exact(&self, id: &str) -> Option<&Instance> {
        self.seen.cloud.instances.iter().find(|instance| instance.id == id)
    }

    fn exact_mut(&mut self, id: &str) -> Option<&mut Instance> {
        self.seen.cloud.instances.iter_mut().find(|instance| instance.id == id)
    }

    /// Looks at the server as `observe` does.
    fn look(&mut self) {
        let machine = self.seen.record.machine.as_ref();
        let login = machine.is_some_and(Rented::may_hold_work);
        let status =
            machine.and_then(|machine| self.exact(&machine.id)).map(|instance| instance.status.clone());
        self.seen.server = match (status, login, self.reachable) {
            (Some(Status::Running), true, true) => Server::Seen(Box::new(self.disk.clone())),
            (Some(Status::Running), true, false) => Server::Unreachable("timed out".to_owned()),
            _ => Server::None,
        };
    }

    /// Time passes: what is on its way arrives, what is going goes, with the volumes that were to go.
    fn pass(&mut self) {
        self.seen.cloud.now += SignedDuration::from_secs(60);
        let machine = self.seen.record.machine.as_ref();
        let going = machine.and_then(|machine| machine.ending.as_ref()).map(|ending| ending.volumes.clone());
        for instance in &mut self.seen.cloud.instances {
            match instance.status {
                Status::Ordered(_) | Status::Provisioning => instance.status = Status::Running,
                Status::Deleting => {
                    instance.status = Status::Discontinued;
                    let volumes = &mut self.seen.cloud.volumes;
                    volumes.retain(|volume| going.as_ref().is_none_or(|going| !going.contains(&volume.id)));
                    for volume in volumes.iter_mut().filter(|v| v.instance.as_ref() == Some(&instance.id)) {
                        volume.instance = None;
                        volume.status = "detached".to_owned();
                    }
                }
                _ => {}
            }
        }
    }

    /// Carries a plan out as apply does: what waits for something refused isn't started.
    fn carry_out(&mut self, plan: &Plan) {
        let mut done = Vec::new();
        for action in &plan.actions {
            let refuses = matches!(action.kind(), Kind::Delete { .. } | Kind::KeepDisk { .. })
                && plan.guards.iter().any(|state| !state.findings.is_empty());
            if !refuses
                && action.after().iter().all(|earlier| done.contains(earlier))
                && self.act(action.kind())
            {
                done.push(action.id());
            }
            self.look();
        }
    }

    /// Carries one action out; false when it couldn't be.
    fn act(&mut self, kind: &Kind) -> bool {
        match kind {
            Kind::Settle | Kind::Delete { .. } => self.drive(&Goal::Absent),
            Kind::KeepDisk { .. } => self.drive(&Goal::Kept),
            Kind::Create { candidates, .. } => {
                let r#type = candidates[0].r#type.clone();
                self.drive(&Goal::Running(Box::new(Machine { r#type, ..asked() })))
            }
            Kind::CheckStock { .. } => true,
            Kind::Recover { volume, location, .. } => {
                let record = self.seen.record.clone();
                self.seen.record = record.with_recovered(volume.clone(), location.clone());
                true
            }
            Kind::RestoreVolume { volume, .. } => {
                let trash = self.seen.cloud.trash.as_mut().unwrap();
                let at = trash.iter().position(|other| other.id == *volume).unwrap();
                let restored = trash.remove(at);
                self.seen.cloud.volumes.push(restored);
                true
            }
            Kind::Adopt { .. } => {
                self.step(&Goal::Running(Box::new(asked())), &mut Hand::default()) != Some(false)
            }
            Kind::EndTwin { .. } | Kind::MakeWay { .. } => self.drive(&Goal::Running(Box::new(asked()))),
            Kind::Forget { machine } => {
                let record = self.seen.record.clone();
                self.seen.record = match self.exact(machine) {
                    Some(gone) => record.without_gone(gone, self.seen.now()),
                    None => record.without_unknown(),
                };
                true
            }
            Kind::RegisterKey { name, key } => {
                let key = AccountKey { id: "k-9".to_owned(), name: name.clone(), key: key.clone() };
                self.seen.cloud.keys.push(key);
                true
            }
            Kind::Start { machine } => {
                self.exact_mut(machine).unwrap().status = Status::Running;
                true
            }
            Kind::Ready => self.make_ready(),
            Kind::DeleteVolume { volume, .. } => {
                self.may_delete_volume(volume);
                self.seen.cloud.volumes.retain(|other| other.id != *volume);
                self.seen.record.disk.take_if(|disk| disk.volume == *volume);
                true
            }
            on_server => self.act_on_server(on_server),
        }
    }

    fn make_ready(&mut self) -> bool {
        self.pass();
        let machine = self.seen.record.machine.as_mut().unwrap();
        machine.login = true;
        machine.host_key.get_or_insert("ssh-ed25519 AAAA".to_owned());
        let id = machine.id.clone();
        self.exact(&id).unwrap().status == Status::Running
    }

    fn act_on_server(&mut self, kind: &Kind) -> bool {
        if !matches!(self.seen.server, Server::Seen(_)) {
            return false;
        }
        match kind {
            Kind::Clone { commit } => {
                assert_eq!(self.disk.checkout, None, "cloned over something");
                let mut made = checkout();
                made.head = Some(commit.clone());
                self.disk.checkout = Some(made);
                self.rented().base.branch = Some("main".to_owned());
            }
            Kind::FastForward { from, to } => {
                let found = self.disk.checkout.as_mut().unwrap();
                assert!(found.dirty.is_empty() && found.unfinished.is_empty(), "fast-forwarded over work");
                assert_eq!((found.head.as_ref(), *from == old()), (Some(from), true), "not behind");
                found.head = Some(to.clone());
                found.tips[0].commit = to.clone();
                found.contains_wanted = true;
            }
            Kind::Store { artifact, path, content, size, .. } => self.store(artifact, path, *content, *size),
            Kind::Pull { artifact, path, version, content, replaces, .. } => {
                self.may_overwrite(path, *replaces);
                let payload = content.unwrap_or_else(|| hash("payload"));
                self.disk
                    .artifacts
                    .insert(artifact.clone(), ArtifactFile::File { size: 2, content: payload });
                let kept = Kept { version: version.clone(), payload, size: 2 };
                self.rented().base.artifacts.insert(artifact.clone(), kept);
            }
            Kind::SetUp => {
                let hidden = self.disk.files.as_ref().is_none_or(|files| !files.is_empty());
                assert!(!hidden, "the marker hides what was made before it");
                self.disk.set_up = true;
            }
            Kind::RunStep { position, run, .. } => {
                let there = self.disk.setup.get_or_insert_default();
                let Some(ArtifactFile::File { content, .. }) = there.inputs.get("needs.txt") else {
                    return false;
                };
                assert!(there.steps.len() >= *position, "a step ran before those that come before it");
                let ran =
                    facts::RanStep { run: run.clone(), inputs: [("needs.txt".to_owned(), *content)].into() };
                there.steps.truncate(*position);
                there.steps.push(ran);
                there.broke = None;
            }
            Kind::StartNotebook { port, directory, packages, .. } => {
                let idle = self.disk.notebook.as_ref().is_none_or(|there| there.kernels.is_empty());
                assert!(idle, "a notebook server was ended under its kernels");
                self.disk.notebook = Some(Notebook {
                    running: true,
                    port: *port,
                    directory: directory.clone(),
                    packages: packages.clone(),
                    ..Notebook::default()
                });
            }
            Kind::StopNotebook => {
                let ended = self.disk.notebook.take();
                assert!(
                    ended.is_some_and(|there| there.kernels.is_empty()),
                    "it was ended under its kernels"
                );
            }
            other => unreachable!("not on the server: {other:?}"),
        }
        true
    }

    fn rented(&mut self) -> &mut Rented {
        self.seen.record.machine.as_mut().unwrap()
    }

    fn store(&mut self, artifact: &str, path: &str, payload: ContentHash, size: u64) {
        let name = free_name(&self.seen.store.files, "2026-11-22", file_name(path), false);
        let modified = at(100 + self.seen.store.files.len() as i64);
        let object = StoredFile { path: name.clone(), rev: "1".to_owned(), size, content: payload, modified };
        self.seen.store.files.push(object);
        self.rented().base.artifacts.insert(artifact.to_owned(), Kept { version: name, payload, size });
    }

    fn is_stored(&self, path: &str, content: ContentHash) -> bool {
        versions(&self.seen.store.files, file_name(path))
            .iter()
            .any(|version| version.payload == Some(content))
    }

    fn may_overwrite(&self, path: &str, replaces: Option<ContentHash>) {
        match self.disk.artifacts.get("model") {
            Some(ArtifactFile::Missing | ArtifactFile::File { size: 0, .. }) => assert_eq!(replaces, None),
            Some(ArtifactFile::File { content, .. }) => {
                assert_eq!(replaces, Some(*content), "it says what it replaces");
                assert!(self.is_stored(path, *content), "overwritten and nowhere else");
            }
            other => panic!("pulled over {other:?}"),
        }
    }

    /// What a person would see lost if the machine went now, judged apart from the guards.
    fn would_lose(&self) -> Vec<&'static str> {
        let disk = &self.disk;
        let safe_file = match disk.artifacts.get("model") {
            Some(ArtifactFile::Missing | ArtifactFile::File { size: 0, .. }) => true,
            Some(ArtifactFile::File { content, .. }) => self.is_stored("export.pkl", *content),
            _ => false,
        };
        let found = disk.checkout.as_ref();
        let strange =
            found.is_some_and(|found| found.broken.is_some() || found.remote.as_deref() != Some(URL));
        let unpushed = found.is_some_and(|found| found.tips.iter().any(|tip| tip.commit == mine()));
        let losses = [
            (!safe_file, "artifacts:model"),
            (disk.files.as_ref().is_none_or(|files| !files.is_empty()), "files:**"),
            (!disk.processes.is_empty(), "processes"),
            (unpushed, "repo:unpushed"),
            (found.is_some_and(|found| !found.dirty.is_empty()), "repo:untracked"),
            (found.is_some_and(|found| !found.unfinished.is_empty()), "repo:unfinished"),
            (strange, "repo:broken"),
        ];
        losses.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect()
    }

    fn may_delete_machine(&self, id: &str) {
        assert!(id != "foreign", "a foreign machine");
        let machine = self.seen.record.machine.as_ref().unwrap();
        if !machine.may_hold_work()
            || self.names("server:unreachable") && !matches!(self.seen.server, Server::Seen(_))
        {
            return;
        }
        let unnamed: Vec<_> = self.would_lose().into_iter().filter(|word| !self.names(word)).collect();
        assert_eq!(unnamed, [""; 0], "deleted with bytes on it that are nowhere else");
    }

    /// Its disk stays, and the record says which one that is.
    fn may_stop(&self, id: &str) {
        assert!(id != "foreign", "a foreign machine");
        let machine = self.seen.record.machine.as_ref().unwrap();
        let ending = machine.ending.as_ref().unwrap();
        let kept = ending.kept.as_ref().map(|disk| &disk.volume);
        assert_eq!((ending.volumes.len(), kept), (0, self.exact(id).unwrap().os_volume.as_ref()));
    }

    fn may_delete_volume(&self, id: &str) {
        assert!(!["foreign", "data"].contains(&id), "a foreign volume");
        let receipt =
            self.seen.record.ended.as_ref().is_some_and(|ended| ended.volumes.iter().any(|v| v == id));
        assert!(receipt || self.names(&format!("volume:{id}")), "a volume that nobody spoke of: {id}");
        assert!(self.seen.cloud.volumes.iter().any(|volume| volume.id == id && volume.instance.is_none()));
    }

    fn drive(&mut self, goal: &Goal) -> bool {
        let mut hand = Hand { nonce: format!("n-{}", self.machines + 1), ..Hand::default() };
        for _ in 0..60 {
            if let Some(done) = self.step(goal, &mut hand) {
                return done;
            }
            self.look();
        }
        panic!("no end: {goal:?}\n{self:#?}");
    }

    /// Carries out one step of the protocol; says how it ended once it did.
    fn step(&mut self, goal: &Goal, hand: &mut Hand) -> Option<bool> {
        let view = View {
            now: self.seen.cloud.now,
            list: &self.seen.cloud.instances,
            recorded: self.seen.record.machine.as_ref().and_then(|machine| self.exact(&machine.id)),
        };
        match record::next(&self.seen.record, view, goal, hand) {
            Step::Write(record) => self.seen.record = *record,
            Step::Post(intent) => self.create(&intent),
            Step::Wait(_) => self.pass(),
            Step::Prove => return self.prove(goal, hand),
            Step::ShutDown(id) => self.exact_mut(&id).unwrap().status = Status::Offline,
            Step::Delete(proof) if proof.keeps_disk() => {
                self.may_stop(proof.machine());
                self.exact_mut(proof.machine()).unwrap().status = Status::Deleting;
            }
            Step::Delete(proof) => {
                self.may_delete_machine(proof.machine());
                self.exact_mut(proof.machine()).unwrap().status = Status::Deleting;
            }
            Step::Done(_) => return Some(true),
            Step::Stop(_) => return Some(false),
        }
        None
    }

    fn create(&mut self, intent: &Intent) {
        self.machines += 1;
        let id = format!("m-{}", self.machines);
        let disk = intent.boots.clone().unwrap_or_else(|| format!("os-{id}"));
        let made = Instance {
            tags: record::tags("lesson3", "abcd", &intent.nonce),
            created_at: self.seen.cloud.now,
            r#type: intent.asked.r#type.clone(),
            os_volume: Some(disk.clone()),
            volumes: vec![disk.clone()],
            ..instance(&id, "provisioning")
        };
        self.seen.cloud.instances.push(made);
        let boots = intent.boots.is_some();
        match self.seen.cloud.volumes.iter_mut().find(|volume| volume.id == disk) {
            Some(kept) => (kept.instance, kept.status) = (Some(id.clone()), "attached".to_owned()),
            None => {
                assert!(!boots, "a disk is booted that isn't there");
                self.seen.cloud.volumes.push(volume(&disk, Some(&id)));
            }
        }
        self.seen.record = self.seen.record.clone().with_created(id);
        self.reachable = true;
        if !boots {
            self.disk = as_the_image_made_it();
        }
    }

    fn prove(&mut self, goal: &Goal, hand: &mut Hand) -> Option<bool> {
        let paths = artifact_paths(&self.spec);
        let stored = stored_contents(&self.spec, &self.seen.store.files);
        let evidence = evidence(&self.spec, &self.seen, &paths, &stored);
        let judge = if *goal == Goal::Kept { guard::prove_kept } else { guard::prove };
        match judge(&evidence, &self.discards) {
            Ok(proof) => hand.proof = Some(proof),
            Err(_) => return Some(false),
        }
        None
    }
}

/// Carries out and plans again until nothing is left that can be done; returns the last plan.
///
/// At the longest: a server was silent when it was planned for and holds work, it is replaced, the code that is brought
/// lacks what its set-up needs, that is noted; and a look that nothing is left.
fn converge(worlds: &mut Worlds) -> Option<Plan> {
    for _ in 0..5 {
        let plan = worlds.plan().ok()?;
        if plan.is_empty() {
            return Some(plan);
        }
        let before = worlds.clone();
        worlds.carry_out(&plan);
        worlds.look();
        if *worlds == before {
            return Some(plan);
        }
    }
    panic!("not stable after four runs and a look: {:#?}", worlds.plan());
}

fn shuffle<T>(list: &mut [T], order: &[Index]) {
    for (at, index) in order.iter().enumerate().take(list.len()) {
        let other = index.index(list.len());
        list.swap(at, other);
    }
}

/// Every list in the observation, in another order.
fn shuffled(seen: &Observed, order: &[Index]) -> Observed {
    let mut other = seen.clone();
    let cloud = &mut other.cloud;
    cloud.instances.iter_mut().for_each(|instance| shuffle(&mut instance.volumes, order));
    cloud.types.iter_mut().for_each(|offer| shuffle(&mut offer.images, order));
    cloud.stock.values_mut().for_each(|types| shuffle(types, order));
    shuffle(&mut cloud.instances, order);
    shuffle(&mut cloud.volumes, order);
    shuffle(&mut cloud.types, order);
    shuffle(&mut cloud.images, order);
    shuffle(&mut cloud.locations, order);
    shuffle(&mut cloud.keys, order);
    shuffle(&mut other.store.files, order);
    other.laptop.agent.iter_mut().for_each(|keys| shuffle(keys, order));
    if let Server::Seen(probe) = &mut other.server {
        probe.files.iter_mut().for_each(|files| shuffle(files, order));
        shuffle(&mut probe.processes, order);
        if let Some(checkout) = &mut probe.checkout {
            shuffle(&mut checkout.tips, order);
            shuffle(&mut checkout.dirty, order);
        }
    }
    other
}

/// Things in every list, so that their order could show.
fn crowd(worlds: &mut Worlds) {
    let seen = &mut worlds.seen;
    let strangers = ["s-1", "s-2"]
        .map(|id| Instance { tags: record::tags("lesson4", "abcd", "n"), ..instance(id, "running") });
    seen.cloud.instances.extend(strangers);
    seen.cloud.volumes.extend([volume("left-1", None), volume("left-2", None)]);
    worlds.spec.instance.locations.clear();
    if let Some(found) = &mut worlds.disk.checkout {
        found.tips.extend([named("branch x", mine()), named("tag y", mine())]);
        found.dirty.extend([dirty("a.py", "modified"), dirty("b.py", "untracked")]);
    }
    worlds.look();
}

fn told(result: Result<Plan>) -> Result<Plan, String> {
    result.map_err(|error| format!("{error:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_carried_out_leaves_nothing_to_do_and_loses_nothing(choice in choices()) {
        let mut worlds = build(&choice);
        let Some(plan) = converge(&mut worlds) else { return Ok(()) };
        if !plan.is_empty() {
            prop_assert!(plan.is_refused(), "left over without a reason: {:#?}", plan);
            for action in &plan.actions {
                let ends = matches!(action.kind(), Kind::Delete { .. } | Kind::KeepDisk { .. });
                prop_assert!(ends || choice.replace, "left over: {:#?}", plan);
            }
        }
        if choice.absent && plan.is_empty() {
            let ours = |volume: &&Volume| worlds.seen.owns_tags(&volume.tags);
            let said = |volume: &Volume| plan.notes.iter().any(|note| {
                matches!(note, Note::LeftVolume { id, .. } | Note::KeptDisk { id, .. } if *id == volume.id)
            });
            let gone = |status: &Status| matches!(status, Status::Discontinued);
            let record = &worlds.seen.record;
            prop_assert!(worlds.seen.cloud.instances.iter().all(|i| !record.may_own(i) || gone(&i.status)));
            prop_assert!(worlds.seen.cloud.volumes.iter().filter(ours).all(|volume| {
                choice.machine == Rental::Ghost || said(volume)
            }), "bills unsaid");
            prop_assert_eq!(record.absence_from(worlds.seen.now()), None);
            prop_assert_eq!(&record.intent, &None);
        }
        let foreign = choice.surroundings.contains(&"foreign machine");
        prop_assert_eq!(worlds.exact("foreign").is_some(), foreign);
        let volume = choice.surroundings.contains(&"foreign volume");
        prop_assert_eq!(worlds.seen.cloud.volumes.iter().any(|v| v.id == "foreign"), volume);
    }

    #[test]
    fn the_order_of_lists_never_shows(choice in choices(), order in prop::collection::vec(any::<Index>(), 6)) {
        let mut worlds = build(&choice);
        crowd(&mut worlds);
        let plan = told(worlds.plan());
        prop_assert_eq!(&plan, &told(worlds.plan()));
        let other = shuffled(&worlds.seen, &order);
        worlds.seen = other;
        prop_assert_eq!(&plan, &told(worlds.plan()));
    }

    #[test]
    fn a_plan_that_is_done_says_so(choice in choices()) {
        let Ok(plan) = build(&choice).plan() else { return Ok(()) };
        for action in &plan.actions {
            prop_assert!(action.after().iter().all(|earlier| *earlier < action.id()));
        }
        if plan.is_empty() && !choice.absent {
            prop_assert_eq!(&plan.desired, &plan.observed, "a difference that nothing is done about");
        }
        let ends = |kind: &Kind| matches!(kind, Kind::Delete { .. } | Kind::KeepDisk { .. });
        let deletes = plan.actions.iter().any(|action| ends(action.kind()));
        prop_assert!(plan.guards.is_empty() || deletes, "guards of an end that isn't planned");
    }
}

/// How many worlds each property looks at: `DACAPO_CASES`, 2,000 by default.
fn cases() -> u32 {
    std::env::var("DACAPO_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2_000)
}
