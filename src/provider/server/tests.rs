//! The helper, driven as on a server but by a local `python3`: the same source, arguments and conversation.

mod environment;
mod guards;
mod launch;
mod repo;
mod save;
mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::process::Command;

use super::exchange::{self, Exchange, Started};
use super::wire::Ask;
use super::{Hello, Kind, ProbeRequest, Result, Trouble};
use crate::facts::{Checkout, Probe};

/// A home directory with a helper in it.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A home after its first login, so that every file made from now on is new.
    async fn after_set_up() -> Self {
        let home = Self::new();
        home.ask::<()>(&Ask::FinishSetUp).await.unwrap();
        home
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn write(&self, below: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn read(&self, below: &str) -> Vec<u8> {
        std::fs::read(self.path(below)).unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new("python3");
        command
            .args(exchange::python_arguments())
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn ask<T: DeserializeOwned>(&self, ask: &Ask<'_>) -> Result<T> {
        converse(self.command(), ask).await
    }

    async fn probe(&self, artifacts: &[(&str, &str)], disposable: &[&str]) -> Probe {
        let pairs = artifacts.iter().map(|&(name, path)| (name.to_owned(), path.to_owned()));
        let request = ProbeRequest {
            checkout: "lesson3".into(),
            artifacts: pairs.collect::<BTreeMap<_, _>>(),
            disposable: disposable.iter().map(|&glob| glob.to_owned()).collect(),
            wanted: None,
            fresh: false,
            save: None,
            notebook: None,
            setup: None,
        };
        self.ask(&Ask::Probe(&request)).await.unwrap()
    }

    async fn checkout(&self) -> Checkout {
        self.probe(&[], &[]).await.checkout.unwrap()
    }

    /// Paths of the files that nobody answers for.
    async fn new_files(&self, artifacts: &[(&str, &str)], disposable: &[&str]) -> Vec<String> {
        let files = self.probe(artifacts, disposable).await.files.unwrap();
        files.into_iter().map(|file| file.path).collect()
    }

    /// Runs git in a folder below home and returns what it printed.
    fn git(&self, folder: &str, arguments: &[&str]) -> String {
        git(&self.path(folder), arguments)
    }

    /// Makes a repository at `lesson3` with one commit, and its remote at `remote.git`.
    fn with_checkout(&self) -> String {
        self.git("", &["init", "-q", "--bare", "-b", "main", "remote.git"]);
        let url = self.path("remote.git").to_str().unwrap().to_owned();
        self.git("", &["clone", "-q", &url, "lesson3"]);
        self.git("lesson3", &["checkout", "-q", "-b", "main"]);
        self.write("lesson3/train.py", "print(1)\n");
        self.write("lesson3/.gitignore", "*.pkl\n");
        self.commit("first");
        self.git("lesson3", &["push", "-q", "-u", "origin", "main"]);
        url
    }

    fn commit(&self, message: &str) -> String {
        self.git("lesson3", &["add", "-A"]);
        self.git("lesson3", &["commit", "-q", "-m", message]);
        self.git("lesson3", &["rev-parse", "HEAD"])
    }
}

async fn converse<T: DeserializeOwned>(mut command: Command, ask: &Ask<'_>) -> Result<T> {
    let started = Started::own(command.spawn().unwrap());
    let exchange = Exchange { what: "cannot do it", limit: Duration::from_secs(60) };
    exchange.carry_out(started, ask).await
}

/// Runs git without the developer's own settings.
fn git(folder: &Path, arguments: &[&str]) -> String {
    let names = ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"];
    let output = Program::new("git")
        .args(["-c", "protocol.file.allow=always"])
        .args(arguments)
        .current_dir(folder)
        .envs(names.map(|name| (name, "someone@example.org")))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> Kind {
    match result.unwrap_err().trouble {
        Trouble::Said(kind) => kind,
        other => panic!("the helper said nothing: {other:?}"),
    }
}

#[tokio::test]
async fn a_first_login_starts_the_clock_and_a_second_leaves_it() {
    let home = Home::new();
    let hello: Hello = home.ask(&Ask::Hello).await.unwrap();
    assert!(hello.python.starts_with("3.") && hello.git.is_some() && hello.disk_free > 0, "{hello:?}");
    let marker = home.read(".dacapo/marker");
    home.ask::<Hello>(&Ask::Hello).await.unwrap();
    assert_eq!(home.read(".dacapo/marker"), marker);
}

#[tokio::test]
async fn only_the_first_end_of_set_up_moves_the_marker() {
    let home = Home::new();
    home.ask::<Hello>(&Ask::Hello).await.unwrap();
    assert!(!home.probe(&[], &[]).await.set_up);
    home.ask::<()>(&Ask::FinishSetUp).await.unwrap();
    home.write("work.txt", "precious");
    home.ask::<()>(&Ask::FinishSetUp).await.unwrap();
    let probe = home.probe(&[], &[]).await;
    assert!(probe.set_up);
    assert_eq!(probe.files.unwrap().len(), 1, "the second call must not forgive what was made since");
}

#[tokio::test]
async fn a_module_of_the_users_own_does_not_take_part() {
    let home = Home::new();
    home.write("json.py", "raise SystemExit('shadowed')");
    home.write("sitecustomize.py", "raise SystemExit('shadowed')");
    let mut command = home.command();
    command.env("PYTHONPATH", home.folder.path());
    converse::<Hello>(command, &Ask::Hello).await.unwrap();
}

#[tokio::test]
async fn a_shells_greeting_is_not_an_answer() {
    let home = Home::new();
    let [isolated, c, start] = exchange::python_arguments();
    let mut command = Command::new("sh");
    let script = format!(
        "echo welcome; echo '{{\"nonce\":\"x\",\"result\":null}}'; exec python3 {isolated} {c} \"$0\""
    );
    command.args(["-c", &script, &start]).env("HOME", home.folder.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    converse::<Hello>(command, &Ask::Hello).await.unwrap();
}

#[tokio::test]
async fn an_end_without_a_last_line_is_no_success() {
    let ended = |script: &'static str| async move {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        converse::<()>(command, &Ask::FinishSetUp).await.unwrap_err()
    };
    let missing = ended("echo 'python3: command not found' >&2; exit 127").await;
    assert_eq!(missing.trouble, Trouble::NoPython, "{missing}");
    assert_eq!(ended("exit 255").await.trouble, Trouble::Lost);
    let silent = ended("echo '{\"nonce\":\"0\",\"result\":null}'; echo its last words >&2").await;
    assert_eq!(silent.trouble, Trouble::Said(Kind::Bug));
    assert!(silent.to_string().contains("its last words"), "{silent}");
}

#[tokio::test]
async fn a_helper_that_nobody_listens_to_ends() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let home = Home::new();
    std::fs::create_dir(home.path(".dacapo")).unwrap();
    // The lock is held, so the helper waits until its input ends.
    let lock = std::fs::File::create(home.path(".dacapo/lock")).unwrap();
    lock.lock().unwrap();
    let mut child = home.command().spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(super::exchange::HELPER.as_bytes()).await.unwrap();
    let ask = "{\"nonce\":\"n\",\"op\":\"pack\",\"path\":\"x\",\"gzip\":false,\"limit\":1}\n";
    input.write_all(ask.as_bytes()).await.unwrap();
    let mut line = [0; 1];
    child.stdout.as_mut().unwrap().read_exact(&mut line).await.unwrap();
    drop(input);
    let status = tokio::time::timeout(Duration::from_secs(5), child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn the_scripts_are_python_3_8() {
    for script in [super::exchange::HELPER, include_str!("launch.py")] {
        let check = "import ast,sys; ast.parse(sys.stdin.read(), feature_version=(3, 8))";
        let mut python = Program::new("python3");
        python.args(["-c", check]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut python = python.spawn().unwrap();
        std::io::Write::write_all(&mut python.stdin.take().unwrap(), script.as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Transfers run beside each other, on tasks of their own.
#[test]
fn what_is_under_way_can_move_between_threads() {
    fn sendable<T: Send>(_: impl FnOnce(super::Connection) -> T) {}
    sendable(|mut connection| async move { connection.hello().await });
    sendable(|mut connection| async move {
        let command = ["true".to_owned()];
        connection.run("", &command, false, std::future::pending()).await
    });
    sendable(|connection| connection.close());
}
