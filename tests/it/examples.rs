//! Every example of every command's help, run: in parts of a session's life, each in an order that makes sense.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Project, Ran, helps, ran};
use crate::terminal::Terminal;

/// What cannot be run as it stands, and what stands in for it here.
const STAND_INS: [(&str, &str); 3] = [
    ("0d184ad4-dbe1-46da-a0dd-89ea13cfcefd", "the volume that a session without its file left"),
    ("--app-key KEY", "the key of the world's own app"),
    ("--client-id ID", "the id of the world's own pair"),
];

/// One example, and what is to come of it.
enum Step {
    /// It ends with this code and says this.
    Runs(&'static str, i32, &'static str),
    /// At a terminal: what is waited for and what is typed then, again and again; and the last words.
    Typed(&'static str, &'static [(&'static str, &'static str)], &'static str),
    /// It goes on until Ctrl-C, after it has said this.
    Until(&'static str, &'static str),
    /// Outside a rehearsal, with this on the standard input.
    SignsIn(&'static str, Answer),
    /// Something happens between two examples.
    Meanwhile(fn(&Project)),
}

/// What a service's page or console gave.
#[derive(Clone, Copy)]
enum Answer {
    Nothing,
    Code,
    Secret,
}

use Step::{Meanwhile, Runs, SignsIn, Typed, Until};

/// Before there is a session.
const BEGINNING: &[Step] = &[
    Meanwhile(|project| {
        begin_again(project);
        for words in [&["init", "-q"][..], &["remote", "add", "origin", "git@github.com:me/lesson3.git"]] {
            let git = Command::new("git").args(words).current_dir(project.path()).status();
            assert!(git.unwrap().success());
        }
    }),
    Typed("dacapo init", &[("Name of the session", "\u{3}")], "nothing was written"),
    Runs("dacapo init --yes", 0, "session `dacapo-test"),
    Meanwhile(begin_again),
    Runs(
        "dacapo init --yes --type 1L40S.20V --artifact model=export.pkl --store dropbox:/fastai/lesson3",
        0,
        "session `dacapo-test",
    ),
    Meanwhile(begin_again),
    Meanwhile(|project| {
        for half in ["id_ed25519", "id_ed25519.pub"] {
            std::fs::rename(project.laptop().join(".ssh").join(half), project.path().join(half)).unwrap();
        }
    }),
    Runs("dacapo init --yes --new-key", 0, "made the key"),
];

/// What looks, and what needs no world.
const LOOKS: &[Step] = &[
    Meanwhile(settled),
    Runs("dacapo validate", 0, "valid"),
    Runs("dacapo validate -f other.toml", 0, "session `lost`"),
    Runs("dacapo hash export.pkl", 0, "export.pkl"),
    Runs("dacapo hash --sha256 < export.pkl", 0, "  -"),
    Runs("dacapo schema > session.schema.json", 0, ""),
    Runs("dacapo schema plan", 0, "\"planned\""),
    Runs("dacapo schema artifacts list", 0, "stored_size"),
    Runs("source <(dacapo completions bash)", 0, ""),
    Runs("dacapo completions fish > completions.fish", 0, ""),
    Runs("dacapo man > dacapo.1", 0, ""),
    Meanwhile(|project| std::fs::create_dir(project.path().join("man1")).unwrap()),
    Runs("dacapo man --dir man1", 0, ""),
    Runs("dacapo doctor --offline", 0, "✓ ssh agent"),
    Runs("dacapo doctor", 0, "✓ cloud"),
];

/// Up and down, in each way.
const COMINGS: &[Step] = &[
    Meanwhile(settled),
    Runs("dacapo plan", 0, "create the machine"),
    Runs("dacapo plan --explain 1", 0, "login key"),
    Runs("dacapo plan -o today.plan", 0, "today.plan` carries it out"),
    Runs("dacapo plan --markdown", 0, "create the machine"),
    Runs("dacapo apply today.plan", 0, "reach it"),
    Runs("dacapo plan --set state=absent", 0, "prove again"),
    Typed("dacapo down", &[("Carry this out?", "yes\r")], "has no server"),
    Runs("dacapo apply --yes", 0, "reach it"),
    Meanwhile(end),
    Typed("dacapo apply", &[("Carry this out?", "yes\r")], "reach it"),
    Meanwhile(end),
    Runs("dacapo up --yes --set instance.type=1L40S.20V", 0, "1L40S.20V in"),
    Meanwhile(end),
    Runs("dacapo --sandbox up --yes", 0, "reach it"),
    Meanwhile(end),
    Typed("dacapo up", &[("Carry this out?", "yes\r")], "reach it"),
    Meanwhile(end),
    Runs("dacapo up --yes --locked", 0, "reach it"),
    Runs("dacapo down --yes --keep-disk", 0, "still bills"),
];

/// A session at work.
const WORK: &[Step] = &[
    Meanwhile(settled),
    Meanwhile(|project| drop(project.dacapo(&["up", "--yes"]).exits(0))),
    Runs("dacapo status", 0, "running"),
    Runs("dacapo status --json", 0, "\"status\":\"running\""),
    Until("dacapo status --watch", "deadline"),
    Runs("dacapo run -- python3 train.py", 0, "wrote export.pkl"),
    Runs("dacapo run -A -- git fetch", 0, ""),
    Runs("dacapo run -- nvidia-smi", 127, "nvidia-smi"),
    Typed("dacapo ssh", &[("commands run on this machine", "exit\n")], ""),
    Typed("dacapo ssh -A", &[("commands run on this machine", "exit\n")], ""),
    Runs("echo nvidia-smi | dacapo ssh", 127, "nvidia-smi"),
    Runs("dacapo ssh-config --print", 0, "Host lesson3"),
    Runs("dacapo ssh-config", 0, "ssh -F"),
    Runs("dacapo ssh-config --install", 0, "adding at the top of"),
    Runs("dacapo ssh-config --remove", 0, "removed"),
    Meanwhile(|project| project.on_server("mkdir -p data runs out ../logs; echo png > runs/loss.png")),
    Runs("dacapo cp notes.csv :data/", 0, "notes.csv"),
    Runs("dacapo cp :runs/loss.png .", 0, "loss.png"),
    Runs("dacapo cp -r :~/logs server:out .", 0, ""),
    Runs("dacapo cp --overwrite train.py :", 0, "train.py"),
    Runs("dacapo open", 0, "https://"),
    Runs("dacapo open --print", 0, "https://"),
    Runs("dacapo artifacts list", 0, "2026-11-20_export.pkl.gz"),
    Runs("dacapo artifacts list --json", 0, "\"version\":1"),
    Runs("dacapo artifacts show 2026-11-20_export.pkl.gz", 0, "content"),
    Typed("dacapo artifacts push model", &[("Carry this out?", "yes\r")], ""),
    Runs("dacapo artifacts push --yes", 0, "nothing to move"),
    Runs("dacapo artifacts show latest", 0, "content"),
    Runs("dacapo artifacts diff 2026-11-20_export.pkl.gz", 0, "content"),
    Runs("dacapo artifacts push model --from laptop --yes", 0, "model"),
    Typed("dacapo artifacts pull model", &[("Carry this out?", "yes\r")], ""),
    Runs("dacapo artifacts pull --yes", 0, ""),
    Meanwhile(|project| std::fs::remove_file(project.path().join("export.pkl")).unwrap()),
    Runs("dacapo artifacts pull model@2026-11-20_export.pkl.gz --to laptop --yes", 0, "model"),
    Runs("dacapo artifacts pin 2026-11-20_export.pkl.gz", 0, "2026-11-20_export.pkl.gz"),
    Runs("dacapo artifacts pin latest", 0, "latest"),
    Runs("dacapo artifacts prune --keep 3", 0, ""),
    Runs("dacapo artifacts prune --keep 3 --yes", 0, ""),
    Typed("dacapo save", &[("Carry this out?", "yes\r")], ""),
    Meanwhile(|project| project.on_server("echo '# longer' >> train.py")),
    Runs("dacapo save -m \"train longer\" --yes", 0, "main at"),
    Meanwhile(|project| project.on_server("echo scratch > ../scratch.bin")),
    Runs("dacapo down --yes --discard files:scratch.bin", 0, "has no server"),
    Runs("dacapo log", 0, "files:scratch.bin"),
    Runs("dacapo log lesson3", 0, "files:scratch.bin"),
    Runs("dacapo log --all --json", 0, "\"version\":1"),
    Runs("dacapo report -o report.html", 0, "report.html"),
    Runs("dacapo report --all -o report.html", 0, "report.html"),
    Runs("dacapo report -o report.svg", 0, "report.svg"),
];

/// What is over, what is left over, the world itself, and signing in.
const REST: &[Step] = &[
    Meanwhile(settled),
    Runs("dacapo reap", 0, ""),
    Runs("dacapo reap --store dropbox:/fastai/lesson3", 0, ""),
    Meanwhile(|project| {
        project.dacapo(&["up", "--yes", "-f", "other.toml"]).exits(0);
        project.dacapo(&["down", "--yes", "--keep-disk", "-f", "other.toml"]).exits(0);
        std::fs::remove_file(project.path().join("other.toml")).unwrap();
    }),
    Runs("dacapo orphans", 0, "volume"),
    Runs("dacapo orphans --remove 0d184ad4-dbe1-46da-a0dd-89ea13cfcefd", 0, ""),
    // The world itself.
    Meanwhile(|project| {
        let rule = serde_json::json!({"rules": [{"service": "cloud", "fault": "capacity"}]});
        std::fs::write(project.path().join("faults.json"), rule.to_string()).unwrap();
    }),
    Runs("dacapo sandbox faults faults.json", 0, "capacity"),
    Runs("dacapo sandbox faults", 0, "capacity"),
    Runs("dacapo sandbox faults --clear", 0, ""),
    Runs("dacapo sandbox jump 3600", 0, ""),
    Runs("dacapo sandbox bill", 0, "nothing bills"),
    Runs("dacapo sandbox bill --json", 0, "\"billing\":[]"),
    Runs("dacapo sandbox requests | tail -n 3", 0, "/v1/"),
    Until("dacapo sandbox serve --dir world --clock-speed 1", "\"cloud\""),
    // Signing in, as for the real services.
    SignsIn("dacapo login cloud --client-id ID --secret-stdin < secret.txt", Answer::Secret),
    SignsIn("dacapo login dropbox --app-key KEY --app-folder --code-stdin", Answer::Code),
    SignsIn("dacapo logout dropbox", Answer::Nothing),
    SignsIn("dacapo logout", Answer::Nothing),
    Typed("dacapo login cloud", &[("The client id", "\u{3}")], ""),
    Typed("dacapo login cloud --client-id ID", &[("The client secret", "\u{3}")], ""),
    Typed("dacapo login dropbox", &[("The app's key", "\u{3}")], ""),
    Typed(
        "dacapo login dropbox --app-key KEY --app-folder",
        &[("The code that the page shows", "\u{3}")],
        "",
    ),
    Runs("dacapo sandbox reset", 0, ""),
    Runs("dacapo sandbox stop", 0, ""),
];

/// What is run elsewhere, because it needs more than this day has.
const ELSEWHERE: [(&str, &str); 3] = [
    ("dacapo notebook", "notebook.rs"),
    ("dacapo notebook --open", "notebook.rs"),
    ("dacapo notebook --port 8899", "notebook.rs"),
];

#[test]
fn every_command_has_examples_and_every_example_is_run() {
    let project = Project::without_world("");
    let shown = collect(&project);
    let steps = [BEGINNING, LOOKS, COMINGS, WORK, REST].into_iter().flatten();
    let day = steps.filter_map(|step| match step {
        Runs(line, ..) | Typed(line, ..) | Until(line, _) | SignsIn(line, _) => Some((*line).to_owned()),
        Meanwhile(_) => None,
    });
    let known: BTreeSet<String> = day.chain(ELSEWHERE.iter().map(|(line, _)| (*line).to_owned())).collect();
    assert_eq!(shown.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "nobody runs these");
    assert_eq!(known.difference(&shown).collect::<Vec<_>>(), Vec::<&String>::new(), "no help shows these");
    for (line, file) in ELSEWHERE {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(file);
        assert!(
            std::fs::read_to_string(path).unwrap().contains(&format!("\"{line}\"")),
            "{file} doesn't run `{line}`"
        );
    }
}

#[test]
fn a_session_begins_by_the_examples() {
    live(BEGINNING);
}

#[test]
fn whoever_looks_does_so_by_the_examples() {
    live(LOOKS);
}

#[test]
fn a_session_comes_and_goes_by_the_examples() {
    live(COMINGS);
}

#[test]
fn a_day_at_work_goes_by_the_examples() {
    live(WORK);
}

#[test]
fn the_rest_goes_by_the_examples() {
    live(REST);
}

/// Carries the steps out in a world of their own.
fn live(steps: &[Step]) {
    let mut project = Project::without_world("");
    project.start_world();
    for step in steps {
        match step {
            Runs(line, code, said) => drop(shell(&project, line).exits(*code).says(said)),
            Typed(line, typed, last) => at_terminal(&project, line, typed, last),
            Until(line, said) => until(&project, line, said),
            SignsIn(line, answer) => signs_in(&project, line, *answer),
            Meanwhile(happens) => happens(&project),
        }
    }
}

/// The examples of every command's help.
fn collect(project: &Project) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for (words, help) in helps(project) {
        let (_, examples) =
            help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{words:?} has no examples"));
        for line in examples.lines().filter_map(|line| line.strip_prefix("  ")) {
            let line = line.split("  ").next().unwrap().trim_end();
            assert!(line.contains("dacapo"), "{words:?}: `{line}` is no example");
            lines.insert(line.to_owned());
        }
    }
    lines
}

/// Puts what this world has in the place of what a line of help can't know.
fn placed(project: &Project, line: &str) -> String {
    let ready = |name: &str| project.ready[name].as_str().unwrap().to_owned();
    let [(volume, _), (key, _), (id, _)] = STAND_INS;
    let mut line = line.replace(key, &format!("--app-key {}", ready("dropbox_app_key")));
    line = line.replace(id, &format!("--client-id {}", ready("client_id")));
    if line.contains(volume) {
        let orphans = project.dacapo(&["orphans", "--json"]).exits(0).json();
        line = line.replace(volume, orphans["orphans"][0]["id"].as_str().expect("one is left over"));
    }
    line
}

/// A shell in which `dacapo` rehearses, except where somebody signs in.
fn command(project: &Project, line: &str) -> Command {
    let rehearses = !line.contains("dacapo login") && !line.contains("dacapo logout");
    let dacapo = project.command(&[]);
    let program = dacapo.get_program().to_str().unwrap();
    let script = format!(
        "set -o pipefail; dacapo() {{ if {rehearses} && [ \"$1\" != --sandbox ]; then set -- --sandbox \"$@\"; fi; \
         '{program}' \"$@\"; }}\n{}\n",
        placed(project, line)
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(project.path()).env_clear().stdin(Stdio::null());
    let ready = |name: &str| project.ready[name].as_str().unwrap();
    bash.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", project.path().join("outside-home"));
    if !rehearses {
        bash.env("VERDA_BASE_URL", ready("cloud")).env("DROPBOX_API_URL", ready("dropbox_api"));
        bash.env("DROPBOX_CONTENT_URL", ready("dropbox_content"));
    }
    bash
}

fn shell(project: &Project, line: &str) -> Ran {
    let ran = ran(command(project, line).output().unwrap());
    eprintln!("$ {line}: {}", ran.code);
    ran
}

#[track_caller]
fn at_terminal(project: &Project, line: &str, typed: &[(&str, &str)], last: &str) {
    let terminal = Terminal::start(command(project, line));
    let interrupted = typed.iter().any(|(_, answer)| *answer == "\u{3}");
    for (shown, answer) in typed {
        terminal.shows(shown);
        if !interrupted {
            terminal.types(answer);
        }
    }
    if interrupted {
        let code = terminal.ends_by_ctrl_c(last);
        return assert_ne!(code, 0, "`{line}`");
    }
    terminal.shows(last);
    assert_eq!(terminal.ends(), 0, "`{line}`");
}

#[track_caller]
fn until(project: &Project, line: &str, said: &str) {
    let terminal = Terminal::start(command(project, line));
    terminal.shows(said);
    terminal.types("\u{3}");
    terminal.ends();
}

#[track_caller]
fn signs_in(project: &Project, line: &str, answer: Answer) {
    let secret = project.ready["client_secret"].as_str().unwrap();
    std::fs::write(project.path().join("secret.txt"), secret).unwrap();
    let mut child = command(project, line)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    if let Answer::Code = answer {
        let mut said = String::new();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        while !said.contains("/oauth2/authorize") {
            assert_ne!(errors.read_line(&mut said).unwrap(), 0, "{said}");
        }
        writeln!(input, "{}", crate::login::agree(&said)).unwrap();
    }
    drop(input);
    ran(child.wait_with_output().unwrap()).exits(0).says("signed");
}

fn begin_again(project: &Project) {
    std::fs::remove_file(project.path().join("session.toml")).unwrap();
}

fn end(project: &Project) {
    project.dacapo(&["down", "--yes"]).exits(0);
}

/// There is a session, another one, and files beside them.
fn settled(project: &Project) {
    let spec = include_str!("../../session.toml");
    let other = spec.replace("\"lesson3\"\nstate", "\"lost\"\nstate");
    let files = [
        ("session.toml", spec),
        ("other.toml", &other),
        ("export.pkl", "made on the laptop\n"),
        ("notes.csv", "1,2\n"),
        ("train.py", "print('another')\n"),
    ];
    for (name, text) in files {
        std::fs::write(project.path().join(name), text).unwrap();
    }
}
