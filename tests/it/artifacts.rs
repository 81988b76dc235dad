//! `dacapo artifacts`: what the store keeps, and where it came from.

use dacapo::digest::ContentHash;
use dacapo::version::manifest_name;
use serde_json::{Value, json};

use crate::support::Project;

#[test]
fn versions_are_listed_and_shown_with_what_made_them() {
    let project = Project::new();
    let list = || project.dacapo(&["artifacts", "list", "--json"]).exits(0).json();
    let versions = |list: &Value| list["artifacts"][0]["versions"].as_array().unwrap().clone();
    let before = versions(&list());
    assert_eq!(before.len(), 1, "the seeded version");

    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server("printf 'a better model' > export.pkl");
    project.dacapo(&["down", "--yes"]).exits(0);

    let after = versions(&list());
    assert_eq!(after.len(), 2);
    let (made, name) = (&after[1], after[1]["name"].as_str().unwrap());
    let hash = project.command(&["hash"]).arg(new_file(&project, "a better model")).output().unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    assert_eq!(made["content"].as_str().unwrap(), hash.split(' ').next().unwrap());

    let text = project.dacapo(&["artifacts", "list"]).exits(0).stdout;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "model (export.pkl)");
    assert!(lines[2].contains(name) && lines[2].ends_with("  latest"), "{text}");
    assert!(!lines[1].contains("latest"), "{text}");

    let shown = project.dacapo(&["artifacts", "show", name, "--json"]).exits(0).json();
    let manifest = &shown["stored"]["manifest"];
    assert_eq!(manifest["session"], "lesson3");
    assert_eq!(manifest["instance_type"], "1RTX6000ADA.10V");
    assert_eq!(manifest["size"], 14);
    let commit = manifest["commit"].as_str().unwrap();
    let by_content = format!("content:{}", &hash[..12]);
    project
        .dacapo(&["artifacts", "show", &by_content])
        .exits(0)
        .says(&format!("version    {name}"))
        .says("size       14 B unpacked")
        .says(&format!("made by    session lesson3, at {}, on 1RTX6000ADA.10V", &commit[..10]));
}

#[test]
fn a_version_that_is_not_there_is_named_with_the_nearest_that_is() {
    let project = Project::new();
    let near = project.dacapo(&["artifacts", "show", "2026-11-21_export.pkl.gz"]).exits(3);
    near.says("no version `2026-11-21_export.pkl.gz`").says("did you mean `2026-11-20_export.pkl.gz`?");
    project.dacapo(&["artifacts", "show", "content:ffff"]).exits(3).says("artifacts list");
}

#[test]
fn an_edited_manifest_is_refused_and_one_that_is_gone_is_said_to_be() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server("printf 'a better model' > export.pkl");
    project.dacapo(&["down", "--yes"]).exits(0);
    let list = project.dacapo(&["artifacts", "list", "--json"]).exits(0).json();
    let version = &list["artifacts"][0]["versions"][1];
    let text = |name: &str| version[name].as_str().unwrap();
    let manifest = format!(
        "/fastai/lesson3/{}.{}.{}.json",
        text("name"),
        text("content"),
        &text("stored_content")[..16]
    );

    project.delete_stored(&manifest);
    let show = || project.dacapo(&["artifacts", "show", text("name")]);
    show().exits(0).says("not known: no manifest lies beside it");
    project.store_file(&manifest, br#"{"version": 2}"#);
    show().exits(1).says("written by a newer dacapo").says("restore the one that dacapo wrote");
    project.store_file(&manifest, b"half a jso");
    show().exits(1).says("it is not a manifest");
}

fn new_file(project: &Project, content: &str) -> std::path::PathBuf {
    let path = project.path().join("by-hand.pkl");
    std::fs::write(&path, content).unwrap();
    path
}

/// Puts a version and its manifest into the store; what the manifest says beyond the least is up to `told`.
pub fn keep(project: &Project, name: &str, payload: &[u8], told: &Value) -> String {
    let content = ContentHash::of(payload);
    let mut manifest = json!({
        "version": 1, "payload": content, "size": payload.len(), "stored": content, "compression": "none",
        "commit": null, "instance_type": null, "session": "lesson3",
    });
    manifest.as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
    let beside = manifest_name(name, &content, &content);
    project.store_file(&format!("/fastai/lesson3/{name}"), payload);
    project.store_file(&format!("/fastai/lesson3/{beside}"), manifest.to_string().as_bytes());
    beside
}

/// The names of the versions that are listed, oldest first.
pub fn listed(project: &Project) -> Vec<String> {
    let list = project.dacapo(&["artifacts", "list", "--json"]).exits(0).json();
    let versions = list["artifacts"][0]["versions"].as_array().unwrap();
    versions.iter().map(|version| version["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_made_on_the_server_is_stored_with_the_commit_and_the_environment_of_that_moment() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server("mkdir -p .venv/lib/python3.12/site-packages/torch-2.1.dist-info");
    project.on_server("printf 'version = 3.12.3\n' > .venv/pyvenv.cfg; printf '*\n' > .venv/.gitignore");
    project.on_server("printf 'Name: Torch\nVersion: 2.1\n' > .venv/lib/python3.12/site-packages/torch-2.1.dist-info/METADATA");
    project.on_server(
        "git commit -q --allow-empty -m mine; git push -q 2>/dev/null || true; git rev-parse HEAD > ../head",
    );
    let head = std::fs::read_to_string(project.server().join("head")).unwrap();
    let stored = |content: &str, changes: &str| {
        project.on_server(&format!("printf '{content}' > export.pkl; {changes}"));
        project.dacapo(&["artifacts", "push", "--yes"]).exits(0);
        project.dacapo(&["artifacts", "show", "latest", "--json"]).exits(0).json()["stored"]["manifest"]
            .clone()
    };
    let clean = stored("made here", "true");
    assert_eq!((&clean["commit"], &clean["dirty"]), (&json!(head.trim()), &json!(false)));
    assert_eq!(clean["image"], "ubuntu-24.04-cuda-13.0-open-docker");
    assert_eq!(clean["environment"]["python"], "3.12.3");
    assert_eq!(clean["environment"]["packages"], json!({"torch": "2.1"}));
    assert!(clean["stored_at"].as_str().unwrap().starts_with("20"), "{clean}");
    let dirty = stored("made again", "echo '# other' >> train.py");
    assert_eq!(dirty["dirty"], true);
    project
        .dacapo(&["artifacts", "show", "latest"])
        .exits(0)
        .says(&format!("at {} with changes, on 1RTX6000ADA.10V", &head[..10]))
        .says("run with   Python 3.12.3, no CUDA reported, 1 package(s)");
    // Nobody knows what made an upload by hand, whoever unpacks it.
    let seeded = project.dacapo(&["artifacts", "show", "2026-11-20_export.pkl.gz", "--json"]).exits(0).json();
    let manifest = &seeded["stored"]["manifest"];
    assert_eq!(
        (&manifest["by_hand"], &manifest["instance_type"]),
        (&json!(true), &Value::Null),
        "{manifest}"
    );
}

#[test]
fn a_plan_says_where_a_version_was_made_in_another_environment_and_reads_one_manifest_for_it() {
    let project = Project::new();
    assert_eq!(listed(&project).len(), 1);
    let elsewhere =
        json!({"image": "debian-12", "instance_type": "8H100.80S", "environment": {"python": "3.9.1"}});
    let beside = keep(&project, "2026-11-24_export.pkl", b"made elsewhere", &elsewhere);
    let downloads = || {
        let requests = project.requests();
        requests.iter().filter(|request| request["path"] == "/2/files/download").count()
    };
    let before = downloads();
    let note = "note: model: 2026-11-24_export.pkl was made in another environment: \
                image debian-12, here ubuntu-24.04-cuda-13.0-open-docker; \
                instance type 8H100.80S, here 1RTX6000ADA.10V";
    project.dacapo(&["plan"]).exits(0).says(note);
    assert_eq!(downloads() - before, 2, "the record and the manifest");
    project.dacapo(&["plan", "--set", "artifacts.model.version=none"]).exits(0);
    assert_eq!(downloads() - before, 3, "nothing to bring, nothing to read");

    // A manifest that can't be used is said to be, and the version is brought all the same.
    for (bytes, said) in [
        (&br#"{"version": 2}"#[..], "written by a newer dacapo"),
        (b"half a jso", "it is not a manifest"),
        (br#"{"version": 1, "payload": "0"}"#, "it is not a manifest"),
    ] {
        project.store_file(&format!("/fastai/lesson3/{beside}"), bytes);
        let plan = project.dacapo(&["plan"]).exits(0).says(said);
        plan.says("bring model to export.pkl: version 2026-11-24_export.pkl");
    }
    project.delete_stored(&format!("/fastai/lesson3/{beside}"));
    let plan = project.dacapo(&["plan"]).exits(0);
    assert!(!plan.stdout.contains("environment"), "{}", plan.stdout);

    project.dacapo(&["up", "--yes"]).exits(0);
    let made = json!({"image": "ubuntu-24.04-cuda-13.0-open-docker", "instance_type": "1RTX6000ADA.10V",
        "environment": {"python": "2.7.18", "packages": {}}});
    keep(&project, "2026-11-25_export.pkl", b"made with an old python", &made);
    let plan = project.dacapo(&["plan"]).exits(0);
    let line = plan.stdout.lines().find(|line| line.contains("another environment")).unwrap().to_owned();
    assert!(line.contains(": python 2.7.18, here 3."), "the server is asked: {line}");
}

#[test]
fn the_same_content_in_another_packing_is_said_and_not_brought() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    let model = std::fs::read(project.server().join("lesson3/export.pkl")).unwrap();
    keep(&project, "2026-11-25_export.pkl", &model, &json!({}));
    let plan = project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);
    plan.says(
        "2026-11-25_export.pkl is the same content, stored as 2026-11-20_export.pkl.gz; nothing to bring",
    );
}

#[test]
fn two_versions_are_shown_beside_each_other() {
    let project = Project::new();
    assert_eq!(listed(&project).len(), 1);
    let git = |arguments: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.args(["-c", "user.name=me", "-c", "user.email=me@x"]).args(arguments).current_dir(project.path());
        let output = git.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    let commit = |message: &str| {
        git(&["commit", "-q", "--allow-empty", "-m", message]);
        git(&["rev-parse", "HEAD"])
    };
    let (before, after) = (commit("Begin"), commit("Train for longer"));
    let made = |commit: &str, torch: &str| {
        let packages = json!({"fastai": "2.7", "numpy": "2.0", "torch": torch});
        json!({"commit": commit, "dirty": torch == "2.2", "image": "debian-12",
            "environment": {"python": "3.12.3", "packages": packages}})
    };
    keep(&project, "2026-11-24_export.pkl", b"first", &made(&before, "2.1"));
    keep(&project, "2026-11-25_export.pkl", b"second!", &made(&after, "2.2"));
    let said = [
        "--- 2026-11-24_export.pkl\n+++ 2026-11-25_export.pkl\n".to_owned(),
        "size      5 B → 7 B\n".to_owned(),
        "image     debian-12\n".to_owned(),
        "cuda      not known\n".to_owned(),
        format!("commit    {} → {} with changes\n          + ", &before[..10], &after[..10]),
        "Train for longer\npackages  3\n".to_owned(),
        " numpy==2.0\n-torch==2.1\n+torch==2.2\n".to_owned(),
    ];
    let diff = project.dacapo(&["artifacts", "diff", "2026-11-24_export.pkl"]).exits(0);
    said.iter().fold(diff, |diff, text| diff.says(text));
    let json = ["artifacts", "diff", "2026-11-24_export.pkl", "latest", "--json"];
    let diff = project.dacapo(&json).exits(0).json()["diff"].clone();
    assert_eq!((&diff["same_content"], diff["commits"].as_array().unwrap().len()), (&json!(false), 1));
    assert_eq!(diff["packages"], json!({"torch": {"first": "2.1", "second": "2.2"}}));
    project
        .dacapo(&["artifacts", "diff", "2026-11-20_export.pkl.gz"])
        .exits(0)
        .says("content   not known → ")
        .says("packages  not known → 3\n");
}

#[test]
fn pinning_writes_one_line_and_unpinning_takes_it_back() {
    let project = Project::new();
    let file = project.path().join("session.toml");
    let read = || std::fs::read_to_string(&file).unwrap();
    let (before, v1) = (read(), "2026-11-20_export.pkl.gz");
    project
        .dacapo(&["artifacts", "pin", "2026-11-21_export.pkl.gz"])
        .exits(3)
        .says(&format!("did you mean `{v1}`?"));
    project.dacapo(&["artifacts", "pin", v1, "modle"]).exits(3).says("did you mean `model`?");
    assert_eq!(read(), before, "nothing is written that isn't there");
    let pinned = project.dacapo(&["artifacts", "pin", v1]).exits(0);
    pinned.says(&format!("session.toml: model is `{v1}` from now on"));
    assert_eq!(read(), before.replace("\"latest\"", &format!("\"{v1}\"")));
    project.run(&["validate"]).exits(0);
    let again = project.dacapo(&["artifacts", "pin", v1, "model", "--json"]).exits(0).json();
    assert_eq!(again["pinned"]["changed"], false);
    project.dacapo(&["artifacts", "pin", "latest"]).exits(0);
    assert_eq!(read(), before);
    keep(&project, "2026-11-24_export.pkl", b"bytes", &json!({}));
    let hash = ContentHash::of(b"bytes").to_string();
    project.dacapo(&["artifacts", "pin", &format!("content:{}", &hash[..8])]).exits(0);
    assert!(read().contains(&format!("\"content:{hash}\"")), "the hash in full: {}", read());
}

#[test]
fn an_object_that_was_replaced_by_hand_is_another_version_than_its_manifest_tells() {
    let project = Project::new();
    assert_eq!(listed(&project).len(), 1);
    let name = "2026-11-24_export.pkl";
    keep(&project, name, b"ours", &json!({"commit": "a".repeat(40)}));
    let pinned = format!("artifacts.model.version=content:{}", ContentHash::of(b"ours"));
    project.dacapo(&["plan", "--set", &pinned]).exits(0);
    project.store_file(&format!("/fastai/lesson3/{name}"), b"theirs");
    project.dacapo(&["artifacts", "show", name]).exits(0).says("no manifest lies beside it");
    let shown = project.dacapo(&["artifacts", "show", name, "--json"]).exits(0).json();
    assert_eq!(shown["stored"]["content"], json!(ContentHash::of(b"theirs")), "what is there counts");
    project.dacapo(&["plan", "--set", &pinned]).exits(3).says("has no stored version `content:");
    // A packed one could hold anything now.
    let packed = "2026-11-25_export.pkl.gz";
    let stored = ContentHash::of(b"packed");
    let beside = manifest_name(packed, &ContentHash::of(b"payload"), &stored);
    project.store_file(&format!("/fastai/lesson3/{packed}"), b"packed");
    project.store_file(&format!("/fastai/lesson3/{beside}"), b"{}");
    let content = |said: &str| project.dacapo(&["artifacts", "list"]).exits(0).says(said);
    content(&format!("content {}", ContentHash::of(b"payload").short()));
    project.store_file(&format!("/fastai/lesson3/{packed}"), b"replaced");
    content("content not known until it is unpacked");
}
