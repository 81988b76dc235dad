//! `report`: one page, and its pictures alone, of a session that has had its days.

use std::fs;

use regex::Regex;
use serde_json::json;

use crate::first_contact::cloud;
use crate::matrix::worlds::World;
use crate::support::{Project, without_store};

/// A session that ended once, with a new model, and is up again.
fn lived() -> Project {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(&["run", "--", "sh", "-c", "echo better > export.pkl"]).exits(0);
    project.dacapo(&["down", "--yes"]).exits(0);
    project.dacapo(&["up", "--yes"]).exits(0);
    project
}

fn page(project: &Project, arguments: &[&str]) -> String {
    let said = project.dacapo(&[&["report", "-o", "report.html"], arguments].concat()).exits(0);
    assert_eq!(said.stdout, "report.html\n");
    fs::read_to_string(project.path().join("report.html")).unwrap()
}

/// What a person reads of it.
fn words(page: &str) -> String {
    let body = page.split_once("<body>").unwrap().1;
    let text = Regex::new("<[^>]*>").unwrap().replace_all(body, " ").replace("&gt;", ">");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn it_tells_the_last_run_the_cost_the_versions_and_what_bills() {
    let project = lived();
    let page = page(&project, &[]);
    let words = words(&page);
    let status = project.dacapo(&["status", "--json"]).exits(0).json();
    let machine = status["machine"]["id"].as_str().unwrap();
    let versions = project.dacapo(&["artifacts", "list", "--json"]).exits(0).json();
    let log = project.dacapo(&["log", "--json"]).exits(0).json();
    let ended = &log["sessions"][0];
    let commit = &ended["code"][1]["commit"].as_str().unwrap()[..10];
    for part in [
        "What bills now 1.1994 usd an hour",
        machine,
        "wait until the machine runs and the login works",
        "bring model to export.pkl",
        &format!("{:.4} usd", ended["cost"].as_f64().unwrap()),
        &format!("main {commit} , as it came"),
        "7 B",
    ] {
        assert!(words.contains(part), "`{part}` is not in {words}");
    }
    let listed = versions["artifacts"][0]["versions"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    for version in listed {
        assert!(words.contains(version["name"].as_str().unwrap()), "{words}");
    }
    assert!(
        words.contains(&format!(
            "model: {} → {}",
            listed[0]["name"].as_str().unwrap(),
            listed[1]["name"].as_str().unwrap()
        )),
        "{words}"
    );
    assert_eq!(page.matches("<polyline").count(), 1);
    // A bar for each step of the last run, not of the ones before it.
    let steps = page.matches("<rect").count();
    assert!((4..9).contains(&steps), "{steps}: {words}");
    assert!(!words.contains("delete machine"), "{words}");
}

#[test]
fn it_holds_itself_together_and_no_script_and_nothing_from_elsewhere() {
    let project = lived();
    // What people call things in the console comes through as words.
    let volume = World::of(&project).billing("volume")[0].clone();
    let name = "<img src=x onerror=alert(1)>";
    cloud(&project, "PUT", "/volumes", &json!({"action": "rename", "id": volume, "name": name}));
    let elsewhere = Regex::new(r"<script|<img|https?:|url\(|@import|<[^>]* (on[a-z]+|src|href)=").unwrap();
    for arguments in [&["report", "-o", "all.html", "--all"][..], &["report", "-o", "pictures.svg"]] {
        project.dacapo(arguments).exits(0);
        let text = fs::read_to_string(project.path().join(arguments[2])).unwrap();
        let text = text.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        assert_eq!(elsewhere.find(&text).map(|found| found.as_str()), None, "{arguments:?}");
    }
    let all = fs::read_to_string(project.path().join("all.html")).unwrap();
    assert!(all.contains("&lt;img src=x onerror=alert(1)&gt;"), "{all}");
    let svg = fs::read_to_string(project.path().join("pictures.svg")).unwrap();
    assert!(svg.starts_with("<?xml version=\"1.0\""));
    let read = std::process::Command::new("python3")
        .args(["-c", "import sys, xml.etree.ElementTree as t; print(t.parse(sys.argv[1]).getroot().tag)"])
        .arg(project.path().join("pictures.svg"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(read.stdout).unwrap().trim(), "{http://www.w3.org/2000/svg}svg");
}

#[test]
fn before_anything_was_done_it_says_so() {
    let project = Project::with_spec(&without_store());
    let words = words(&page(&project, &[]));
    for part in [
        "Nothing of this session bills.",
        "Nothing was applied from this laptop yet.",
        "No session has ended yet.",
    ] {
        assert!(words.contains(part), "{words}");
    }
}

#[test]
fn a_run_that_failed_shows_where_and_a_torn_timeline_is_none() {
    let project = Project::new();
    project.fail(&json!({"rules": [{"service": "cloud", "method": "POST", "path": "/v1/instances", "fault": "forbidden"}]}));
    assert_ne!(project.dacapo(&["up", "--yes"]).code, 0);
    let page_now = page(&project, &[]);
    assert!(words(&page_now).contains("failed: "), "{page_now}");
    assert!(page_now.contains("class=\"bar bad\""));
    let kept = project.laptop().join(".local/state/dacapo/runs/lesson3.json");
    fs::write(&kept, &fs::read(&kept).unwrap()[..40]).unwrap();
    assert!(words(&page(&project, &[])).contains("Nothing was applied from this laptop yet."));
}

#[test]
fn a_file_of_another_kind_is_refused_before_anything_is_asked() {
    let project = Project::new();
    project.dacapo(&["report", "-o", "report.pdf"]).exits(3).says("ends in neither .html nor .svg");
    project.dacapo(&["report"]).exits(3).says("--out <FILE>");
    project.dacapo(&["report", "-o", "no/such/folder/report.html"]).exits(1).says("cannot write");
}
