//! The code: fast-forwarded when that loses nothing, else shown.

use super::*;

/// The remote has moved on since the checkout was made.
fn behind(world: &mut Observed) {
    let checkout = its_checkout(world);
    checkout.head = Some(old());
    checkout.tips[0].commit = old();
    checkout.contains_wanted = false;
}

fn committed(world: &mut Observed) {
    let checkout = its_checkout(world);
    checkout.head = Some(mine());
    checkout.tips[0].commit = mine();
}

fn code_work(unpushed: &[&str], dirty: usize) -> Vec<Work> {
    vec![Work::Code { unpushed: unpushed.iter().map(|&name| name.to_owned()).collect(), dirty }]
}

#[test]
fn clean_and_behind_is_fast_forwarded() {
    let plan = changed(|_, world| behind(world));
    let kinds: Vec<_> = plan.actions.iter().map(|action| action.kind().clone()).collect();
    assert_eq!(kinds, [Kind::FastForward { from: old(), to: tip() }]);
    assert_eq!((plan.blocked, plan.work), (vec![], vec![]));
    assert_eq!(plan.observed.code.unwrap().commit, old());
    assert_eq!(plan.desired.code.unwrap().commit, tip());
}

#[test]
fn behind_with_work_in_the_way_is_blocked() {
    type Change = fn(&mut Observed);
    let ways: [(Change, Vec<Work>); 3] = [
        (|world| its_checkout(world).dirty.push(dirty("train.py", "modified")), code_work(&[], 1)),
        (|world| its_checkout(world).unfinished = vec!["merge".to_owned()], code_work(&[], 0)),
        (
            |world| {
                committed(world);
                its_checkout(world).contains_wanted = false;
                world.repo.head_behind = Some(false);
            },
            code_work(&["branch main"], 0),
        ),
    ];
    for (change, work) in ways {
        let plan = changed(|_, world| {
            behind(world);
            change(world);
        });
        assert_eq!(plan.blocked, [Blocked::BehindWithWork { to: tip() }]);
        assert_eq!(plan.work, work);
        assert_eq!(actions(&plan), [""; 0]);
        assert!(plan.is_refused());
    }
}

#[test]
fn whether_it_is_behind_is_shown_not_assumed() {
    let plan = changed(|_, world| {
        behind(world);
        world.repo.head_behind = None;
    });
    assert_eq!(plan.blocked, [Blocked::BehindWithWork { to: tip() }]);
}

#[test]
fn another_branchs_work_does_not_hold_up_a_fast_forward() {
    let plan = changed(|_, world| {
        behind(world);
        its_checkout(world).tips.push(named("branch try", mine()));
    });
    assert_eq!(actions(&plan), ["fast_forward"]);
    assert_eq!(plan.work, code_work(&["branch try"], 0));
}

#[test]
fn ahead_or_dirty_is_work_and_never_a_change() {
    let plan = changed(|_, world| committed(world));
    assert!(plan.is_empty());
    assert_eq!(plan.work, code_work(&["branch main"], 0));
    assert_eq!(plan.desired, plan.observed);
    let plan = changed(|_, world| its_checkout(world).dirty.push(dirty("new.py", "untracked")));
    assert!(plan.is_empty());
    assert_eq!(plan.work, code_work(&[], 1));
    assert_eq!(plan.desired, plan.observed);
}

#[test]
fn a_branch_that_the_user_checked_out_is_work() {
    let plan = changed(|_, world| {
        its_checkout(world).branch = Some("try".to_owned());
        its_checkout(world).tips.push(named("branch try", tip()));
    });
    assert!(plan.is_empty());
    assert_eq!(plan.work, code_work(&["try"], 0));
    let detached = changed(|_, world| its_checkout(world).branch = None);
    assert!(detached.is_empty());
    assert_eq!(detached.work, code_work(&["a detached HEAD"], 0));
    assert_eq!(detached.desired, detached.observed);
}

#[test]
fn a_branch_that_the_spec_left_behind_is_a_change() {
    let moved = |spec: &mut Spec, world: &mut Observed| {
        spec.repo.branch = "next".to_owned();
        world.repo.refs.as_mut().unwrap().insert("refs/heads/next".to_owned(), tip());
    };
    let plan = changed(moved);
    assert_eq!(plan.blocked, [Blocked::OtherBranch { found: Some("main".to_owned()) }]);
    assert_ne!(plan.desired.code, plan.observed.code);
    let followed = changed(|spec, world| {
        moved(spec, world);
        its_checkout(world).branch = Some("next".to_owned());
    });
    assert!(followed.is_empty(), "the user has followed it");
}

#[test]
fn a_checkout_that_is_missing_is_cloned_and_a_strange_one_is_left_alone() {
    assert_eq!(actions(&changed(|_, world| seen(world).checkout = None)), ["clone"]);
    type Change = fn(&mut Checkout);
    let strange: [(Change, &str); 3] = [
        (|checkout| checkout.broken = Some("it is a link".to_owned()), "it is a link"),
        (|checkout| checkout.remote = Some("git@else:x.git".to_owned()), "git@else:x.git"),
        (|checkout| checkout.remote = None, "`none`"),
    ];
    for (change, why) in strange {
        let plan = changed(|_, world| change(its_checkout(world)));
        assert!(matches!(&plan.blocked[..], [Blocked::Checkout { why: said }] if said.contains(why)));
        assert_eq!(actions(&plan), [""; 0]);
    }
}

#[test]
fn a_remote_that_cannot_be_asked_or_lacks_the_branch_is_an_error() {
    let error = refused(|_, world| {
        world.repo.refs = None;
        world.repo.unreachable = Some("permission denied".to_owned());
    });
    assert_eq!((error.kind, error.why), (ExitCode::Error, vec!["permission denied".to_owned()]));
    let error = refused(|spec, _| spec.repo.branch = "mian".to_owned());
    assert_eq!(error.hint.unwrap(), "did you mean `main`?");
    let ending = ending(|_, world| world.repo.refs = None);
    assert!(ending.is_refused(), "an end needs no commit, but its guard needs the remote");
}

#[test]
fn locked_brings_the_locked_commit_or_fails() {
    let locked = |commit: Option<String>, spec_in_repo: bool| {
        let (spec, mut world) = (spec(), observed());
        behind(&mut world);
        world.laptop.spec_in_repo = spec_in_repo;
        let lock = Lock { commit, ..super::super::lock(&spec, &world, None) };
        let lock = Lock {
            artifacts: [("model".to_owned(), LockedArtifact { version: V1.to_owned(), content: None })]
                .into(),
            ..lock
        };
        plan(Request { lock: Some(&lock), locked: true, ..Request::of(&spec) }, &world)
    };
    let plan = locked(Some(mine()), false).unwrap();
    assert_eq!(*plan.actions[0].kind(), Kind::FastForward { from: old(), to: mine() });
    assert!(locked(Some(old()), false).unwrap().is_empty(), "it is there already");
    assert_eq!(locked(None, false).unwrap_err().kind, ExitCode::Usage);
    let own = locked(None, true).unwrap();
    assert_eq!(*own.actions[0].kind(), Kind::FastForward { from: old(), to: tip() });
}

#[test]
fn set_up_ends_once_and_never_hides_what_was_made_meanwhile() {
    assert_eq!(actions(&changed(|_, world| seen(world).set_up = false)), ["set_up"]);
    let made = changed(|_, world| {
        seen(world).set_up = false;
        seen(world).files = Some(vec![NewFile { path: "notes.txt".to_owned(), size: 9 }]);
    });
    assert!(made.is_empty());
    let more = changed(|_, world| {
        seen(world).set_up = false;
        seen(world).more_files = 1;
    });
    assert!(more.is_empty());
    let unmarked = changed(|_, world| {
        seen(world).set_up = false;
        seen(world).files = None;
    });
    assert!(unmarked.is_empty(), "without any marker nobody knows what is new");
}
