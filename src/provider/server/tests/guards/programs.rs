//! Programs at work, wherever they were started from; and those that are nobody's work.

use std::os::unix::process::CommandExt as _;

use super::*;

/// A program that has said that it runs; it ends with its input.
struct Running(std::process::Child);

impl Running {
    fn start(command: &mut Program) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 2];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stdin.take();
        let _ = self.0.wait();
    }
}

/// `python3 -c` that says a word and waits.
fn waiting(folder: &Path) -> Program {
    let mut command = Program::new("python3");
    command.args(["-c", "print('up', flush=True); __import__(\"sys\").stdin.read()"]).current_dir(folder);
    command
}

impl Home {
    /// Why each program of interest is at work, or that it isn't.
    async fn why(&self, running: &Running) -> Option<String> {
        let processes = self.probe(&[], &[]).await.processes;
        let found = processes.into_iter().find(|process| process.pid == running.0.id());
        found.map(|process| process.why)
    }
}

#[tokio::test]
async fn a_program_below_home_is_at_work_wherever_its_files_are() {
    let home = Home::after_set_up().await;
    std::fs::create_dir(home.path("train")).unwrap();
    let below = Running::start(&mut waiting(&home.path("train")));
    assert_eq!(home.why(&below).await.as_deref(), Some("home"));
    let elsewhere = Running::start(&mut waiting(Path::new("/")));
    assert_eq!(home.why(&elsewhere).await, None, "it has nothing to do with this home");
}

#[tokio::test]
async fn what_ran_before_set_up_ended_came_with_the_image() {
    let home = Home::new();
    home.write(".dacapo/marker", "{\"time_ns\": 4000000000000000000, \"set_up\": true}");
    let before = Running::start(&mut waiting(&home.path("")));
    assert_eq!(home.why(&before).await, None);
}

#[tokio::test]
async fn a_program_that_has_a_file_open_to_write_to_is_at_work() {
    let home = Home::after_set_up().await;
    let log = std::fs::File::create(home.write("logs/run.txt", "")).unwrap();
    let nohup = Running::start(waiting(Path::new("/")).stderr(log));
    assert_eq!(home.why(&nohup).await.as_deref(), Some("writes logs/run.txt"));
    let reading = std::fs::File::open(home.path("logs/run.txt")).unwrap();
    let reader = Running::start(waiting(Path::new("/")).stderr(reading));
    assert_eq!(home.why(&reader).await, None, "reading changes nothing");
    let cache = std::fs::File::create(home.write(".cache/x", "")).unwrap();
    let cached = Running::start(waiting(Path::new("/")).stderr(cache));
    assert_eq!(home.why(&cached).await, None, "a cache may die with the server");
}

#[tokio::test]
async fn what_runs_in_a_terminal_left_behind_is_at_work_and_its_idle_shell_is_not() {
    let home = Home::after_set_up().await;
    for name in ["tmux", "SCREEN"] {
        let script = "python3 -c 'print(\"up\", flush=True); __import__(\"sys\").stdin.read()'; true";
        let mut terminal = Program::new("bash");
        terminal.arg0(name).args(["-c", script]).current_dir("/").env("HOME", home.path(""));
        let terminal = Running::start(&mut terminal);
        let processes = home.probe(&[], &[]).await.processes;
        let inside = processes.iter().find(|process| process.why == "tmux or screen");
        assert_eq!(inside.map(|process| process.command.as_str()), Some("python3"), "{processes:?}");
        assert!(!processes.iter().any(|process| process.pid == terminal.0.id()), "{processes:?}");
    }
    let mut shell = Program::new("bash");
    shell.arg0("-bash").current_dir(home.path("")).stdin(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    let listed = home.probe(&[], &[]).await.processes.iter().any(|process| process.pid == shell.id());
    shell.stdin.take();
    shell.wait().unwrap();
    assert!(!listed, "a login that nobody works in is no work");
    let other = tempfile::tempdir().unwrap();
    let theirs = Running::start(waiting(Path::new("/")).arg("ipykernel_launcher").env("HOME", other.path()));
    assert_eq!(home.why(&theirs).await, None, "somebody else's home");
}

#[tokio::test]
async fn a_kernel_and_a_gpu_user_are_at_work_wherever_they_run() {
    let home = Home::after_set_up().await;
    let arguments = ["ipykernel_launcher", "-f", "kernel.json"];
    let kernel = Running::start(waiting(Path::new("/")).args(arguments).env("HOME", home.path("")));
    assert_eq!(home.why(&kernel).await.as_deref(), Some("kernel"));
    let tool = home.write("bin/nvidia-smi", "#!/bin/sh\necho '4242, /usr/bin/python3'\n");
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = home.command();
    let path = format!("{}:{}", home.path("bin").display(), std::env::var("PATH").unwrap());
    command.env("PATH", path);
    let request = ProbeRequest {
        checkout: "lesson3".into(),
        artifacts: BTreeMap::new(),
        disposable: Vec::new(),
        wanted: None,
        fresh: false,
        save: None,
        notebook: None,
        setup: None,
    };
    let probe: Probe = converse(command, &Ask::Probe(&request)).await.unwrap();
    let user = probe.processes.iter().find(|process| process.why == "gpu").unwrap();
    assert_eq!((user.pid, user.command.as_str()), (4242, "python3"));
}

#[tokio::test]
async fn an_artifact_that_is_still_being_written_is_no_whole_one() {
    let home = Home::new();
    let path = home.write("lesson3/model.bin", vec![1; 3 * BLOCK]);
    let script = "import sys
with open(sys.argv[1], 'ab', 0) as file:
    file.write(b'x')
    print('up', flush=True)
    while not __import__('select').select([0], [], [], 0)[0]:
        file.write(b'x')";
    let grows = Running::start(Program::new("python3").args(["-c", script]).arg(&path).current_dir("/"));
    let probe = home.probe(&[("model", "model.bin")], &[]).await;
    let changed = ArtifactFile::Unreadable { why: "it changed while it was read".into() };
    assert_eq!(probe.artifacts["model"], changed);
    let writer = probe.processes.iter().find(|process| process.pid == grows.0.id()).unwrap();
    assert_eq!(writer.why, "checkout", "its arguments name the file");
}
