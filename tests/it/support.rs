//! A project of its own and a sandbox of its own for every test.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

/// A directory with a session.toml, and an embedded world that only this test uses.
pub struct Project {
    folder: TempDir,
    world: Option<Child>,
    speed: u32,
    /// What the world said when it was ready.
    pub ready: Value,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Asserts the exit code, showing all that was printed when it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that something was printed to either stream.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let all = format!("{}\n{}", self.stdout, self.stderr);
        assert!(all.contains(text), "`{text}` is not in\n{all}");
        self
    }

    /// Parses standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {}", self.stdout))
    }
}

/// The session of `session.toml`, without a store and so without artifacts.
pub fn without_store() -> String {
    let (session, _) = include_str!("../../session.toml").split_once("[artifacts.model]").unwrap();
    session.replace("store = ", "# ")
}

impl Project {
    /// A project with the repo's own session.toml and a world whose clock runs 120 times as fast.
    pub fn new() -> Self {
        Self::with_spec(include_str!("../../session.toml"))
    }

    /// A project with another session.toml.
    pub fn with_spec(spec: &str) -> Self {
        let mut project = Self::without_world(spec);
        project.start_world();
        project
    }

    /// A project whose world's clock runs `speed` times as fast as this machine's.
    pub fn with_speed(speed: u32) -> Self {
        let mut project = Self::without_world(include_str!("../../session.toml"));
        project.speed = speed;
        project.start_world();
        project
    }

    /// A project whose world isn't started: for what needs none.
    pub fn without_world(spec: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("dacapo-test").tempdir().unwrap();
        std::fs::write(folder.path().join("session.toml"), spec).unwrap();
        std::fs::create_dir(folder.path().join("outside-home")).unwrap();
        Self { folder, world: None, speed: 120, ready: Value::Null }
    }

    /// A project whose world is a copy of this one's, which must not be running; faster or slower.
    ///
    /// Copying makes every file on its machines look new, so the end of their set-up is said to be now.
    pub fn copy(&self, speed: u32) -> Self {
        let mut copy =
            Self::without_world(&std::fs::read_to_string(self.path().join("session.toml")).unwrap());
        let copied = Command::new("cp").arg("-a").arg(self.path().join(".dacapo")).arg(copy.path()).status();
        assert!(copied.unwrap().success());
        for disk in std::fs::read_dir(copy.sandbox().join("disks")).into_iter().flatten() {
            mark_the_end_of_set_up(&disk.unwrap().path().join("home/.dacapo/marker"));
        }
        copy.speed = speed;
        copy.start_world();
        copy
    }

    /// Has the world's clock run `speed` times as fast as this machine's from its next start on.
    pub fn speed(&mut self, speed: u32) {
        self.speed = speed;
    }

    /// Starts the world, or starts it again.
    pub fn start_world(&mut self) {
        self.start_world_with(&[]);
    }

    /// Starts the world, or starts it again, with more arguments for `sandbox serve`.
    pub fn start_world_with(&mut self, more: &[&str]) {
        self.stop_world();
        let mut child = self
            .command(&["sandbox", "serve", "--clock-speed", &self.speed.to_string(), "--dir"])
            .arg(self.sandbox())
            .args(crate::sshd().map(|program| format!("--sshd={program}")))
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        self.ready = serde_json::from_str(&line).expect("the world says one JSON line when it is ready");
        self.world = Some(child);
    }

    /// The folder that holds session.toml.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the world is kept.
    pub fn sandbox(&self) -> PathBuf {
        self.folder.path().join(".dacapo/sandbox")
    }

    /// The laptop's home inside the world.
    pub fn laptop(&self) -> PathBuf {
        PathBuf::from(self.ready["home"].as_str().unwrap())
    }

    /// The one instance's home directory.
    pub fn server(&self) -> PathBuf {
        let disks = self.sandbox().join("disks");
        let mut homes: Vec<_> = std::fs::read_dir(disks).unwrap().map(|disk| disk.unwrap().path()).collect();
        homes.sort_by_key(|home| std::fs::metadata(home).unwrap().modified().unwrap());
        homes.pop().expect("a disk exists").join("home")
    }

    /// `dacapo` in the project, with nothing of this machine's environment but PATH.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path().join("outside-home"))
            .stdin(Stdio::null());
        command
    }

    /// Runs `dacapo` with these arguments.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments).output().unwrap())
    }

    /// Runs `dacapo --sandbox` with these arguments.
    pub fn dacapo(&self, arguments: &[&str]) -> Ran {
        self.run(&[&["--sandbox"], arguments].concat())
    }

    /// Runs `dacapo --sandbox` again and again until it says `text`.
    #[track_caller]
    pub fn eventually(&self, arguments: &[&str], text: &str) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !self.dacapo(arguments).stdout.contains(text) {
            assert!(std::time::Instant::now() < until, "never says `{text}`");
        }
    }

    /// Runs a shell command on the server, in the checkout, behind dacapo's back.
    #[track_caller]
    pub fn on_server(&self, script: &str) {
        let output = Command::new("sh")
            .args(["-ec", script])
            .current_dir(self.server().join("lesson3"))
            .env("HOME", self.server())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "`{script}`: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The embedded cloud's ledger.
    pub fn bill(&self) -> Value {
        self.dacapo(&["sandbox", "bill", "--json"]).exits(0).json()
    }

    /// Makes the world fail as a fault plan says, besides what it does already.
    #[track_caller]
    pub fn fail(&self, plan: &Value) {
        let file = self.path().join("faults.json");
        std::fs::write(&file, plan.to_string()).unwrap();
        self.dacapo(&["sandbox", "faults", file.to_str().unwrap()]).exits(0);
    }

    /// Makes connections to instances go wrong, or go well again with `{}`.
    #[track_caller]
    pub fn ssh_faults(&self, faults: &Value) {
        self.fail(&serde_json::json!({"ssh": faults}));
    }

    /// Deletes a file from the world's Dropbox behind dacapo's back.
    #[track_caller]
    pub fn delete_stored(&self, path: &str) {
        let argument = serde_json::json!({"path": path});
        self.dropbox(
            "dropbox_api",
            "delete_v2",
            &argument,
            "application/json",
            argument.to_string().as_bytes(),
        );
    }

    /// Puts a file into the world's Dropbox behind dacapo's back, over what was there.
    #[track_caller]
    pub fn store_file(&self, path: &str, bytes: &[u8]) {
        let argument = serde_json::json!({"path": path, "mode": "overwrite"});
        self.dropbox("dropbox_content", "upload", &argument, "application/octet-stream", bytes);
    }

    #[track_caller]
    fn dropbox(&self, host: &str, route: &str, argument: &Value, kind: &str, body: &[u8]) {
        let text = |name: &str| self.ready[name].as_str().unwrap().to_owned();
        let script = "import sys, urllib.request as u
url, token, argument, kind = (sys.stdin.buffer.readline().decode().rstrip() for _ in range(4))
headers = {'Authorization': 'Bearer ' + token, 'Content-Type': kind}
if kind != 'application/json':
    headers['Dropbox-API-Arg'] = argument
u.urlopen(u.Request(url, sys.stdin.buffer.read(), headers)).read()";
        let mut python = Command::new("python3");
        let mut child = python.args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        let (url, token) = (format!("{}/2/files/{route}", text(host)), text("dropbox_token"));
        let mut input = format!("{url}\n{token}\n{argument}\n{kind}\n").into_bytes();
        input.extend_from_slice(body);
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), &input).unwrap();
        assert!(child.wait().unwrap().success(), "{route} {argument}");
    }

    /// Every request that the world received, oldest first.
    pub fn requests(&self) -> Vec<Value> {
        let listing = self.dacapo(&["sandbox", "requests"]).exits(0).stdout;
        listing.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Ends the world's process; what it keeps stays.
    pub fn stop_world(&mut self) {
        if let Some(mut child) = self.world.take() {
            self.dacapo(&["sandbox", "stop"]);
            let _ = child.wait();
        }
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.folder.path().join(".dacapo/sandbox/serve.log");
            eprintln!("{}", std::fs::read_to_string(log).unwrap_or_default());
        }
        self.stop_world();
    }
}

/// Every command by its words, the program itself first, with its help.
pub fn helps(project: &Project) -> Vec<(Vec<String>, String)> {
    let mut all = Vec::new();
    let mut open = vec![Vec::<String>::new()];
    while let Some(words) = open.pop() {
        let arguments: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let help = project.run(&arguments).exits(0).stdout;
        let commands =
            help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap());
        let named = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let names = named.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
        open.extend(names.map(|name| [&words[..], &[name.to_owned()]].concat()));
        all.push((words, help));
    }
    all
}

/// The program under test; `DACAPO_PROGRAM` names one where the tests run apart from where they were built.
fn program() -> PathBuf {
    std::env::var_os("DACAPO_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_dacapo").into(), PathBuf::from)
}

/// Moves the marker that the server's side keeps to the present moment.
fn mark_the_end_of_set_up(marker: &Path) {
    let Ok(text) = std::fs::read_to_string(marker) else { return };
    let mut marked: Value = serde_json::from_str(&text).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    marked["time_ns"] = u64::try_from(now).unwrap().into();
    std::fs::write(marker, marked.to_string()).unwrap();
}

/// Reads what a finished process left.
pub fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
