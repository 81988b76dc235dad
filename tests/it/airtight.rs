//! No secret leaves the memory of those who need it, and nothing leaves loopback under `--sandbox`,
//! whatever the user's environment, home and ssh look like.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::support::{Project, Ran, ran};

const SPEC: &str = include_str!("../../session.toml");
/// What stands for the user's own secrets; no world may ever see it.
const CANARY: &str = "canary-9f2c";

#[test]
fn no_secret_reaches_a_request_a_disk_a_file_of_the_laptop_or_any_output() {
    let world = World::start();
    world.run(&["up", "--yes", "-v"], 0);
    world.run(&["run", "--", "python3", "train.py"], 0);
    world.run(&["run", "-A", "--", "git", "fetch"], 0);
    for looking in [&["status"][..], &["status", "--json"], &["plan", "--json", "-o", "plan"], &["validate"]]
    {
        world.run(looking, 0);
    }
    let alive = world.sandbox().join("disks");
    assert!(files(&alive).iter().any(|path| path.ends_with("lesson3/export.pkl")), "the disk is there");
    world.expect_none(&homes(&alive), &world.secrets_and_links());
    assert_eq!(keys_in(&alive), Vec::<PathBuf>::new(), "no private key on an instance");
    world.run(&["down", "--yes", "-v"], 0);
    world.run(&["up", "--yes", "--json"], 0);
    world.expect_none(&homes(&alive), &world.secrets_and_links());
    world.expect_none(&files(&world.laptop()), &world.secrets_and_links());
    world.run(&["down", "--yes", "--json"], 0);

    let needles = world.secrets_and_links();
    assert!(needles.len() > world.secrets().len(), "links were given out");
    assert!(world.host_keys().len() >= 2 * 3, "two servers were made, each with a key of some lines");
    expect_none_in("the output", &world.output.borrow(), &needles);
    expect_no_token_in("the output", &world.output.borrow());
    world.expect_none(&[world.project.path().join("plan")], &needles);
    for file in [files(&world.laptop()), homes(&alive)].concat() {
        expect_no_token_in(&file.display().to_string(), &String::from_utf8_lossy(&fs::read(&file).unwrap()));
    }
    for request in world.requests() {
        let place = format!("{} {}", request["service"], request["path"]);
        expect_none_in(&place, &request.to_string(), &world.secrets());
        // The script is the one place that a host key is sent in.
        if !(request["path"] == "/v1/scripts" && request["method"] == "POST") {
            expect_none_in(&place, &request.to_string(), &world.host_keys());
        }
        expect_no_token_in(&place, &request.to_string());
    }
}

#[test]
fn nothing_that_is_lent_out_is_seen_while_several_artifacts_move() {
    let spec = SPEC.replace("\"gzip\"", "\"none\"")
        + "\n[artifacts.notes]\npath = \"notes.bin\"\n\n[artifacts.weights]\npath = \"weights.bin\"\n";
    let world = World::of(&spec);
    world.run(&["up", "--yes"], 0);
    let checkout = world.project.server().join("lesson3");
    // Large enough to be sent in parts, with a token that may write and nothing else.
    let mut noise: u64 = 1;
    let mut bytes = || {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise.to_le_bytes()
    };
    fs::write(checkout.join("export.pkl"), (0..20 * 1024 * 1024).flat_map(|_| bytes()).collect::<Vec<_>>())
        .unwrap();
    fs::write(checkout.join("notes.bin"), [1; 300_000]).unwrap();
    fs::write(checkout.join("weights.bin"), [2; 300_000]).unwrap();
    let sampler = Sampler::start(&world);
    world.run(&["artifacts", "push", "--yes"], 0);
    for file in ["export.pkl", "notes.bin", "weights.bin"] {
        fs::remove_file(checkout.join(file)).unwrap();
    }
    world.run(&["artifacts", "pull", "--yes"], 0);
    world.run(&["down", "--yes"], 0);
    let Sampled { texts, .. } = sampler.stop();
    let minted = |request: &Value| request["body"].as_str().unwrap().contains("scope=files.content.write");
    assert!(world.requests().iter().any(minted), "a token was lent out");
    let mut needles = world.secrets_and_links();
    needles.extend(["/apitul/".to_owned(), "/cd/0/get/".to_owned()]);
    for text in texts.iter().chain([&*world.output.borrow()]) {
        expect_none_in("a process or the output", text, &needles);
        expect_no_token_in("a process or the output", text);
    }
    for file in [files(&world.laptop()), homes(&world.sandbox().join("disks"))].concat() {
        expect_no_token_in(&file.display().to_string(), &String::from_utf8_lossy(&fs::read(&file).unwrap()));
    }
}

#[test]
fn what_is_written_is_for_its_user_alone_whatever_the_umask() {
    // Without a store the record is a file here, too.
    let world = World::of(
        &SPEC
            .replace("store = ", "# ")
            .replace("[artifacts.model]", "[limits]\n#")
            .replace("path     = \"export.pkl\"\nversion  = \"latest\"\ncompress = \"gzip\"", ""),
    );
    for arguments in [&["up", "--yes"][..], &["run", "-A", "--", "git", "fetch"]] {
        let mut shell = world.command(&[&["--sandbox"], arguments].concat());
        let program = shell.get_program().to_owned();
        let words: Vec<_> = shell.get_args().map(ToOwned::to_owned).collect();
        let mut open = Command::new("sh");
        open.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(program).args(words);
        open.current_dir(world.project.path()).env_clear().stdin(Stdio::null());
        open.envs(shell.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell = open;
        ran(shell.output().unwrap()).exits(0);
    }
    let state = world.laptop().join(".local/state/dacapo");
    let written = files(&state);
    for kind in ["records/lesson3.json", ".known_hosts", ".config", "-lesson3"] {
        assert!(
            written.iter().any(|path| path.to_string_lossy().ends_with(kind)),
            "{kind} is in {written:#?}"
        );
    }
    for path in &written {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    let cache = world.laptop().join(".cache/dacapo/git");
    for folder in [state.join("records"), state.join("locks"), state.join("ssh"), cache] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
    // Source, to be committed: everybody may read it, and nobody else write it.
    assert_eq!(mode(&world.sandbox().join("session.lock")), 0o644);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_service_that_never_stops_talking_is_given_up() {
    for status in [400, 200] {
        let world = Project::without_world(SPEC);
        let (address, sent) = talk_without_end(status);
        let mut command = world.command(&["plan", "--set", "store=dropbox:/x"]);
        command.envs([("VERDA_CLIENT_ID", "x"), ("VERDA_CLIENT_SECRET", "y"), ("DROPBOX_ACCESS_TOKEN", "z")]);
        for name in ["VERDA_BASE_URL", "DROPBOX_API_URL", "DROPBOX_CONTENT_URL"] {
            command.env(name, format!("http://{address}"));
        }
        fs::create_dir_all(world.path().join("outside-home/.ssh")).unwrap();
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2Xn0xq0t3p3Y7y2f8m8H0y5o1l4k6j9h8g7f6d5s4a";
        fs::write(world.path().join("outside-home/.ssh/id_ed25519.pub"), key).unwrap();
        // No name may lead out of this machine: what stands for the git host is never asked here.
        command.env("GIT_SSH_COMMAND", "false");
        let ended = ran(command.output().unwrap());
        assert!(matches!(ended.code, 1 | 4), "{ended:?}");
        ended.says("error: ").says("hint: ");
        let mib = sent.load(Ordering::SeqCst) >> 20;
        // A few tries of a few calls, each ended early.
        assert!(mib < 500, "{mib} MiB were taken");
    }
}

/// A service on loopback whose every answer goes on for ever; counts the bytes that it gets rid of.
fn talk_without_end(status: u16) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, counted) = (stream.unwrap(), counted.clone());
            std::thread::spawn(move || {
                use std::io::Write as _;
                let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n\r\n[\"");
                let piece = [b'a'; 65536];
                let mut taken = stream.write_all(head.as_bytes());
                while taken.is_ok() {
                    taken = stream.write_all(&piece);
                    counted.fetch_add(piece.len(), Ordering::SeqCst);
                }
            });
        }
    });
    (address, sent)
}

#[test]
fn no_secret_and_no_link_stands_in_an_argument_or_the_environment_of_any_process() {
    if !Path::new("/proc/self/environ").exists() {
        return;
    }
    let world = World::start();
    let sampler = Sampler::start(&world);
    world.run(&["up", "--yes"], 0);
    world.run(&["run", "-A", "--", "sh", "-c", "git fetch && python3 train.py"], 0);
    world.run(&["down", "--yes"], 0);
    let Sampled { processes, texts } = sampler.stop();
    assert!(processes.len() >= 20, "only {} processes were seen", processes.len());
    for kind in ["ssh", "git", "python3", "dacapo"] {
        assert!(texts.iter().any(|text| program(text) == kind), "`{kind}` was never seen");
    }
    let mut needles = world.secrets_and_links();
    needles.extend(["/apitul/".to_owned(), "/cd/0/get/".to_owned()]);
    for text in &texts {
        expect_none_in("a process", text, &needles);
    }
}

#[test]
fn the_users_own_configuration_keys_agent_and_proxies_are_never_touched() {
    let world = World::start();
    world.run(&["up", "--yes"], 0);
    world.run(&["run", "-A", "--", "git", "fetch"], 0);
    world.run(&["run", "--", "python3", "train.py"], 0);
    world.run(&["down", "--yes"], 0);

    assert!(!world.canary.exists(), "ran: {}", fs::read_to_string(&world.canary).unwrap_or_default());
    assert_eq!(world.touched.load(Ordering::SeqCst), 0, "connections to the user's proxy or agent");
    let calls = world.ssh_calls();
    assert!(calls.len() >= 10, "the recording ssh stood first on PATH: {calls:#?}");
    for call in &calls {
        let config = call.iter().position(|word| word == "-F").and_then(|at| call.get(at + 1));
        let config = config.unwrap_or_else(|| panic!("no configuration was named: {call:?}"));
        let ours = Path::new(config).starts_with(world.sandbox());
        let socket = config == "none" && call.contains(&"-S".to_owned());
        assert!(ours || socket, "`{config}` is not ours: {call:?}");
    }
    expect_none_in("the output", &world.output.borrow(), &[CANARY.to_owned()]);
    for request in world.requests() {
        expect_none_in(
            &format!("{} {}", request["service"], request["path"]),
            &request.to_string(),
            &[CANARY.to_owned()],
        );
    }
    world.expect_none(&files(&world.sandbox()), &[CANARY.to_owned()]);
}

/// An embedded world whose every process, its own included, was started by a user with a hostile environment.
struct World {
    project: Project,
    environment: Vec<(String, String)>,
    output: RefCell<String>,
    canary: PathBuf,
    touched: Arc<AtomicUsize>,
    serve: Option<Child>,
}

impl World {
    fn start() -> Self {
        Self::of(SPEC)
    }

    fn of(spec: &str) -> Self {
        let project = Project::without_world(spec);
        let outside = project.path().join("outside-home");
        let canary = project.path().join("canary-was-here");
        let touched = Arc::new(AtomicUsize::new(0));
        write_hostile_home(&outside, &canary);
        let environment = hostile_environment(&outside, &canary, &touched);
        let mut world =
            Self { project, environment, output: RefCell::default(), canary, touched, serve: None };
        world.serve();
        world
    }

    fn serve(&mut self) {
        let mut command = self.command(&["sandbox", "serve", "--clock-speed", "120", "--dir"]);
        let command = command.arg(self.sandbox()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = Vec::new();
        let stdout = child.stdout.as_mut().unwrap();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            stdout.read_exact(&mut byte).expect("the world says one line");
            line.push(byte[0]);
        }
        self.project.ready = serde_json::from_slice(&line).unwrap();
        self.serve = Some(child);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.project.command(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `dacapo --sandbox`, keeping all that it says.
    #[track_caller]
    fn run(&self, arguments: &[&str], code: i32) -> Ran {
        let ran = ran(self.command(&[&["--sandbox"], arguments].concat()).output().unwrap()).exits(code);
        self.output.borrow_mut().extend([ran.stdout.as_str(), ran.stderr.as_str()]);
        ran
    }

    fn requests(&self) -> Vec<Value> {
        let ran = ran(self.command(&["--sandbox", "sandbox", "requests"]).output().unwrap()).exits(0);
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn sandbox(&self) -> PathBuf {
        self.project.sandbox()
    }

    fn laptop(&self) -> PathBuf {
        self.project.laptop()
    }

    /// Every secret of the world: what it was started with, what it gave out, and the laptop's key.
    fn secrets(&self) -> Vec<String> {
        let named = ["client_secret", "dropbox_token", "dropbox_refresh_token", "admin_key"];
        let mut secrets: Vec<_> =
            named.iter().map(|name| self.project.ready[*name].as_str().unwrap().to_owned()).collect();
        let key = fs::read_to_string(self.laptop().join(".ssh/id_ed25519")).unwrap();
        // The lines before only say what kind of key it is.
        secrets.extend(key.lines().rev().skip(1).take(2).map(str::to_owned));
        assert!(secrets.iter().all(|secret| secret.len() >= 16), "long enough to be found by search");
        secrets
    }

    /// The secrets, and the part that counts of every temporary link that was used.
    fn secrets_and_links(&self) -> Vec<String> {
        let requests = self.requests();
        let paths = requests.iter().map(|request| request["path"].as_str().unwrap());
        let links = paths
            .filter_map(|path| path.strip_prefix("/apitul/1/").or_else(|| path.strip_prefix("/cd/0/get/")));
        let names = links.map(|link| link.split('/').next().unwrap().to_owned());
        let all = self.secrets().into_iter().chain(names.collect::<BTreeSet<_>>());
        all.chain(self.host_keys()).collect()
    }

    /// The lines of the private host keys that were made for servers, as their startup scripts have them.
    fn host_keys(&self) -> Vec<String> {
        let requests = self.requests();
        let made = requests.iter().filter(|one| one["path"] == "/v1/scripts" && one["method"] == "POST");
        let lines = |request: &Value| {
            let body: Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
            let script = body["script"].as_str().unwrap().to_owned();
            // The first line says what kind of key it is, and holds the public half.
            let key = script.split("PRIVATE KEY-----").nth(1).unwrap().lines().skip(3);
            key.filter(|line| line.len() >= 16 && !line.starts_with('-'))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        made.flat_map(lines).collect()
    }

    /// Asserts that no file but the laptop's own key file holds one of these.
    #[track_caller]
    fn expect_none(&self, files: &[PathBuf], needles: &[String]) {
        assert!(!files.is_empty(), "there is something to search");
        let key = self.laptop().join(".ssh/id_ed25519");
        for path in files.iter().filter(|path| **path != key) {
            // Some vanish meanwhile: locks, sockets of a connection just closed.
            let bytes = fs::read(path).unwrap_or_default();
            expect_none_in(&path.display().to_string(), &String::from_utf8_lossy(&bytes), needles);
        }
    }

    /// The words of every call of the recording ssh.
    fn ssh_calls(&self) -> Vec<Vec<String>> {
        let words = |path: PathBuf| fs::read_to_string(path).unwrap();
        let logs = files(&self.project.path().join("outside-home/ssh-calls"));
        let calls = logs.into_iter().map(words);
        calls.map(|text| text.split_terminator('\0').map(str::to_owned).collect()).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Nothing is left to do if it can't be stopped.
        let _ = self.command(&["--sandbox", "sandbox", "stop"]).output();
        if let Some(mut serve) = self.serve.take() {
            let _ = serve.wait();
        }
    }
}

/// A home whose every file would leave a mark if it were used.
fn write_hostile_home(home: &Path, canary: &Path) {
    let mark = |who: &str| format!("sh -c 'echo {who} >> \"{}\"; exit 1'", canary.display());
    let write = |path: &str, text: &str| {
        let path = home.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    };
    write(
        ".ssh/config",
        &format!(
            "Host *\n  ProxyCommand {}\n  RemoteCommand echo {CANARY}\n  IdentityFile ~/.ssh/{CANARY}\n  \
             PermitLocalCommand yes\n  LocalCommand {}\n",
            mark("ssh_config"),
            mark("local_command")
        ),
    );
    let key = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n-----END OPENSSH PRIVATE KEY-----\n");
    write(".ssh/id_ed25519", &key);
    write(".ssh/id_ed25519.pub", &format!("ssh-ed25519 {CANARY}\n"));
    write(
        ".verda/credentials",
        &format!("[default]\nverda_client_id = {CANARY}\nverda_client_secret = {CANARY}\n"),
    );
    write(
        ".gitconfig",
        &format!(
            "[url \"https://{CANARY}.invalid/\"]\n  insteadOf = git@github.com:\n\
             [core]\n  sshCommand = \"{}\"\n  fsmonitor = \"{}\"\n  hooksPath = {}\n\
             [uploadpack]\n  packObjectsHook = {}\n[user]\n  name = {CANARY}\n",
            mark("core.sshCommand").replace('"', "\\\""),
            home.join("hook").display(),
            home.join("hooks").display(),
            home.join("hook").display()
        ),
    );
    let hook = format!("#!/bin/sh\necho \"hook $0\" >> '{}'\n", canary.display());
    for name in ["hook", "hooks/post-checkout", "hooks/reference-transaction", "template/hooks/post-checkout"]
    {
        write(name, &hook);
    }
    let real = path_of("ssh");
    let record = format!(
        "#!/bin/sh\nprintf '%s\\0' \"$@\" > \"$(mktemp '{}/XXXXXXXX')\"\nexec '{}' \"$@\"\n",
        home.join("ssh-calls").display(),
        real.display()
    );
    write("bin/ssh", &record);
    fs::create_dir(home.join("ssh-calls")).unwrap();
}

fn hostile_environment(home: &Path, canary: &Path, touched: &Arc<AtomicUsize>) -> Vec<(String, String)> {
    let hook = home.join("hook").display().to_string();
    let proxy = format!("http://{}", record_connections(touched));
    let agent = home.join("agent");
    record_clients(&agent, touched);
    let path = format!("{}:{}", home.join("bin").display(), std::env::var("PATH").unwrap());
    let mark = format!("echo environment >> '{}'; false", canary.display());
    let mut all: Vec<(String, String)> = vec![
        ("PATH".into(), path),
        ("SSH_AUTH_SOCK".into(), agent.display().to_string()),
        ("GIT_CONFIG_COUNT".into(), "2".into()),
        ("GIT_CONFIG_KEY_0".into(), "uploadpack.packObjectsHook".into()),
        ("GIT_CONFIG_VALUE_0".into(), hook.clone()),
        ("GIT_CONFIG_KEY_1".into(), "core.fsmonitor".into()),
        ("GIT_CONFIG_VALUE_1".into(), hook.clone()),
        ("GIT_TEMPLATE_DIR".into(), home.join("template").display().to_string()),
        ("GIT_SSH_COMMAND".into(), mark),
    ];
    let hooks =
        ["GIT_SSH", "GIT_PROXY_COMMAND", "GIT_ASKPASS", "SSH_ASKPASS", "GIT_EXTERNAL_DIFF", "GIT_EDITOR"];
    all.extend(hooks.map(|name| (name.to_owned(), hook.clone())));
    let proxies = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    let addresses = ["VERDA_BASE_URL", "DROPBOX_API_URL", "DROPBOX_CONTENT_URL"];
    all.extend(proxies.iter().chain(&addresses).map(|name| ((*name).to_owned(), proxy.clone())));
    let secrets = [
        "VERDA_CLIENT_ID",
        "VERDA_CLIENT_SECRET",
        "DATACRUNCH_CLIENT_ID",
        "DATACRUNCH_CLIENT_SECRET",
        "DROPBOX_ACCESS_TOKEN",
        "DROPBOX_APP_KEY",
        "DROPBOX_REFRESH_TOKEN",
    ];
    all.extend(secrets.map(|name| (name.to_owned(), CANARY.to_owned())));
    all
}

/// Listens on loopback, counting who comes, and returns the address.
fn record_connections(touched: &Arc<AtomicUsize>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let touched = touched.clone();
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            touched.fetch_add(1, Ordering::SeqCst);
        }
    });
    address
}

fn record_clients(socket: &Path, touched: &Arc<AtomicUsize>) {
    let listener = UnixListener::bind(socket).unwrap();
    let touched = touched.clone();
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            touched.fetch_add(1, Ordering::SeqCst);
        }
    });
}

/// Reads every process's arguments and environment, over and over.
struct Sampler {
    done: Arc<AtomicBool>,
    thread: JoinHandle<Sampled>,
}

/// What a sampler has seen.
struct Sampled {
    /// The world's own processes.
    processes: BTreeSet<u32>,
    /// Arguments and environment of each, once per different text.
    texts: BTreeSet<String>,
}

impl Sampler {
    fn start(world: &World) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let (finished, mine) = (done.clone(), world.project.path().to_string_lossy().into_owned());
        let thread = std::thread::spawn(move || {
            let mut sampled = Sampled { processes: BTreeSet::new(), texts: BTreeSet::new() };
            while !finished.load(Ordering::SeqCst) {
                sampled.look(&mine);
            }
            sampled
        });
        Self { done, thread }
    }

    fn stop(self) -> Sampled {
        self.done.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

impl Sampled {
    fn look(&mut self, mine: &str) {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
            let bytes = [read("cmdline"), b"\n".to_vec(), read("environ")].concat();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if text.contains(mine) {
                self.processes.insert(number);
                self.texts.insert(text);
            }
        }
    }
}

/// The name of the program that a sampled text is of.
fn program(text: &str) -> &str {
    text.split(['\0', '\n']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default()
}

#[track_caller]
fn expect_none_in(place: &str, text: &str, needles: &[String]) {
    for needle in needles {
        assert!(!text.contains(needle.as_str()), "`{needle}` stands in {place}: {text:.2000}");
    }
}

/// Every regular file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

/// The files in the home directories on the disks; beside them lies what the server itself is made of.
fn homes(disks: &Path) -> Vec<PathBuf> {
    let disks = fs::read_dir(disks).into_iter().flatten().flatten();
    disks.flat_map(|disk| files(&disk.path().join("home"))).collect()
}

/// The files below the disks that hold a private key other than the server's own.
fn keys_in(folder: &Path) -> Vec<PathBuf> {
    let is_key = |path: &PathBuf| {
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).contains("PRIVATE KEY-----")
    };
    let all = files(folder).into_iter().filter(is_key);
    // What the server's sshd shows lies beside the home directory, at the disk's root.
    let shown = |path: &PathBuf| path.ends_with("host_key") || path.ends_with("etc/ssh/ssh_host_ed25519_key");
    all.filter(|path| !shown(path) || path.components().any(|part| part.as_os_str() == "home")).collect()
}

fn path_of(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file()).unwrap()
}

/// Tokens of the store begin with `sl.`, those of the cloud are three parts with dots between.
#[track_caller]
fn expect_no_token_in(place: &str, text: &str) {
    let token =
        regex::Regex::new(r"sl\.[A-Za-z0-9_-]{40,}|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.").unwrap();
    assert!(!token.is_match(text), "a token stands in {place}: {text:.2000}");
}

#[test]
fn a_search_finds_what_it_is_looking_for() {
    for token in ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4IiwiaWF0IjoxfQ.c2ln", &format!("sl.{}", "x".repeat(60))] {
        assert!(std::panic::catch_unwind(|| expect_no_token_in("here", token)).is_err());
    }
    let found = std::panic::catch_unwind(|| {
        expect_none_in("here", &json!({"token": CANARY}).to_string(), &[CANARY.to_owned()]);
    });
    assert!(found.is_err());
}
