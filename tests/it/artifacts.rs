//! `dacapo artifacts`: what the store keeps, and where it came from.

use serde_json::Value;

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
