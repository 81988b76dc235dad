//! Set-up: agreement, what makes steps run again, and the packages of the lock.

use super::*;
use crate::{facts, spec};

fn wanted() -> spec::SetUp {
    spec::SetUp {
        run: vec!["one".to_owned(), "two".to_owned()],
        inputs: vec!["needs.txt".to_owned()],
        timeout: "1h".parse().unwrap(),
    }
}

fn given(text: &str) -> BTreeMap<String, ContentHash> {
    [("needs.txt".to_owned(), hash(text))].into()
}

fn ran(run: &str) -> facts::RanStep {
    facts::RanStep { run: run.to_owned(), inputs: given("1") }
}

fn done() -> facts::SetUp {
    let packages = BTreeMap::from([("tiny".to_owned(), "1.0".to_owned())]);
    facts::SetUp {
        steps: vec![ran("one"), ran("two")],
        broke: None,
        inputs: [("needs.txt".to_owned(), ArtifactFile::File { size: 1, content: hash("1") })].into(),
        freeze: Some(packages.clone()),
        packages,
    }
}

/// The plan of a world in which every step has run as the spec says, with one thing changed.
fn with_set_up(change: impl FnOnce(&mut Spec, &mut facts::SetUp)) -> Plan {
    changed(|spec, world| {
        spec.setup = Some(wanted());
        let mut there = done();
        change(spec, &mut there);
        seen(world).setup = Some(there);
    })
}

fn steps(plan: &Plan) -> Vec<(usize, StepReason)> {
    let step = |action: &Action| match action.kind() {
        Kind::RunStep { position, why, .. } => Some((*position, why.clone())),
        _ => None,
    };
    plan.actions.iter().filter_map(step).collect()
}

#[test]
fn steps_that_ran_as_the_spec_says_plan_nothing() {
    let plan = with_set_up(|_, _| {});
    assert!(plan.is_empty());
    assert_eq!(plan.observed, plan.desired);
    assert_eq!(plan.notes, []);
}

#[test]
fn each_reason_is_told_and_every_step_behind_runs_too() {
    use StepReason::{Broke, Earlier, Inputs, New, Text};
    type Change = fn(&mut facts::SetUp);
    let cases: [(Change, Vec<(usize, StepReason)>); 6] = [
        (|there| there.steps.clear(), vec![(0, New), (1, New)]),
        (|there| drop(there.steps.pop()), vec![(1, New)]),
        (|there| there.steps[1].run = "2".to_owned(), vec![(1, Text { ran: "2".to_owned() })]),
        (|there| there.steps[0].run = "1".to_owned(), vec![(0, Text { ran: "1".to_owned() }), (1, Earlier)]),
        (
            |there| there.steps[0].inputs = given("0"),
            vec![(0, Inputs { paths: vec!["needs.txt".to_owned()] }), (1, Earlier)],
        ),
        (
            |there| {
                there.steps.pop();
                there.broke = Some(facts::BrokenStep { run: "two".to_owned(), code: Some(7) });
            },
            vec![(1, Broke { code: Some(7) })],
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(steps(&with_set_up(|_, there| change(there))), expected);
    }
}

#[test]
fn on_a_new_server_it_comes_after_code_and_artifacts_and_before_the_notebook_and_the_mark() {
    let (_, world) = ended_world();
    let spec = Spec { setup: Some(wanted()), ..spec() };
    let plan = try_plan(&spec, &world, &[]).unwrap();
    assert_eq!(actions(&plan), ["create", "ready", "clone", "pull", "run_step", "run_step", "set_up"]);
    assert_eq!(plan.actions[6].after(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn an_input_that_is_gone_blocks_steps_and_nothing_else() {
    let plan = with_set_up(|_, there| {
        there.inputs.insert("needs.txt".to_owned(), ArtifactFile::Missing);
    });
    assert_eq!(plan.blocked, [Blocked::SetUpInput { path: "needs.txt".to_owned(), why: None }]);
    assert_eq!((steps(&plan), plan.observed), (Vec::new(), plan.desired));
}

/// Plans with this in the lock.
fn locked(locked: bool, packages: &[&str]) -> Plan {
    let (mut spec, mut world) = (spec(), observed());
    spec.setup = Some(wanted());
    seen(&mut world).setup = Some(done());
    let mut lock = lock(&spec, &world, None);
    assert_eq!(lock.packages, Some(vec!["tiny==1.0".to_owned()]), "what set-up ended with");
    lock.packages = Some(packages.iter().map(|&package| package.to_owned()).collect());
    plan(Request { lock: Some(&lock), locked, ..Request::of(&spec) }, &world).unwrap()
}

#[test]
fn packages_that_drifted_are_told_and_installed_only_where_the_lock_is_to_hold() {
    assert_eq!(locked(false, &["tiny==1.0"]).notes, []);
    assert!(locked(true, &["tiny==1.0"]).is_empty());
    let drifted = locked(false, &["tiny==0.9"]);
    assert!(drifted.is_empty());
    let [Note::PackagesDrifted { differences }] = drifted.notes.as_slice() else { panic!("{drifted:?}") };
    assert_eq!((differences.len(), differences[0].made.as_deref()), (1, Some("0.9")));
    let held = locked(true, &["tiny==0.9"]);
    assert_eq!(held.actions[0].kind(), &Kind::InstallPackages { packages: vec!["tiny==0.9".to_owned()] });
}

#[test]
fn a_spec_without_set_up_speaks_of_none() {
    let plan = with_set_up(|spec, there| {
        spec.setup = None;
        there.steps.clear();
    });
    assert!(plan.is_empty());
    assert_eq!(plan.observed.setup, None);
}
