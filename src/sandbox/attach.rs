//! Finds the living world of a folder, or brings it to life.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::admin::Admin;
use super::state::{cannot_use, prepare};
use super::{Options, Ready};
use crate::error::{Error, Result};

/// How long a world may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often we look whether it has.
const PAUSE: Duration = Duration::from_millis(25);

/// Returns the world kept in `dir`, starting `exe sandbox serve --dir DIR` detached if it isn't running.
///
/// Two calls at once end up with the same world: the second process finds the folder locked and leaves.
pub async fn attach(dir: &Path, exe: &Path, options: &Options) -> Result<Ready> {
    let dir = std::path::absolute(dir).map_err(|error| cannot_use(dir, &error))?;
    prepare(&dir)?;
    let deadline = Instant::now() + PATIENCE;
    if let Some(ready) = living(&dir).await {
        return Ok(ready);
    }
    let mut child = start(&dir, exe, options)?;
    loop {
        if let Some(ready) = living(&dir).await {
            if ready.pid != child.id() {
                // Somebody else's came first; ours could only wait for that one's end.
                let _ = child.kill();
                let _ = child.wait();
            }
            return Ok(ready);
        }
        let ended =
            child.try_wait().map_err(|error| Error::new("cannot watch the sandbox start").because(&error))?;
        // Ours may have left because somebody else's came first; then that one is worth waiting for.
        if ended.is_some() && !is_locked(&dir) && living(&dir).await.is_none() {
            return Err(not_started(&dir, "its process ended at once"));
        }
        if Instant::now() >= deadline {
            return Err(not_started(&dir, "it was not ready after 20 seconds"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns the world of a folder if its process is there and answers.
pub async fn living(dir: &Path) -> Option<Ready> {
    let text = std::fs::read(dir.join("ready.json")).ok()?;
    let ready: Ready = serde_json::from_slice(&text).ok()?;
    let alive = Admin::of(&ready).ok()?.ping().await;
    alive.then_some(ready)
}

fn start(dir: &Path, exe: &Path, options: &Options) -> Result<Child> {
    let path = dir.join("serve.log");
    let log =
        || -> std::io::Result<File> { OpenOptions::new().create(true).append(true).mode(0o600).open(&path) };
    let (out, err) = (
        log().map_err(|error| cannot_use(&path, &error))?,
        log().map_err(|error| cannot_use(&path, &error))?,
    );
    let mut command = Command::new(exe);
    command.args(["sandbox", "serve", "--dir"]).arg(dir).args(arguments(options));
    // A group of its own: Ctrl-C in the terminal is for us, not for the world.
    command.current_dir("/").stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
    let started = command.spawn();
    started.map_err(|error| {
        Error::new(format!("cannot start `{} sandbox serve`", exe.display())).because(&error)
    })
}

/// Returns the flags that carry whatever differs from the default.
fn arguments(options: &Options) -> Vec<String> {
    let usual = Options::default();
    let mut flags = Vec::new();
    if options.clock_speed != usual.clock_speed {
        flags.push(format!("--clock-speed={}", options.clock_speed));
    }
    if let Some(start) = options.start {
        flags.push(format!("--start={start}"));
    }
    if let Some(plan) = &options.faults {
        flags.push(format!("--faults={}", plan.display()));
    }
    if options.idle != usual.idle {
        flags.push(format!("--idle={}", options.idle.as_secs()));
    }
    if let Some(link) = options.link {
        flags.push(format!("--link={link}"));
    }
    if let Some(sshd) = &options.sshd {
        flags.push(format!("--sshd={}", sshd.display()));
    }
    flags
}

fn is_locked(dir: &Path) -> bool {
    let file = File::options().write(true).open(dir.join("lock"));
    file.is_ok_and(|file| file.try_lock().is_err())
}

fn not_started(dir: &Path, why: &str) -> Error {
    let path = dir.join("serve.log");
    let log = std::fs::read(&path).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    let mut error = Error::new(format!("the sandbox in `{}` did not start", dir.display())).why(why);
    for line in &lines[lines.len().saturating_sub(5)..] {
        error = error.why(*line);
    }
    error.hint(format!("its log is `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const FOLDER: &str = "DACAPO_TEST_SANDBOX";

    /// Not a test: what the stand-in for the program below runs.
    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "run by the test below as a process of its own"]
    async fn serves_the_folder_it_is_given() {
        let Some(dir) = std::env::var_os(FOLDER) else { return };
        crate::sandbox::serve(Path::new(&dir), Options::default(), |_| ()).await.unwrap();
    }

    /// Writes a program that serves as `dacapo sandbox serve --dir DIR` would.
    fn program(dir: &Path) -> std::path::PathBuf {
        let path = dir.join("program");
        let test = std::env::current_exe().unwrap();
        let name = "sandbox::attach::tests::serves_the_folder_it_is_given";
        let script =
            format!("#!/bin/sh\n{FOLDER}=\"$4\" exec '{}' --ignored --exact {name}\n", test.display());
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_at_once_get_one_world_and_a_stopped_one_comes_back_the_same() {
        let root = tempfile::tempdir().unwrap();
        let (exe, dir, options) = (program(root.path()), root.path().join("world"), Options::default());
        let (first, second) = tokio::join!(attach(&dir, &exe, &options), attach(&dir, &exe, &options));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!((first.pid, &first.cloud), (second.pid, &second.cloud));

        Admin::of(&first).unwrap().stop().await.unwrap();
        let again = attach(&dir, &exe, &options).await.unwrap();
        assert_ne!(again.pid, first.pid);
        assert_eq!(again.client_secret, first.client_secret);
        Admin::of(&again).unwrap().stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_reported_with_its_log() {
        let root = tempfile::tempdir().unwrap();
        let exe = root.path().join("program");
        std::fs::write(&exe, "#!/bin/sh\necho 'no luck today' >&2\nexit 3\n").unwrap();
        std::fs::set_permissions(&exe, std::fs::Permissions::from_mode(0o700)).unwrap();
        let error = attach(&root.path().join("world"), &exe, &Options::default()).await.unwrap_err();
        assert!(error.why.contains(&"no luck today".to_owned()), "{error}");
    }
}
