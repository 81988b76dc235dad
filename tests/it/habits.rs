//! What a terminal, a shell, an editor and `man` get from the command line.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::Project;

const SPEC: &str = include_str!("../../session.toml");

#[test]
fn quiet_prints_neither_plan_nor_progress() {
    let project = Project::new();
    for command in [&["up", "--yes", "-q"][..], &["down", "--yes", "--quiet"]] {
        let ran = project.dacapo(command).exits(0);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    }
    project.dacapo(&["-q", "status"]).exits(0).says("server     none");
    project.dacapo(&["-q", "up"]).exits(3).says("--yes");
}

#[test]
fn verbose_tells_each_call_on_the_standard_error() {
    let project = Project::new();
    let ran = project.dacapo(&["plan", "-v"]).exits(0);
    for told in [
        "the cloud: GET /v1/instances: 200 OK",
        "the store: POST /2/files/list_folder: 200 OK",
        "git [\"ls-remote\"",
    ] {
        assert!(ran.stderr.contains(told), "`{told}` is not in\n{}", ran.stderr);
    }
    assert!(!ran.stdout.contains("GET"), "{}", ran.stdout);
    project.dacapo(&["plan", "-v", "-q"]).exits(3);
}

#[test]
fn colours_are_used_when_asked_for_and_never_otherwise() {
    let project = Project::new();
    assert!(project.dacapo(&["plan", "--color", "always"]).exits(0).stdout.contains("\x1b[32m+[machine]"));
    for when in ["auto", "never"] {
        assert!(!project.dacapo(&["plan", "--color", when]).exits(0).stdout.contains('\x1b'));
    }
}

#[test]
fn a_timeout_stops_what_changes_the_world_at_a_safe_point_and_a_look_at_once() {
    let project = Project::new();
    project
        .dacapo(&["plan", "--timeout", "1ms"])
        .exits(1)
        .says("`--timeout` 1ms")
        .says("nothing was changed");
    project
        .dacapo(&["up", "--yes", "--timeout", "1ms"])
        .exits(130)
        .says("interrupted: nothing of `lesson3` bills");
    project.dacapo(&["up", "--yes", "--timeout", "10m"]).exits(0);
    for odd in ["soon", "0s", "-3s", "10"] {
        project.dacapo(&["plan", &format!("--timeout={odd}")]).exits(3).says("90s, 20m or 2h");
    }
}

/// Completes a command line whose last word is being typed, by bash itself.
fn completed(project: &Project, words: &[&str]) -> Vec<String> {
    completed_at(&project.path().join("outside-home"), project, words)
}

/// The same, on the laptop with this home directory.
pub fn completed_at(home: &Path, project: &Project, words: &[&str]) -> Vec<String> {
    let script = r#"
        source <(dacapo completions bash) || exit 1
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        _clap_complete_dacapo dacapo "${!#}" 2>/dev/null
        printf '%s\n' "${COMPREPLY[@]}""#;
    let dacapo = project.command(&[]);
    let folder = Path::new(dacapo.get_program()).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash"]).args(words).current_dir(project.path()).env("PATH", path);
    bash.env("HOME", home).env_remove("XDG_STATE_HOME");
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn bash_completes_commands_flags_artifacts_and_sessions() {
    let project = Project::without_world(SPEC);
    assert_eq!(completed(&project, &["dacapo", "orph"]), ["orphans"]);
    assert_eq!(completed(&project, &["dacapo", "down", "--keep"]), ["--keep-disk"]);
    assert_eq!(completed(&project, &["dacapo", "artifacts", "push", ""])[0], "model");
    assert_eq!(completed(&project, &["dacapo", "log", "less"]), ["lesson3"]);
    for (shell, said) in
        [("zsh", "#compdef dacapo"), ("fish", "complete --keep-order --exclusive --command dacapo")]
    {
        project.run(&["completions", shell]).exits(0).says(said);
    }
    project.run(&["completions", "tcsh"]).exits(3).says("bash, zsh, fish");
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let project = Project::without_world(SPEC);
    project.run(&["man"]).exits(0).says(".TH dacapo 1").says("dacapo\\-apply(1)");
    std::fs::create_dir(project.path().join("man")).unwrap();
    project.run(&["man", "--dir", "man"]).exits(0);
    for page in ["dacapo.1", "dacapo-down.1", "dacapo-artifacts-push.1"] {
        assert!(
            std::fs::read_to_string(project.path().join("man").join(page)).unwrap().contains(".SH SYNOPSIS")
        );
    }
    project.run(&["man", "--dir", "nowhere"]).exits(1).says("must be a folder");
}

/// What a validator that we didn't write says of a session.toml.
pub fn valid(schema: &Value, text: &str) -> bool {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("session.json", schema.clone()).unwrap();
    let schema = compiler.compile("session.json", &mut schemas).unwrap();
    let document: Value = toml::from_str(text).unwrap();
    schemas.validate(&document, schema).is_ok()
}

#[test]
fn the_schema_takes_what_dacapo_takes_and_refuses_what_it_refuses() {
    let project = Project::without_world(SPEC);
    let schema = project.run(&["schema"]).exits(0).json();
    let full = SPEC
        .replace("version  = \"latest\"", "version = \"2026-11-20_export.pkl.gz\"")
        .replace("[instance]", "[instance]\nmarket = \"spot\"")
        + "\n[limits]\ndeadline = \"1d12h\"\nmax_cost = 9.5\nprotect = true\n";
    let one = SPEC.replace("[\"FIN-03\", \"FIN-01\"]", "\"FIN-03\"");
    for text in [SPEC, &full, &one] {
        assert!(valid(&schema, text), "{text}");
        std::fs::write(project.path().join("session.toml"), text).unwrap();
        project.run(&["validate"]).exits(0);
    }
    let broken = [
        ("name  = \"lesson3\"", "name = \"Lesson 3\""),
        ("name  = \"lesson3\"", "nmae = \"lesson3\""),
        ("\"running\"", "\"on\""),
        ("\"dropbox:/fastai/lesson3\"", "\"/fastai/lesson3\""),
        ("store = \"dropbox:/fastai/lesson3\"", ""),
        ("[\"1RTX6000ADA.10V\", \"1L40S.20V\"]", "[]"),
        ("size_gb = 100", "size_gb = 10"),
        ("size_gb = 100", "size = 100"),
        ("url    = \"git@github.com:me/lesson3.git\"", ""),
        ("path     = \"export.pkl\"", ""),
        ("\"gzip\"", "\"zip\""),
        ("\"gzip\"", "true"),
    ];
    for (from, to) in broken {
        let text = SPEC.replacen(from, to, 1);
        assert_ne!(text, SPEC, "{from}");
        assert!(!valid(&schema, &text), "{to}");
        std::fs::write(project.path().join("session.toml"), &text).unwrap();
        project.run(&["validate"]).exits(3);
    }
}

/// Each key that dacapo knows is in the schema: the messages about unknown keys name them all.
#[test]
fn the_schema_knows_every_key() {
    let project = Project::without_world(SPEC);
    let schema = project.run(&["schema"]).exits(0).json();
    let keys = |value: &Value| value["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let tables = [
        ("", keys(&schema)),
        ("instance", keys(&schema["$defs"]["instance"])),
        ("limits", keys(&schema["$defs"]["limits"])),
        ("repo", keys(&schema["$defs"]["repo"])),
        ("setup", keys(&schema["$defs"]["setup"])),
        ("notebook", keys(&schema["$defs"]["notebook"])),
        ("artifacts.model", keys(&schema["$defs"]["artifact"])),
    ];
    for (table, keys) in tables {
        let key = if table.is_empty() { "qqqqqqqq".to_owned() } else { format!("{table}.qqqqqqqq") };
        let said = project.run(&["validate", "--set", &format!("{key}=1")]).exits(3).stderr;
        let listed = said.split("write one of ").nth(1).unwrap_or_else(|| panic!("{said}"));
        let mut known: Vec<&str> = listed.lines().next().unwrap().split('`').skip(1).step_by(2).collect();
        known.sort_unstable();
        assert_eq!(json!(known), json!(keys), "{table}: {said}");
    }
}
