//! The SSH half of the sandbox, met by the machine's own `ssh` and `git`.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Mutex;

use std::net::Ipv4Addr;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use super::*;
use crate::sandbox::laptop::{Laptop, runtime_directory};
use crate::sandbox::repo::{self, Source};
use crate::sandbox::server::{self, Access, SshRequest};

const FIRST: &str = "127.77.0.1";
const SECOND: &str = "127.77.0.2";
const URL: &str = "git@github.com:me/lesson3.git";

/// What `dacapo sandbox gateway` does, for tests that have no such binary.
const PROXY: &str = r#"#!/usr/bin/env -S python3 -SE
import json, os, socket, sys, threading
directory, host, port = sys.argv[4:7]
contact = json.load(open(directory + "/gateway.json"))
name, number = contact["address"].split(":")
stream = socket.create_connection((name, int(number)))
stream.sendall(f"DACAPO-GATEWAY {contact['key']} {host} {port}\n".encode())
answer = b""
while not answer.endswith(b"\n"):
    answer += stream.recv(1) or sys.exit("closed")
if answer != b"+ok\n":
    sys.exit(answer[1:].decode().strip())
def forward():
    while piece := os.read(0, 65536):
        stream.sendall(piece)
    stream.shutdown(socket.SHUT_WR)
threading.Thread(target=forward, daemon=True).start()
while piece := stream.recv(65536):
    view = memoryview(piece)
    while view:
        view = view[os.write(1, view):]
os._exit(0)
"#;

struct World {
    _directory: TempDir,
    directory: PathBuf,
    runtime: PathBuf,
    laptop: Laptop,
    router: Router,
    _gateway: Gateway,
    machines: Arc<Mutex<HashMap<Ipv4Addr, Access>>>,
    journal: Arc<Mutex<Vec<SshRequest>>>,
}

impl World {
    /// Starts a world with a git host that knows [`URL`] and two instances.
    async fn start() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        // With a blank and a quote, because users have those.
        let directory = temporary.path().join("ada's world");
        let proxy = directory.join("proxy");
        let runtime = runtime_directory(&directory).unwrap();
        fs::write(&proxy, PROXY).unwrap();
        fs::set_permissions(&proxy, fs::Permissions::from_mode(0o700)).unwrap();
        let laptop = Laptop::prepare(&directory, &proxy, &runtime).await.unwrap();

        let machines = Arc::new(Mutex::new(HashMap::new()));
        let journal = Arc::new(Mutex::new(Vec::new()));
        let router = router(&directory, &runtime, &laptop, &machines, &journal);
        router.git.seed(URL, "main", Source::Lesson3).await.unwrap();
        let gateway = listen(&directory, router.clone()).await.unwrap();
        let _directory = temporary;
        let world =
            Self { _directory, directory, runtime, laptop, router, _gateway: gateway, machines, journal };
        world.boot(FIRST, "one", "disk-one");
        world.boot(SECOND, "two", "disk-two");
        world
    }

    /// Puts an instance at an address and its host key into the laptop's known hosts.
    fn boot(&self, address: &str, instance: &str, disk: &str) -> String {
        let access = Access {
            instance: instance.to_owned(),
            disk: disk.to_owned(),
            user: "root".to_owned(),
            keys: vec![self.laptop.public_key.clone()],
            script: None,
        };
        let key = self.router.servers.prepare_disk(&access).unwrap();
        self.machines.lock().unwrap().insert(address.parse().unwrap(), access);
        let mut known = fs::OpenOptions::new().append(true).open(&self.laptop.known_hosts).unwrap();
        writeln!(known, "{address} {key}").unwrap();
        key
    }

    fn shut_down(&self, address: &str) {
        self.machines.lock().unwrap().remove(&address.parse().unwrap());
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("SSH_AUTH_SOCK", "/nowhere").stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn ssh(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("ssh");
        command.arg("-F").arg(&self.laptop.ssh_config).args(arguments);
        command
    }

    /// Runs a script on the first instance and returns how it went.
    async fn run(&self, script: &str) -> Output {
        self.ssh(&["root@127.77.0.1", script]).output().await.unwrap()
    }

    /// Runs a script on the first instance, where it must succeed, and returns what it printed.
    async fn succeed(&self, script: &str) -> String {
        printed(self.run(script).await)
    }

    /// Runs a script with the agent forwarded and the git host known to the instance.
    async fn forwarded(&self, script: &str) -> Output {
        let line = fs::read_to_string(&self.laptop.known_hosts).unwrap();
        let line = line.lines().find(|line| line.starts_with("github.com ")).unwrap();
        let script = format!("umask 077; echo '{line}' > ~/.ssh/known_hosts; {script}");
        self.ssh(&["-A", "root@127.77.0.1", &script]).output().await.unwrap()
    }

    fn home(&self, disk: &str) -> PathBuf {
        self.router.servers.home(disk).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.runtime).ok();
    }
}

fn router(
    directory: &Path,
    runtime: &Path,
    laptop: &Laptop,
    machines: &Arc<Mutex<HashMap<Ipv4Addr, Access>>>,
    journal: &Arc<Mutex<Vec<SshRequest>>>,
) -> Router {
    let path = std::env::var("PATH").unwrap();
    let (machines, notes) = (machines.clone(), journal.clone());
    let journal: server::Journal = Arc::new(move |request| notes.lock().unwrap().push(request));
    let servers = Servers::new(
        server::Surroundings {
            directory: directory.to_owned(),
            runtime: runtime.to_owned(),
            search_path: path.clone(),
            journal: journal.clone(),
            sshd: None,
        },
        Arc::new(move |address| machines.lock().unwrap().get(&address).cloned()),
    );
    let git = GitHost::new(repo::Surroundings {
        directory: directory.to_owned(),
        search_path: path.into(),
        laptop_key: laptop.public_key.clone(),
        known_hosts: laptop.known_hosts.clone(),
        journal,
    });
    let clock = Clock::starting("2026-11-23T10:00:00Z".parse().unwrap(), 1.0);
    Router { servers, git: git.unwrap(), faults: Plan::default(), clock }
}

fn printed(output: Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "it succeeded: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts a command and waits for the first line it prints.
async fn started(mut command: Command) -> (Child, String) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap_or_default();
    (child, line)
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_come_back_as_they_are() {
    let world = World::start().await;
    for (script, code) in [("true", 0), ("exit 3", 3), ("no-such-program", 127), ("exit 255", 255)] {
        assert_eq!(world.run(script).await.status.code(), Some(code), "{script}");
    }
    // ssh itself words a death by signal so; a plain 255 has no such line.
    let killed = world.ssh(&["-v", "root@127.77.0.1", "kill -TERM $$"]).output().await.unwrap();
    assert!(complaint(&killed).contains("exit-signal"));
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_mebibytes_come_through_all_three_streams_unchanged() {
    let world = World::start().await;
    let sent: Vec<u8> = (0..8_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut command = world.ssh(&["root@127.77.0.1", "tee /dev/stderr"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sending = sent.clone();
    let sender = tokio::spawn(async move { stdin.write_all(&sending).await });
    let output = child.wait_with_output().await.unwrap();
    sender.await.unwrap().unwrap();
    assert!(output.status.success());
    assert!(output.stdout == sent, "stdout differs");
    assert!(output.stderr == sent, "stderr differs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_line_arrives_byte_for_byte() {
    let world = World::start().await;
    let text = "a \"b\" $(id) `id` !* \\ ü\ttwo  blanks\nnext line";
    assert_eq!(world.succeed(&format!("printf %s '{text}'")).await, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_sees_a_login_of_its_own_and_nothing_of_ours() {
    let world = World::start().await;
    let environment = world.succeed("env; pwd").await;
    let home = world.home("disk-one");
    for line in [
        format!("HOME={}", home.display()),
        format!("PATH={}/bin:/usr/local/sbin:", world.directory.display()),
        "USER=root".to_owned(),
        "DACAPO_SANDBOX_INSTANCE=one".to_owned(),
        format!("\n{}\n", home.display()),
    ] {
        assert!(environment.contains(&line), "{line} is not in {environment}");
    }
    for foreign in ["CARGO", "SSH_AUTH_SOCK", "/nowhere"] {
        assert!(!environment.contains(foreign), "{foreign} is in {environment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_sessions_share_a_connection_and_the_eleventh_is_refused() {
    let world = World::start().await;
    let control = world.runtime.join("control");
    let control = control.to_str().unwrap();
    let mut master = world.ssh(&["-M", "-S", control, "root@127.77.0.1", "echo; exec cat"]);
    master.stderr(Stdio::null());
    let (master, _) = started(master).await;
    let session = |script| world.ssh(&["-S", control, "-o", "ProxyCommand=false", "root@127.77.0.1", script]);
    let mut open = Vec::new();
    for _ in 0..9 {
        let (child, line) = started(session("echo ready; exec cat")).await;
        assert_eq!(line, "ready");
        open.push(child);
    }
    let refused = session("true").output().await.unwrap();
    assert!(complaint(&refused).contains("Session open refused by peer"));

    let mut last = open.pop().unwrap();
    drop(last.stdin.take());
    assert!(last.wait().await.unwrap().success());
    assert_eq!(printed(session("echo again").output().await.unwrap()), "again\n");
    drop(master);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_multiplexed_client_gets_outputs_and_ends_of_commands_side_by_side() {
    let world = World::start().await;
    // The crate hands the path on as an option's words, so the quotes are the caller's.
    let known_hosts = format!("\"{}\"", world.laptop.known_hosts.display());
    let mut builder = openssh::SessionBuilder::default();
    builder
        .config_file(&world.laptop.ssh_config)
        .user_known_hosts_file(known_hosts)
        .known_hosts_check(openssh::KnownHosts::Strict)
        .control_directory(&world.runtime);
    let session = builder.connect_mux("root@127.77.0.1").await.unwrap();
    let ask = |number: i32| {
        let script = format!("head -c 300000 /dev/zero; cat >&2; exit {number}");
        let session = &session;
        async move { (number, session.command("sh").arg("-c").arg(script).output().await.unwrap()) }
    };
    for (number, output) in futures_util::future::join_all((0..8).map(ask)).await {
        assert_eq!(output.status.code(), Some(number));
        assert_eq!((output.stdout.len(), output.stderr.len()), (300_000, 0));
    }
    session.close().await.unwrap();
    assert_eq!(world.journal.lock().unwrap().iter().filter(|note| note.what == "ssh connect").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_another_user_and_a_password_are_refused() {
    let world = World::start().await;
    let stranger = world.directory.join("stranger");
    server::key::load_or_make(&stranger, "stranger").unwrap();
    let config = fs::read_to_string(&world.laptop.ssh_config).unwrap();
    let config = config.replace("IdentityAgent", "IdentityAgent none #").replace("IdentityFile", "#");
    let foreign = world.directory.join("foreign_config");
    fs::write(&foreign, config).unwrap();
    let mut ssh = world.command("ssh");
    ssh.arg("-F").arg(&foreign).arg("-i").arg(&stranger).args(["root@127.77.0.1", "true"]);
    assert!(complaint(&ssh.output().await.unwrap()).contains("Permission denied (publickey)"));
    let mut ssh = world.command("ssh");
    ssh.arg("-F")
        .arg(&foreign)
        .arg("-i")
        .arg(&stranger)
        .args(["git@github.com", "git-upload-pack 'me/lesson3'"]);
    assert!(complaint(&ssh.output().await.unwrap()).contains("Permission denied (publickey)"));

    let other_user = world.ssh(&["ubuntu@127.77.0.1", "true"]).output().await.unwrap();
    assert!(complaint(&other_user).contains("Permission denied (publickey)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_running_instances_and_seeded_hosts_can_be_reached() {
    let world = World::start().await;
    world.shut_down(SECOND);
    for (host, words) in [
        (SECOND, "Connection refused"),
        ("127.77.9.9", "Connection refused"),
        ("127.0.0.1", "Network is unreachable"),
        ("192.0.2.1", "Network is unreachable"),
        ("gitlab.com", "Could not resolve hostname"),
        ("localhost", "Could not resolve hostname"),
    ] {
        let output = world.ssh(&[&format!("root@{host}"), "true"]).output().await.unwrap();
        let words_seen = complaint(&output);
        assert!(words_seen.contains(words), "{host}: {words_seen}");
    }
    let other_port = world.ssh(&["-p", "2222", "root@127.77.0.1", "true"]).output().await.unwrap();
    assert!(complaint(&other_port).contains("Connection refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_offered_is_refused_at_once() {
    let world = World::start().await;
    let subsystem = world.ssh(&["-s", "root@127.77.0.1", "sftp"]).output().await.unwrap();
    assert!(complaint(&subsystem).contains("subsystem request failed"));
    let forwarding = world.ssh(&["-W", "127.0.0.1:22", "root@127.77.0.1"]).output().await.unwrap();
    assert!(complaint(&forwarding).contains("open failed"));
    let git_shell = world.ssh(&["git@github.com", "id"]).output().await.unwrap();
    assert!(complaint(&git_shell).contains("Invalid command: id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_on_an_instance_needs_the_forwarded_agent() {
    let world = World::start().await;
    let clone = format!("git clone -q {URL} lesson3 && git -C lesson3 log --format=%H");
    let head = printed(world.forwarded(&clone).await);
    assert_eq!(head.trim().len(), 40);

    let without = world.run(&format!("git clone -q {URL} again")).await;
    let words = complaint(&without);
    assert!(words.contains("Permission denied (publickey)"), "{words}");
    let home = world.home("disk-one");
    assert!(home.join("lesson3/train.py").is_file());
    assert!(!home.join("again").exists());
    // Nothing of the agent stays: no key file, no socket.
    assert_eq!(fs::read_dir(home.join(".ssh")).unwrap().count(), 2);
    assert_eq!(world.succeed("echo \"${SSH_AUTH_SOCK-none}\"").await, "none\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_from_an_instance_reaches_the_git_host() {
    let world = World::start().await;
    let script = format!(
        "set -e; git clone -q {URL} lesson3; cd lesson3; git config user.name Ada; \
         git config user.email ada@example.invalid; echo more >> README.md; git commit -qam more; \
         git push -q; git rev-parse HEAD"
    );
    let pushed = printed(world.forwarded(&script).await);
    let mut remote = world.command("git");
    remote.arg("-c").arg("core.sshCommand=").args(["ls-remote", "--exit-code", "--", URL, "refs/heads/main"]);
    remote.env("GIT_SSH_COMMAND", format!("ssh -F \"{}\"", world.laptop.ssh_config.display()));
    let listed = printed(remote.output().await.unwrap());
    assert_eq!(listed.split_whitespace().next(), Some(pushed.trim()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_socket_goes_with_its_connection() {
    let world = World::start().await;
    let (mut child, socket) =
        started(world.ssh(&["-A", "root@127.77.0.1", "echo $SSH_AUTH_SOCK; exec cat"])).await;
    assert!(Path::new(&socket).exists(), "{socket}");
    drop(child.stdin.take());
    child.wait().await.unwrap();
    until(|| !Path::new(&socket).parent().unwrap().exists()).await;
}

/// Looks again until something has happened that nobody announces.
async fn until(happened: impl Fn() -> bool) {
    let looking = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looking).await.expect("it happens within half a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_repository_is_refused_in_the_words_of_the_real_host() {
    let world = World::start().await;
    let output = world.forwarded("git ls-remote git@github.com:me/other.git").await;
    assert!(complaint(&output).contains("ERROR: Repository not found."));
}

#[tokio::test(flavor = "multi_thread")]
async fn seeding_again_changes_nothing_and_every_world_has_the_same_commit() {
    let (first, second) = tokio::join!(World::start(), World::start());
    let head = |world: &World| {
        fs::read_to_string(world.router.git.repository(URL).unwrap().join("refs/heads/main"))
            .unwrap_or_default()
    };
    assert_eq!(head(&first).trim().len(), 40);
    assert_eq!(head(&first), head(&second));

    let known = fs::read_to_string(&first.laptop.known_hosts).unwrap();
    first.router.git.seed(URL, "other", Source::Lesson3).await.unwrap();
    assert_eq!(fs::read_to_string(&first.laptop.known_hosts).unwrap(), known);
    let refs = first.router.git.repository(URL).unwrap().join("refs/heads");
    assert_eq!(fs::read_dir(refs).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_seeds_its_branches_and_tags_under_a_port_of_its_own() {
    let world = World::start().await;
    let checkout = world.directory.join("checkout");
    let script = "set -e; git init -q -b trunk .; git config user.name Ada; \
        git config user.email ada@example.invalid; echo 1 > a; git add a; git commit -qm one; \
        git tag v1; git branch side; echo 2 > a; git commit -qam two; git rev-parse HEAD v1";
    fs::create_dir(&checkout).unwrap();
    let made = world.command("sh").args(["-c", script]).current_dir(&checkout).output().await.unwrap();
    let made = printed(made);
    let (head, tag) = made.trim().split_once('\n').unwrap();

    let url = "ssh://git@git.example.org:2222/team/project.git";
    world.router.git.seed(url, "trunk", Source::Checkout(&checkout)).await.unwrap();
    let mut remote = world.command("git");
    remote.args(["ls-remote", "--symref", "--", url]);
    remote.env("GIT_SSH_COMMAND", format!("ssh -F \"{}\"", world.laptop.ssh_config.display()));
    let listed = printed(remote.output().await.unwrap());
    let expected = format!(
        "ref: refs/heads/trunk\tHEAD\n{head}\tHEAD\n{tag}\trefs/heads/side\n{head}\trefs/heads/trunk\n{tag}\trefs/tags/v1\n"
    );
    assert_eq!(listed, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_key_belongs_to_its_disk() {
    let world = World::start().await;
    let key = |disk: &str| world.boot(SECOND, "two", disk);
    let (one, two) = (key("disk-one"), key("disk-two"));
    assert_ne!(one, two);
    assert_eq!(key("disk-two"), two);
    world.router.servers.destroy_disk("disk-two").unwrap();
    assert!(!world.home("disk-two").exists());
    assert_ne!(key("disk-two"), two);
    assert!(world.router.servers.destroy_disk("../laptop").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnecting_cuts_connections_and_kills_what_runs_in_the_background() {
    let world = World::start().await;
    let background = "nohup setsid sleep 1000 >/dev/null 2>&1 & echo $!";
    let hidden = world.succeed(background).await;
    let other = printed(world.ssh(&["root@127.77.0.2", background]).output().await.unwrap());
    let (mut open, _) = started(world.ssh(&["root@127.77.0.1", "echo ready; exec sleep 1000"])).await;
    let alive =
        |process: &str| fs::read(format!("/proc/{}/environ", process.trim())).is_ok_and(|e| !e.is_empty());
    assert!(alive(&hidden) && alive(&other));

    world.shut_down(FIRST);
    world.router.servers.disconnect("one").await.unwrap();
    assert!(!alive(&hidden));
    assert!(alive(&other), "another instance's process was killed");
    assert_eq!(open.wait().await.unwrap().code(), Some(255));
    world.router.servers.disconnect("two").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_outlives_its_client_and_reads_the_end_of_its_input() {
    let world = World::start().await;
    let script = "trap '' PIPE; echo ready; cat >/dev/null; echo more 2>/dev/null || echo refused > end.part; \
        mv end.part end";
    let (mut client, line) = started(world.ssh(&["root@127.77.0.1", script])).await;
    assert_eq!(line, "ready");
    client.kill().await.unwrap();
    let end = world.home("disk-one").join("end");
    until(|| end.exists()).await;
    assert_eq!(fs::read_to_string(end).unwrap(), "refused\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_trains_on_an_instance() {
    let world = World::start().await;
    let script = format!(
        "set -e; git clone -q {URL} lesson3; cd lesson3; python3 train.py; cp export.pkl first.pkl; \
         python3 train.py | tail -1; git status --porcelain; ! cmp -s first.pkl export.pkl"
    );
    let log = printed(world.forwarded(&script).await);
    assert!(log.contains("epoch   50  loss 0.2"), "{log}");
    assert!(log.ends_with("wrote export.pkl\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_received_is_noted_before_the_client_hears_the_end() {
    let world = World::start().await;
    let mut ssh = world.ssh(&["root@127.77.0.1", "head -c 3"]);
    let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a secret").await.unwrap();
    assert_eq!(child.wait_with_output().await.unwrap().stdout, b"a s");
    let notes = world.journal.lock().unwrap().clone();
    let note = |user: &str, what: &str, stdin: &[u8]| SshRequest {
        instance: "one".to_owned(),
        user: user.to_owned(),
        what: what.to_owned(),
        stdin: stdin.to_owned(),
    };
    assert_eq!(notes, [note("", "ssh connect", b""), note("root", "head -c 3", b"a secret")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrapper_obeys_no_configuration_but_the_sandboxs() {
    let world = World::start().await;
    let hostile = world.directory.join("hostile");
    let config = "Host *\n HostName 192.0.2.7\n ProxyCommand none\n User eve\n IdentityFile /etc/passwd\n";
    fs::write(&hostile, config).unwrap();
    let hostile = hostile.to_str().unwrap();
    let glued = format!("-F{hostile}");
    let wrapper = world.directory.join("bin/ssh");
    let honest =
        world.command(&wrapper).args(["-G", "-T", "-p", "22", "git@github.com"]).output().await.unwrap();
    let honest = printed(honest);
    assert!(honest.contains("sandbox gateway --dir"), "{honest}");
    for arguments in [
        vec!["-G", "-F", hostile, "-T", "-p", "22", "git@github.com"],
        vec!["-G", glued.as_str(), "-T", "-p22", "git@github.com"],
        vec!["-GTF", hostile, "-p", "22", "git@github.com"],
        vec!["-G", "-T", "-p", "22", "git@github.com", "-F", hostile],
        vec!["-GT", "git@github.com", "-p", "22", glued.as_str(), "a command", "-F", hostile],
        vec!["-G", "-T", "-F", hostile, "-p", "22", "--", "git@github.com"],
        vec!["-G", "-T", "-o", "ProxyCommand=none", "-p", "22", "git@github.com"],
    ] {
        let output = world.command(&wrapper).args(&arguments).output().await.unwrap();
        assert_eq!(printed(output), honest, "{arguments:?}");
    }
    let jump =
        world.command(&wrapper).args(["-J", "192.0.2.1", "git@github.com", "true"]).output().await.unwrap();
    complaint(&jump);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrapper_passes_a_command_on_as_it_is() {
    let world = World::start().await;
    let wrapper = world.directory.join("bin/ssh");
    let known = format!("UserKnownHostsFile=\"{}\"", world.laptop.known_hosts.display());
    let mut ssh = world.command(&wrapper);
    ssh.args(["-o", &known, "root@127.77.0.1", "printf '[%s]'", "-F", "'two  blanks'", "--", "-p", "''"]);
    ssh.env("SSH_AUTH_SOCK", world.laptop.agent_socket());
    assert_eq!(printed(ssh.output().await.unwrap()), "[-F][two  blanks][--][-p][]");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_laptops_ssh_reads_nothing_of_the_users() {
    let world = World::start().await;
    let config = printed(world.ssh(&["-G", "github.com"]).output().await.unwrap());
    let own: Vec<_> = config.lines().filter(|line| line.contains('/') && !line.contains("/usr/")).collect();
    let directory = world.directory.display().to_string();
    let runtime = world.runtime.display().to_string();
    for line in own {
        let known = line.contains(&directory) || line.contains(&runtime) || line.contains("/dev/null");
        // What a proxy command or a path inside the world has of the user is the world's own place.
        assert!(known || line.starts_with("proxycommand") || line.starts_with("xauthlocation"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_with_the_wrong_key_gets_nowhere() {
    let world = World::start().await;
    let mut stream = TcpStream::connect(("127.0.0.1", world._gateway.port())).await.unwrap();
    stream.write_all(b"DACAPO-GATEWAY 0000 127.77.0.1 22\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "-wrong key\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipe_carries_what_ssh_would_say_and_names_what_is_refused() {
    let world = World::start().await;
    let directory = world.directory.clone();
    let carried = tokio::task::spawn_blocking(move || {
        let mut output = Vec::new();
        // A client that says hello and leaves hears the server's hello first.
        pipe::carry(&directory, FIRST, 22, &b"SSH-2.0-test\r\n"[..], &mut output).unwrap();
        let refused = pipe::carry(&directory, "192.0.2.1", 22, &b""[..], &mut Vec::new());
        let absent = pipe::carry(Path::new("/nowhere"), FIRST, 22, &b""[..], &mut Vec::new());
        (output, refused.unwrap_err().what, absent.unwrap_err().what)
    });
    let (output, refused, absent) = carried.await.unwrap();
    assert!(output.starts_with(b"SSH-2.0-dacapo_sandbox\r\n"));
    assert_eq!(refused, "ssh: connect to host 192.0.2.1 port 22: Network is unreachable");
    assert_eq!(absent, "no sandbox is running in `/nowhere`");
}

#[test]
fn a_greeting_needs_the_key_and_four_words() {
    assert_eq!(parse("DACAPO-GATEWAY abc github.com 22", "abc"), Ok(("github.com", 22)));
    for wrong in
        ["DACAPO-GATEWAY abd github.com 22", "DACAPO-GATEWAY abc github.com", "SSH-2.0-OpenSSH_9.2", ""]
    {
        assert!(parse(wrong, "abc").is_err(), "{wrong}");
    }
    assert!(parse("DACAPO-GATEWAY abc github.com 65536", "abc").is_err());
}
