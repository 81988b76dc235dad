//! Plans that are kept, shown otherwise, or cut down.

use crate::support::Project;

const SAVED: &str = "lesson3.plan";

/// The ids of what bills.
fn billing(project: &Project) -> Vec<String> {
    let bill = project.bill();
    let ids = bill["billing"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned());
    ids.collect()
}

#[test]
fn a_kept_plan_is_carried_out_once() {
    let project = Project::new();
    project.dacapo(&["plan", "-o", SAVED, "--set", "instance.os_volume.size_gb=60"]).exits(0).says(SAVED);
    project.dacapo(&["apply", SAVED]).exits(0).says("60");
    let machines = billing(&project);
    assert_eq!(machines.len(), 2, "{machines:?}");
    project.dacapo(&["apply", SAVED]).exits(7).says("it was carried out already").says("nothing was done");
    assert_eq!(billing(&project), machines);
}

#[test]
fn a_kept_plan_of_another_world_is_not_carried_out() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.dacapo(&["plan", "-o", SAVED, "--set", "state=absent"]).exits(0);
    project.on_server("echo work > notes.txt");
    project
        .dacapo(&["apply", SAVED])
        .exits(7)
        .says("the world has changed since")
        .says("untracked: notes.txt");
    assert_eq!(billing(&project).len(), 2);
    project.on_server("rm notes.txt");
    project.dacapo(&["apply", SAVED]).exits(0);
    assert_eq!(billing(&project), Vec::<String>::new());
}

#[test]
fn a_kept_plan_of_another_session_toml_is_not_carried_out() {
    let project = Project::new();
    project.dacapo(&["plan", "-o", SAVED]).exits(0);
    let spec = project.path().join("session.toml");
    let text = std::fs::read_to_string(&spec).unwrap() + "\n[limits]\ndeadline = \"3h\"\n";
    std::fs::write(&spec, text).unwrap();
    project.dacapo(&["apply", SAVED]).exits(7).says("session.toml has changed since");
    assert_eq!(billing(&project), Vec::<String>::new());
}

#[test]
fn nothing_in_a_kept_plan_is_carried_out() {
    let project = Project::new();
    project.dacapo(&["plan", "-o", SAVED]).exits(0);
    let path = project.path().join(SAVED);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("1RTX6000ADA.10V"), "{text}");
    std::fs::write(&path, text.replace("\"1RTX6000ADA.10V\"", "\"8B200.248V\"")).unwrap();
    project.dacapo(&["apply", SAVED]).exits(7);
    assert_eq!(billing(&project), Vec::<String>::new());
}

#[test]
fn a_kept_plan_is_for_its_owner_alone_and_other_files_are_no_plans() {
    use std::os::unix::fs::PermissionsExt as _;
    let project = Project::new();
    project.dacapo(&["plan", "-o", SAVED]).exits(0);
    let path = project.path().join(SAVED);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    project.dacapo(&["apply", SAVED, "--yes"]).exits(3).says("cannot be used with");
    for (text, said) in [
        ("nothing", "expected ident"),
        ("{\"version\": 2}", "its format is 2"),
        ("{\"version\": 1}", "missing field"),
    ] {
        std::fs::write(&path, text).unwrap();
        project.dacapo(&["apply", SAVED]).exits(3).says(said).says("hint:");
    }
    project.dacapo(&["apply", "no-such-plan"]).exits(3).says("cannot read the plan");
    project.dacapo(&["plan", "-o", "no/such/folder/plan"]).exits(1).says("cannot write the plan");
}

#[test]
fn markdown_is_one_fence() {
    let project = Project::new();
    let shown = project.dacapo(&["plan", "--markdown"]).exits(0).stdout;
    let fences = shown.lines().filter(|line| line.starts_with("```")).count();
    assert!(
        shown.starts_with("### dacapo plan: `lesson3`, 6 action(s)\n\n```diff\n--- observed\n"),
        "{shown}"
    );
    assert_eq!(fences, 2, "{shown}");
    assert!(shown.ends_with("\n```\n"), "{shown}");
}

#[test]
fn every_action_of_a_plan_can_be_explained() {
    let project = Project::new();
    for (number, said) in
        [("1", "Only the public half"), ("2", "bills from the moment"), ("6", "It waits for: 1, 2, 3, 4, 5.")]
    {
        project.dacapo(&["plan", "--explain", number]).exits(0).says(said);
    }
    for number in ["0", "7"] {
        project.dacapo(&["plan", "--explain", number]).exits(3).says("counted from 1");
    }
}

#[test]
fn only_one_part_is_brought_and_what_it_needs() {
    let project = Project::new();
    project.dacapo(&["up", "--yes", "--only", "code"]).exits(0).says("left out by `--only`");
    assert!(project.server().join("lesson3/train.py").exists());
    assert!(!project.server().join("lesson3/export.pkl").exists());
    project.dacapo(&["plan", "--only", "code", "--detailed-exitcode"]).exits(0);
    project.dacapo(&["apply", "--yes", "--only", "artifacts"]).exits(0);
    assert!(project.server().join("lesson3/export.pkl").exists());
    project.on_server("python3 train.py");
    project.dacapo(&["down", "--yes", "--only", "artifacts"]).exits(0).says("stored as");
    assert_eq!(billing(&project).len(), 2, "the machine stays");
    project.dacapo(&["plan", "--only", "engine"]).exits(3).says("machine, code, artifacts, setup, notebook");
}

#[test]
fn what_only_leaves_out_protects_nothing() {
    let project = Project::new();
    project.dacapo(&["up", "--yes"]).exits(0);
    project.on_server("python3 train.py");
    project.dacapo(&["down", "--yes", "--only", "machine"]).exits(5).says("not deleted");
    assert_eq!(billing(&project).len(), 2);
}
