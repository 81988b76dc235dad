//! Set-up: steps that run once, what makes them run again, their bad days, and what of it may hide somebody's work.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::interrupt::until;
use crate::support::{Project, Ran, ran};

/// A project whose set-up is these steps; `more` is the rest of its table.
fn with_steps(steps: &[&str], more: &str) -> Project {
    let project = Project::with_spec(include_str!("../../session.toml"));
    says(&project, steps, more);
    project
}

/// Has session.toml say that set-up is these steps.
fn says(project: &Project, steps: &[&str], more: &str) {
    let spec = include_str!("../../session.toml");
    let spec = format!("{spec}\n[setup]\nrun = {}\n{more}\n", json!(steps));
    std::fs::write(project.path().join("session.toml"), spec).unwrap();
}

/// A step that leaves a trace where nobody looks for work.
fn trace(word: &str) -> String {
    format!("mkdir -p ~/.cache && echo {word} >> ~/.cache/ran")
}

fn traces(project: &Project) -> String {
    std::fs::read_to_string(project.server().join(".cache/ran")).unwrap_or_default().replace('\n', " ")
}

fn noted(project: &Project) -> Value {
    let noted = std::fs::read(project.server().join(".dacapo/setup/state.json")).unwrap();
    serde_json::from_slice(&noted).unwrap()
}

fn log(project: &Project, step: usize) -> PathBuf {
    project.server().join(format!(".dacapo/setup/{step}.log"))
}

/// The process whose id a step has left behind.
fn lives(project: &Project) -> bool {
    let pid = std::fs::read_to_string(project.server().join(".cache/pid")).unwrap();
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z"))
}

fn start(project: &Project) -> Child {
    let mut command = project.command(&["--sandbox", "up", "--yes"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

fn has_no(ran: &Ran, text: &str) {
    let all = format!("{}{}", ran.stdout, ran.stderr);
    assert!(!all.contains(text), "`{text}` is in\n{all}");
}

#[test]
fn steps_run_once_in_order_and_a_second_apply_writes_nothing() {
    let project = with_steps(&[&trace("one"), &trace("two"), "echo made > ~/made"], "");
    let plan = project.dacapo(&["plan"]).exits(0).says("+[setup]");
    plan.says("run step 2 of set-up, `mkdir -p ~/.cache && echo two >> ~/.cache/ran`: it hasn't run");
    project.dacapo(&["up", "--yes"]).exits(0);
    assert_eq!(traces(&project), "one two ");
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");
    let (before, requests) = (noted(&project), project.requests().len());
    project.dacapo(&["up", "--yes"]).exits(0).says("nothing to do");
    assert_eq!((noted(&project), traces(&project)), (before, "one two ".to_owned()));
    let writing = |request: &&Value| {
        let text = request.to_string();
        ["PUT", "DELETE", "/files/upload"].iter().any(|word| text.contains(word))
    };
    assert_eq!(project.requests()[requests..].iter().find(writing), None);
    project.dacapo(&["plan", "--set", "state=absent"]).exits(0).says("✓ files");
    project.dacapo(&["down", "--yes"]).exits(0);
}

#[test]
fn a_step_runs_again_when_its_text_or_an_input_changes_and_every_step_behind_it() {
    let (one, two, three) = (trace("one"), trace("two"), trace("three"));
    let inputs = "inputs = [\"train.py\", \"README.md\"]";
    let project = with_steps(&[&one, &two, &three], inputs);
    project.dacapo(&["up", "--yes"]).exits(0);
    says(&project, &[&one, &trace("other"), &three], inputs);
    let plan = project.dacapo(&["plan"]).exits(0);
    has_no(&plan, "step 1 of set-up");
    plan.says("echo two >> ~/.cache/ran` ran in its place").says("`: a step before it runs again");
    project.dacapo(&["up", "--yes"]).exits(0);
    assert_eq!(traces(&project), "one two three other three ");
    // The same bytes with another time are the same input.
    project.on_server("touch train.py");
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);
    project.on_server("echo '# more' >> train.py");
    project.dacapo(&["plan"]).exits(0).says("its inputs are others now: train.py").says("-\"train.py\" = ");
    project.dacapo(&["up", "--yes"]).exits(0);
    assert_eq!(traces(&project), "one two three other three one other three ");
    // Fewer steps are no reason to run any.
    says(&project, &[&one], inputs);
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);
}

#[test]
fn what_the_code_brings_to_an_input_runs_set_up_in_the_same_apply() {
    let project = with_steps(&[&trace("one")], "inputs = [\"README.md\"]");
    project.dacapo(&["up", "--yes"]).exits(0);
    let remote = project.sandbox().join("git/github.com/me/lesson3.git");
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "git clone -q '{}' . && echo more >> README.md && git -c user.name=x -c user.email=x@y commit -qam more && git push -q",
        remote.display()
    );
    let mut shell = Command::new("sh");
    shell.args(["-ec", &script]).current_dir(folder.path());
    let done = shell.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let plan = project.dacapo(&["plan"]).exits(0).says("set-up runs again next if the code that is brought");
    has_no(&plan, "run step");
    project.dacapo(&["up", "--yes"]).exits(0).says("its inputs are others now: README.md");
    assert_eq!(traces(&project), "one one ");
}

#[test]
fn a_step_that_fails_stops_the_apply_with_its_last_words_and_the_next_one_goes_on_there() {
    let bad = "echo half > ~/half; echo first; echo 'the last words' >&2; exit 7";
    let (one, three) = (trace("one"), trace("three"));
    let project = with_steps(&[&one, bad, &three], "");
    let up = project.dacapo(&["up", "--yes"]).exits(1);
    let up = up.says("cannot run step 2 of set-up, `echo half > ~/half;").says("it ended with exit code 7");
    up.says("why: the last words").says("it goes on with this step").says("[8] not started");
    assert_eq!(traces(&project), "one ");
    assert!(std::fs::read_to_string(log(&project, 2)).unwrap().contains("the last words"));
    project.dacapo(&["plan"]).exits(0).says("it ended with 7 last time").says("step 3 of set-up");
    says(&project, &[&one, "rm ~/half", &three], "");
    project.dacapo(&["up", "--yes"]).exits(0);
    assert_eq!(traces(&project), "one three ");
    project.dacapo(&["plan", "--detailed-exitcode", "--set", "state=absent"]).exits(2).says("✓ files");
}

#[test]
fn a_question_ends_a_terminal_is_not_there_and_no_secret_is_in_the_environment() {
    let steps = [
        "read answer || echo nobody answers",
        "test -t 0 || echo no terminal",
        "(exec 3< /dev/tty) 2> /dev/null || echo none at all",
        "env",
    ];
    let project = with_steps(&steps, "");
    let up = project.dacapo(&["up", "--yes"]).exits(0);
    let up = up.says("nobody answers").says("no terminal").says("none at all").says("HOME=");
    let environment = std::fs::read_to_string(log(&project, 4)).unwrap();
    let tokens = ["dropbox_token", "cloud_client_secret", "client_secret", "dropbox_refresh_token"];
    let secrets = tokens.iter().filter_map(|name| project.ready[name].as_str());
    for word in secrets.chain(["SSH_", "DROPBOX", "VERDA", "DATACRUNCH", "TOKEN"]) {
        assert!(!environment.contains(word), "{word} in {environment}");
        has_no(&up, &format!("{word}="));
    }
}

#[test]
fn what_a_step_prints_moves_no_cursor_and_has_no_end_that_matters() {
    let steps = [
        r"printf '\033[31mred\033[0m \033[2J\033]0;title\007 \000\377\302\233 end\n'",
        r"head -c 300000 /dev/zero | tr '\0' x; echo; printf 'no line break'",
        "yes 0123456789 | head -n 2000000; echo the end",
    ];
    // The hour that a step has by default is half a minute on this machine's clock: not much for all that.
    let project = with_steps(&steps, "timeout = \"1d\"");
    let up = project.dacapo(&["up", "--yes"]).exits(0);
    let up = up.says(r"red \x1b]0;title\x07 \x00\xff\x9b end").says("no line break");
    has_no(&up, "\u{1b}");
    let up = up.says("(what follows is in ~/.dacapo/setup/3.log)");
    assert!(up.stderr.len() < 400_000, "{} bytes", up.stderr.len());
    assert!(std::fs::read_to_string(log(&project, 3)).unwrap().ends_with("the end\n"));
    let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
    let kept = size(log(&project, 3)) + size(log(&project, 3).with_extension("log.1"));
    assert!((4 << 20..(8 << 20) + 1000).contains(&kept), "{kept} bytes are kept");
    assert_eq!(std::fs::metadata(log(&project, 3)).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_step_that_never_ends_is_ended_with_all_that_it_started() {
    // Five seconds on this machine's clock.
    let project =
        with_steps(&["echo waiting; sleep 600 & echo $! > ~/.cache/pid; wait"], "timeout = \"10m\"");
    says(
        &project,
        &["mkdir -p ~/.cache; echo waiting; sleep 600 & echo $! > ~/.cache/pid; wait"],
        "timeout = \"10m\"",
    );
    let up =
        project.dacapo(&["up", "--yes"]).exits(1).says("it took longer than its `timeout`, and was ended");
    up.says("why: waiting").says("with a larger `timeout`");
    until("all of it has ended", || !lives(&project));
    project.dacapo(&["plan"]).exits(0).says("it began and was cut short");
}

#[test]
fn what_a_step_leaves_running_neither_holds_it_up_nor_stays() {
    let project = with_steps(
        &["mkdir -p ~/.cache; sleep 600 & echo $! > ~/.cache/pid", "setsid sleep 20 &", "echo done"],
        "",
    );
    project.dacapo(&["up", "--yes"]).exits(0);
    until("the program has ended with its step", || !lives(&project));
}

#[test]
fn a_step_that_kills_its_parent_is_ended_before_it_runs_again() {
    let step =
        "mkdir -p ~/.cache; echo $$ > ~/.cache/pid; test -e ~/.cache/go || { kill -9 $PPID; sleep 600; }";
    let project = with_steps(&[step], "");
    project.dacapo(&["up", "--yes"]).exits(1).says("the helper ended early");
    assert!(lives(&project), "nobody is left who would end it");
    let first = std::fs::read_to_string(project.server().join(".cache/pid")).unwrap();
    std::fs::write(project.server().join(".cache/go"), "").unwrap();
    project.dacapo(&["up", "--yes"]).exits(0);
    until("the first one has ended", || {
        !std::fs::read_to_string(format!("/proc/{}/stat", first.trim()))
            .is_ok_and(|stat| !stat.contains(") Z"))
    });
}

#[test]
fn an_input_that_is_no_file_of_the_checkout_is_named_and_blocks_the_steps_alone() {
    let inputs = "inputs = [\"requirements.txt\"]";
    let project = with_steps(&[&trace("one")], inputs);
    let up = project.dacapo(&["up", "--yes"]).exits(1);
    up.says("`requirements.txt`: there is no such file in the checkout").says("correct `inputs`");
    let blocked = project.dacapo(&["up", "--yes"]).exits(5);
    blocked.says("✗ set-up depends on `requirements.txt`").says("there is no such file in the checkout");
    project.on_server("mkdir requirements.txt");
    project.dacapo(&["plan"]).exits(0).says("set-up depends on `requirements.txt`, and that can't be read");
    project.on_server("rmdir requirements.txt; echo x > ~/.bashrc; ln -s ~/.bashrc requirements.txt");
    project.dacapo(&["up", "--yes"]).exits(5).says("set-up depends on `requirements.txt`");
    project.on_server("rm requirements.txt; rmdir data 2> /dev/null || rm -r data; ln -s /etc data");
    says(&project, &[&trace("one")], "inputs = [\"data/hostname\"]");
    project.dacapo(&["up", "--yes"]).exits(5).says("a link leads it out of the checkout");
    assert_eq!(traces(&project), "");
    says(&project, &[&trace("one")], "inputs = [\"train.py\"]");
    project.dacapo(&["up", "--yes"]).exits(0);
    assert_eq!(traces(&project), "one ");
    // What was given once and is gone is a change, too.
    project.on_server("rm train.py");
    project.dacapo(&["up", "--yes"]).exits(5).says("set-up depends on `train.py`");
}

#[test]
fn a_rerun_hides_nothing_that_was_there_before_it_and_nothing_made_meanwhile() {
    let install = |version: u32| {
        format!("mkdir -p ~/.local/lib/python3 && echo {version} > ~/.local/lib/python3/package.py")
    };
    let project = with_steps(&[&install(1)], "");
    project.dacapo(&["up", "--yes"]).exits(0);
    let absent: &[&str] = &["plan", "--set", "state=absent"];
    // Nothing is newer, and what it makes lies where installers put things.
    says(&project, &[&install(2)], "");
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(absent).exits(0).says("✓ files");
    // What it makes elsewhere may just as well be somebody's who is at work meanwhile.
    says(&project, &[&install(3), "echo mine > ~/mine.txt; echo 1 > export2.pkl"], "");
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(absent).exits(0).says("new file: mine.txt").says("new file: lesson3/export2.pkl");
    // And what is newer already stays newer, whatever set-up does.
    std::fs::remove_file(project.server().join("mine.txt")).unwrap();
    says(&project, &[&install(4)], "");
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(absent).exits(0).says("new file: lesson3/export2.pkl");
    let down = project.dacapo(&["down", "--yes"]).exits(5).says("new file: lesson3/export2.pkl");
    down.says("new file: .local/lib/python3/package.py");
}

#[test]
fn work_that_was_begun_after_a_failed_set_up_is_not_hidden_by_the_next_one() {
    let project = with_steps(&["echo made > ~/made; exit 1"], "");
    project.dacapo(&["up", "--yes"]).exits(1);
    let noted: Value =
        serde_json::from_slice(&std::fs::read(project.server().join(".dacapo/marker")).unwrap()).unwrap();
    assert_eq!(noted["set_up"], false);
    std::fs::write(project.server().join("notes.txt"), "an idea").unwrap();
    says(&project, &["true"], "");
    project.dacapo(&["up", "--yes"]).exits(0);
    let plan = project.dacapo(&["plan", "--set", "state=absent"]).exits(0).says("new file: notes.txt");
    has_no(&plan, "new file: made");
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);
}

#[test]
fn a_step_does_not_outlive_a_killed_or_interrupted_apply_and_runs_again() {
    let step = format!(
        "{}; echo $$ > ~/.cache/pid; echo 1 > ~/part; test -e ~/.cache/go || sleep 600",
        trace("begun")
    );
    for how in ["-KILL", "-INT"] {
        let project = with_steps(&[&step], "");
        let child = start(&project);
        until("the step has begun", || project_has(&project, ".cache/pid") && project_has(&project, "part"));
        signal(&child, how);
        let up = ran(child.wait_with_output().unwrap());
        assert_eq!(up.code, if how == "-INT" { 130 } else { -1 }, "{up:?}");
        until("the step has ended", || !lives(&project));
        std::fs::write(project.server().join(".cache/go"), "").unwrap();
        // The lease of the killed one is this laptop's own.
        project.dacapo(&["up", "--yes"]).exits(0);
        assert_eq!(traces(&project), "begun begun ");
        project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);
        project.dacapo(&["plan", "--set", "state=absent"]).exits(0).says("✓ files");
    }
}

fn project_has(project: &Project, name: &str) -> bool {
    let disks = std::fs::read_dir(project.sandbox().join("disks"));
    disks.is_ok_and(|mut disks| disks.next().is_some()) && project.server().join(name).exists()
}

#[test]
fn plans_of_set_up_are_kept_explained_left_out_and_told_as_json() {
    let project = with_steps(&[&trace("one"), "exit 3"], "");
    project.dacapo(&["up", "--yes"]).exits(1);
    says(&project, &[&trace("one"), "echo 'a \"line\"'"], "");
    project.dacapo(&["plan", "--explain", "1"]).exits(0).says("A step runs once per server");
    project.dacapo(&["plan", "--only", "code", "--detailed-exitcode"]).exits(0).says("left out by `--only`");
    project.dacapo(&["plan", "-o", "session.plan"]).exits(0);
    let plan = project.dacapo(&["plan", "--json"]).exits(0).json();
    let text = plan.to_string();
    assert!(text.contains(r#""action":"run_step""#) && text.contains(r#""why":"new""#), "{text}");
    let apply = project.dacapo(&["apply", "session.plan", "--json"]).exits(0);
    assert!(apply.stdout.contains(r#""line":"a \"line\"","stage":"output""#), "{}", apply.stdout);
    project.dacapo(&["apply", "session.plan"]).exits(7);
    assert_eq!(traces(&project), "one ");
}

const WHEELS: &str = r#"mkdir -p ~/.cache/wheels && cd ~/.cache/wheels && python3 - <<'END'
import zipfile
for name, version in (("tiny", "1.0"), ("tiny", "2.0"), ("other", "1.0")):
    info = "%s-%s.dist-info/" % (name, version)
    with zipfile.ZipFile("%s-%s-py3-none-any.whl" % (name, version), "w") as wheel:
        wheel.writestr(name + ".py", "version = %r\n" % version)
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (name, version))
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(info + "RECORD", "")
END
mkdir -p ~/.config/pip && printf '[global]\nno-index = true\nfind-links = %s\n' ~/.cache/wheels > ~/.config/pip/pip.conf"#;

/// What somebody types on the server, whose pip must ask nobody else.
fn by_hand(package: &str) -> String {
    format!("env -u PIP_CONFIG_FILE .venv/bin/pip install --no-index --find-links ~/.cache/wheels {package}")
}

#[test]
fn the_freeze_is_locked_drift_is_told_and_locked_installs_it() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server(WHEELS);
    let steps = ["echo .venv >> .git/info/exclude; python3 -m venv .venv", ".venv/bin/pip install tiny==1.0"];
    says(&project, &steps, "");
    project.dacapo(&["plan", "--locked"]).exits(3).says("session.lock names no packages");
    project.dacapo(&["up", "--yes"]).exits(0).says("Successfully installed tiny-1.0");
    let lock = || std::fs::read_to_string(project.sandbox().join("session.lock")).unwrap();
    assert!(lock().contains("packages = [\"tiny==1.0\"]"), "{}", lock());
    project.dacapo(&["plan", "--detailed-exitcode", "--locked"]).exits(0);
    // Somebody tries another version: said, and neither undone nor taken into the lock.
    project.on_server(&by_hand("tiny==2.0"));
    let drifted = project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);
    drifted.says("no longer session.lock's: tiny 1.0, there 2.0");
    project.dacapo(&["up", "--yes"]).exits(0);
    assert!(lock().contains("packages = [\"tiny==1.0\"]"), "{}", lock());
    project.dacapo(&["up", "--yes", "--locked"]).exits(0).says("install the 1 package(s)");
    project.on_server("test $(.venv/bin/python -c 'import tiny; print(tiny.version)') = 1.0");
    project.dacapo(&["plan", "--detailed-exitcode", "--locked"]).exits(0);
    project.on_server(&by_hand("other==1.0"));
    let refused = project.dacapo(&["up", "--yes", "--locked"]).exits(1);
    refused.says("other: the lock has none, there is 1.0").says("run without `--locked`");
}

#[test]
fn a_lock_whose_packages_cannot_be_had_fails_and_names_pips_words() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server(WHEELS);
    says(&project, &["echo .venv >> .git/info/exclude; python3 -m venv --without-pip .venv"], "");
    project.dacapo(&["up", "--yes"]).exits(0);
    let lock = project.sandbox().join("session.lock");
    let text = std::fs::read_to_string(&lock).unwrap();
    std::fs::write(&lock, text.replace("packages = []", "packages = [\"tiny==3.0\"]")).unwrap();
    project
        .dacapo(&["up", "--yes", "--locked"])
        .exits(1)
        .says("-m pip` ended with exit code 1")
        .says("install pip");
    project.on_server("python3 -m venv .venv");
    let up = project.dacapo(&["up", "--yes", "--locked"]).exits(1);
    up.says("`pip install` ended with exit code 1").says("tiny==3.0");
}
