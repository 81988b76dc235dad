//! The notebook server: agreement, what differs, and kernels that nobody may end.

use super::*;
use crate::facts::{Kernel, Notebook};
use crate::spec;

fn wanted() -> spec::Notebook {
    spec::Notebook {
        port: 8888,
        kind: spec::NotebookKind::JupyterLab,
        directory: ".".to_owned(),
        packages: Vec::new(),
    }
}

fn running() -> Notebook {
    Notebook { running: true, port: 8888, directory: ".".to_owned(), ..Notebook::default() }
}

fn kernel(idle: bool) -> Kernel {
    Kernel { document: Some("train.ipynb".to_owned()), idle }
}

/// The plan of a world in which the notebook server runs as the spec says, with one thing changed.
fn with_notebook(change: impl FnOnce(&mut Spec, &mut Observed)) -> Plan {
    changed(|spec, world| {
        spec.notebook = Some(wanted());
        seen(world).notebook = Some(running());
        change(spec, world);
    })
}

fn started(restarts: bool) -> Kind {
    let spec::Notebook { port, directory, packages, .. } = wanted();
    Kind::StartNotebook { port, directory, packages, restarts }
}

#[test]
fn one_that_runs_as_the_spec_says_plans_nothing_and_is_told_of() {
    let plan = with_notebook(|_, world| {
        seen(world).notebook.as_mut().unwrap().kernels = vec![kernel(true), kernel(false)];
    });
    assert!(plan.is_empty());
    assert_eq!(plan.observed, plan.desired);
    let told = Note::NotebookRuns {
        version: None,
        port: 8888,
        given: false,
        kernels: 2,
        busy: vec!["train.ipynb".to_owned()],
        terminals: 0,
    };
    assert_eq!(plan.notes, [told]);
}

#[test]
fn one_that_never_ran_or_has_ended_is_started() {
    let plan = with_notebook(|_, world| seen(world).notebook = None);
    assert_eq!(plan.actions[0].kind(), &started(false));
    let ended = Notebook { running: false, why: Some("it has ended".to_owned()), ..running() };
    let plan = with_notebook(|_, world| seen(world).notebook = Some(ended));
    assert_eq!((plan.actions.len(), plan.actions[0].kind()), (1, &started(false)));
    assert_eq!(plan.notes, [Note::NotebookSilent { why: "it has ended".to_owned() }]);
    assert_eq!((plan.observed.notebook, plan.desired.notebook.unwrap().port), (None, 8888));
}

#[test]
fn on_a_new_server_it_comes_after_code_and_artifacts_and_does_not_hold_up_the_mark() {
    let (_, world) = ended_world();
    let spec = Spec { notebook: Some(wanted()), ..spec() };
    let plan = try_plan(&spec, &world, &[]).unwrap();
    assert_eq!(actions(&plan), ["create", "ready", "clone", "pull", "start_notebook", "set_up"]);
    assert_eq!(plan.actions[4].after(), [0, 1, 2, 3]);
    assert_eq!(plan.actions[5].after(), [0, 1, 2, 3]);
}

#[test]
fn what_differs_restarts_it_unless_a_kernel_runs() {
    type Change = fn(&mut spec::Notebook);
    let changes: [Change; 3] = [
        |notebook| notebook.port = 8889,
        |notebook| notebook.directory = "notebooks".to_owned(),
        |notebook| notebook.packages = vec!["pandas".to_owned()],
    ];
    for change in changes {
        let plan = with_notebook(|spec, _| change(spec.notebook.as_mut().unwrap()));
        assert_eq!(actions(&plan), ["start_notebook"]);
        assert!(matches!(plan.actions[0].kind(), Kind::StartNotebook { restarts: true, .. }));
        for idle in [true, false] {
            let plan = with_notebook(|spec, world| {
                change(spec.notebook.as_mut().unwrap());
                seen(world).notebook.as_mut().unwrap().kernels.push(kernel(idle));
            });
            let kernels = vec!["train.ipynb".to_owned()];
            assert_eq!(plan.blocked, [Blocked::NotebookInUse { kernels, restarts: true }]);
            assert!(plan.actions.is_empty(), "what a kernel holds is lost with it");
        }
    }
}

#[test]
fn without_its_table_one_of_ours_ends_and_the_images_own_stays() {
    let plan = with_notebook(|spec, _| spec.notebook = None);
    assert_eq!(actions(&plan), ["stop_notebook"]);
    let plan = with_notebook(|spec, world| {
        spec.notebook = None;
        seen(world).notebook.as_mut().unwrap().kernels.push(kernel(true));
    });
    let kernels = vec!["train.ipynb".to_owned()];
    assert_eq!(plan.blocked, [Blocked::NotebookInUse { kernels, restarts: false }]);
    let plan = with_notebook(|spec, world| {
        spec.notebook = None;
        seen(world).notebook.as_mut().unwrap().given = true;
    });
    assert!(plan.is_empty());
    assert_eq!(plan.observed.notebook, None, "it is none of the spec's");
}

#[test]
fn the_images_own_is_used_as_it_is() {
    let plan = with_notebook(|spec, world| {
        let notebook = spec.notebook.as_mut().unwrap();
        notebook.packages = vec!["pandas".to_owned()];
        notebook.directory = "notebooks".to_owned();
        seen(world).notebook.as_mut().unwrap().given = true;
    });
    assert!(plan.is_empty());
    assert_eq!(plan.observed, plan.desired);
}

#[test]
fn a_server_that_was_not_looked_at_says_nothing_about_its_notebook() {
    let plan = with_notebook(|_, world| world.server = Server::Unreachable("timed out".to_owned()));
    assert_eq!((plan.actions.len(), plan.observed.notebook, plan.desired.notebook), (0, None, None));
}

#[test]
fn the_end_says_what_it_cannot_see_and_refuses_nothing_for_it() {
    let documents = vec!["train.ipynb".to_owned()];
    for keep_disk in [false, true] {
        let mut world = observed();
        seen(&mut world).notebook = Some(Notebook { documents: documents.clone(), ..running() });
        let spec = Spec { state: State::Absent, notebook: Some(wanted()), ..spec() };
        let plan = plan(Request { keep_disk, ..Request::of(&spec) }, &world).unwrap();
        assert!(
            plan.notes.contains(&Note::MayBeUnsaved { documents: documents.clone() }),
            "{:?}",
            plan.notes
        );
        assert!(!plan.is_refused());
    }
}
