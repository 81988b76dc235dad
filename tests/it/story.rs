//! A whole session, each command a process of its own, the world kept between them.

use dacapo::digest::ContentHash;

use crate::support::Project;

#[test]
fn a_whole_day_from_nothing_to_nothing_and_back() {
    let project = Project::new();
    let up = project.dacapo(&["apply", "--yes"]).exits(0);
    for said in ["1RTX6000ADA.10V in FIN-03", "usd/h", "run -- COMMAND", "dacapo --sandbox down"] {
        assert!(up.stdout.contains(said), "the summary says `{said}`: {}", up.stdout);
    }
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0).says("nothing to do");

    project.dacapo(&["run", "--", "python3", "train.py"]).exits(0).says("wrote export.pkl");
    project.dacapo(&["run", "--", "sh", "-c", "exit 7"]).exits(7);
    let trained = std::fs::read(project.server().join("lesson3/export.pkl")).unwrap();
    project.dacapo(&["status"]).exits(0).says("changed since version 2026-11-20_export.pkl.gz");
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0).says("not stored");

    let plan = project.dacapo(&["plan", "--set", "state=absent"]).exits(0);
    assert!(plan.stdout.contains("store model"), "{}", plan.stdout);
    assert!(plan.stdout.contains("✓ repo"), "{}", plan.stdout);
    assert!(plan.stdout.contains("nothing of this session bills"), "{}", plan.stdout);

    project.dacapo(&["down", "--yes"]).exits(0).says("nothing of it bills");
    assert_eq!(project.bill()["billing"], serde_json::json!([]));
    project.dacapo(&["down", "--yes"]).exits(0).says("nothing to do");

    project.dacapo(&["up", "--yes"]).exits(0);
    let brought = std::fs::read(project.server().join("lesson3/export.pkl")).unwrap();
    assert_eq!(ContentHash::of(&brought), ContentHash::of(&trained), "the model that was trained is back");
    project.dacapo(&["plan", "--detailed-exitcode"]).exits(0);
}

#[test]
fn work_that_only_the_server_has_refuses_down_until_it_is_settled() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server(
        "echo more >> README.md && echo new > notes.txt && git config user.name x && git config user.email x@y
         echo b > pushed-later.txt && git add pushed-later.txt && git commit -qm later -- pushed-later.txt
         echo '*.bin' >> .git/info/exclude && echo ignored > weights.bin && echo elsewhere > ~/todo.txt",
    );
    let down = project.dacapo(&["down", "--yes"]).exits(5);
    let all = format!("{}{}", down.stdout, down.stderr);
    for named in [
        "modified: README.md",
        "untracked: notes.txt",
        "branch main",
        "new file: lesson3/weights.bin",
        "new file: todo.txt",
        "--discard repo:untracked",
        "--discard files:lesson3/weights.bin",
        "dacapo --sandbox run -A -- git push",
        "`disposable`",
    ] {
        assert!(all.contains(named), "`{named}` is not in\n{all}");
    }
    assert_eq!(project.bill()["billing"].as_array().unwrap().len(), 2, "server and volume still bill");

    project.on_server("git checkout -q README.md && rm notes.txt weights.bin ~/todo.txt");
    project.dacapo(&["down", "--yes"]).exits(5).says("branch main");
    project.dacapo(&["run", "--", "git", "push"]).exits(128);
    project.dacapo(&["run", "-A", "--", "git", "push"]).exits(0);
    project.dacapo(&["down", "--yes"]).exits(0);
    assert_eq!(project.bill()["billing"], serde_json::json!([]));
    project.dacapo(&["up", "--yes"]).exits(0);
    assert!(project.server().join("lesson3/pushed-later.txt").exists(), "the pushed commit is back");
}

#[test]
fn a_named_loss_lets_the_server_go_and_another_does_not() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server("echo new > notes.txt; echo elsewhere > ~/todo.txt");
    project.dacapo(&["down", "--yes", "--discard", "repo:untracked"]).exits(5).says("todo.txt");
    project.dacapo(&["down", "--yes", "--discard", "repo:untracked", "--discard", "files:todo.txt"]).exits(0);
    assert_eq!(project.bill()["billing"], serde_json::json!([]));
}

#[test]
fn an_agreeing_world_is_not_written_to_and_a_plan_costs_one_round() {
    let more = ["a", "b", "c"]
        .map(|name| format!("[artifacts.{name}]\npath = \"{name}.bin\"\nversion = \"none\"\n"));
    let project = Project::with_spec(&[include_str!("../../session.toml"), &more.concat()].concat());
    project.dacapo(&["up", "--yes"]).exits(0);
    let before = project.requests().len();
    project.dacapo(&["apply", "--yes"]).exits(0).says("nothing to do");
    let requests = project.requests().split_off(before);
    let of = |service: &str| requests.iter().filter(|request| request["service"] == service).count();
    let writes: Vec<_> = requests
        .iter()
        .filter(|request| {
            let (method, path) = (request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
            match request["service"].as_str().unwrap() {
                "cloud" => method != "GET" && !path.ends_with("/oauth2/token"),
                "dropbox_content" => path.contains("upload"),
                "dropbox_api" => !["get_", "list_"].iter().any(|read| path.contains(read)),
                _ => false,
            }
        })
        .collect();
    assert!(writes.is_empty(), "{writes:#?}");
    let tokens = requests.iter().filter(|r| r["path"].as_str().unwrap().ends_with("/oauth2/token")).count();
    assert!(tokens <= 2, "one token per service at most, not {tokens}");
    let paths = || requests.iter().filter(|r| r["service"] == "cloud").map(|r| r["path"].clone());
    assert_eq!(paths().count(), 9, "one token and eight reads: {:?}", paths().collect::<Vec<_>>());
    let store = of("dropbox_api") + of("dropbox_content");
    assert_eq!(store, 4, "account, listing, record, and whether a record ever was");
    let connects = requests.iter().filter(|r| r["path"] == "ssh connect").count();
    let lists = requests.iter().filter(|r| r["path"] == "git connect").count();
    assert_eq!(
        (connects, of("ssh") - connects, lists),
        (1, 1, 1),
        "one connection, one probe, one ls-remote"
    );
}
