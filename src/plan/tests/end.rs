//! The end: what is saved, what stands against it, what is never deleted.

use super::*;

fn delete(volumes: &[&str]) -> Kind {
    Kind::Delete { machine: ID.to_owned(), volumes: volumes.iter().map(|&id| id.to_owned()).collect() }
}

fn kinds(plan: &Plan) -> Vec<Kind> {
    plan.actions.iter().map(|action| action.kind().clone()).collect()
}

fn against(plan: &Plan) -> Vec<Guard> {
    plan.guards.iter().filter(|state| !state.findings.is_empty()).map(|state| state.guard).collect()
}

fn evidence(plan: &Plan) -> Vec<Shown> {
    plan.guards.iter().flat_map(|state| state.evidence.clone()).collect()
}

#[test]
fn a_clean_server_goes_with_its_evidence_shown() {
    let plan = ending(|_, _| {});
    assert_eq!(kinds(&plan), [delete(&["os-m-1"])]);
    assert!(!plan.is_refused());
    let shown = [
        Shown::Pushed { tips: 1, head: Some(tip()) },
        Shown::Stored { artifact: "model".to_owned(), version: V1.to_owned() },
        Shown::NoNewFiles,
        Shown::NoProcesses,
    ];
    assert_eq!(evidence(&plan), shown);
    assert_eq!((plan.desired, plan.notes), (World::default(), vec![]));
}

#[test]
fn work_in_an_artifact_is_stored_before_the_end() {
    let plan = ending(|_, world| drop(seen(world).artifacts.insert("model".to_owned(), file("mine"))));
    assert_eq!(actions(&plan), ["store", "delete"]);
    assert_eq!(plan.actions[1].after(), [0], "the end waits for the store");
    assert!(!plan.is_refused());
    assert!(evidence(&plan).contains(&Shown::WillBeStored { artifact: "model".to_owned() }));
    assert_eq!(plan.work.len(), 1);
}

#[test]
fn a_pinned_artifact_with_work_is_warned_about() {
    for wanted in [Wanted::Named(V1.to_owned()), Wanted::Content(hash("v1"))] {
        let version = match &wanted {
            Wanted::Named(name) => name.clone(),
            _ => format!("content:{}", hash("v1")),
        };
        let plan = ending(|spec, world| {
            spec.artifacts.insert("model".to_owned(), model(wanted));
            seen(world).artifacts.insert("model".to_owned(), file("mine"));
        });
        assert_eq!(plan.notes, [Note::Pinned { artifact: "model".to_owned(), version }]);
    }
}

#[test]
fn a_missing_or_empty_artifact_is_reported_and_blocks_nothing() {
    for there in [ArtifactFile::Missing, ArtifactFile::File { size: 0, content: hash("") }] {
        let plan = ending(|_, world| drop(seen(world).artifacts.insert("model".to_owned(), there)));
        assert_eq!(plan.notes, [Note::MissingArtifact { artifact: "model".to_owned() }]);
        assert!(evidence(&plan).contains(&Shown::NothingThere { artifact: "model".to_owned() }));
        assert!(!plan.is_refused());
    }
}

#[test]
fn an_artifact_too_large_to_store_blocks_and_its_guard_stands() {
    let size = 150_000_001;
    let large = |size| ArtifactFile::File { size, content: hash("large") };
    let plan = ending(|_, world| drop(seen(world).artifacts.insert("model".to_owned(), large(size))));
    assert_eq!(
        plan.blocked,
        [Blocked::TooLarge {
            name: "model".to_owned(),
            size,
            large_files: crate::facts::LargeFiles::NoRefreshToken
        }]
    );
    assert_eq!(against(&plan), [Guard::Artifacts], "the guard of the end stands on its own");
    assert_eq!(actions(&plan), ["delete"]);
    let fits = ending(|_, world| drop(seen(world).artifacts.insert("model".to_owned(), large(size - 1))));
    assert_eq!((fits.blocked.len(), actions(&fits)), (0, vec!["store".to_owned(), "delete".to_owned()]));
}

#[test]
fn each_kind_of_work_stands_against_the_end_by_its_own_guard() {
    type Change = fn(&mut Observed);
    let work: [(Change, Guard); 10] = [
        (|world| world.server = Server::Unreachable("timed out".to_owned()), Guard::Server),
        (|world| world.server = Server::None, Guard::Server),
        (|world| its_checkout(world).dirty.push(dirty("new.py", "untracked")), Guard::Repo),
        (|world| its_checkout(world).tips.push(named("stash@{0}", mine())), Guard::Repo),
        (|world| world.repo.refs = None, Guard::Repo),
        (|world| its_checkout(world).remote = Some("git@else:x.git".to_owned()), Guard::Repo),
        (|world| its_checkout(world).tips.clear(), Guard::Repo),
        (|world| seen(world).artifacts.clear(), Guard::Artifacts),
        (|world| seen(world).files = None, Guard::Files),
        (
            |world| {
                let process = Process { pid: 7, command: "python3".to_owned(), why: "gpu".to_owned() };
                seen(world).processes.push(process);
            },
            Guard::Processes,
        ),
    ];
    for (number, (change, guard)) in work.into_iter().enumerate() {
        let plan = ending(|_, world| {
            change(world);
            if number == 6 {
                its_checkout(world).head = Some(mine());
            }
        });
        assert_eq!(against(&plan), [guard], "case {number}");
        assert!(plan.is_refused());
        assert_eq!(actions(&plan), ["delete"], "it is planned, and refused when applied");
    }
}

#[test]
fn a_named_loss_is_shown_as_discarded() {
    let file = NewFile { path: "notes.txt".to_owned(), size: 9 };
    let plan = changed_with(&["files:notes.txt".parse().unwrap()], |spec, world| {
        spec.state = State::Absent;
        seen(world).files = Some(vec![file]);
    });
    assert!(!plan.is_refused());
    let state = plan.guards.iter().find(|state| state.guard == Guard::Files).unwrap();
    assert_eq!((state.findings.len(), state.discarded.len(), state.evidence.len()), (0, 1, 0));
}

#[test]
fn a_server_that_cannot_be_looked_at_goes_only_when_that_loss_is_named() {
    let unseen = |spec: &mut Spec, world: &mut Observed| {
        spec.state = State::Absent;
        set_status(world, "offline");
    };
    assert_eq!(against(&changed(unseen)), [Guard::Server]);
    assert!(!changed_with(&[Discard::Unreachable], unseen).is_refused());
}

#[test]
fn a_machine_that_never_was_used_goes_without_evidence() {
    for status in ["ordered", "provisioning", "running", "offline", "no_capacity", "error", "unknown"] {
        let plan = ending(|_, world| {
            set_status(world, status);
            world.server = Server::None;
            rented(world).login = false;
        });
        assert_eq!(kinds(&plan), [delete(&["os-m-1"])], "{status}");
        assert_eq!(evidence(&plan), [Shown::NeverUsed], "{status}");
        assert!(!plan.is_refused());
    }
}

#[test]
fn a_machine_that_is_going_by_our_doing_is_waited_for() {
    let plan = ending(|_, world| {
        set_status(world, "deleting");
        rented(world).ending = Some(ended(ID, &["os-m-1"]));
    });
    assert_eq!(kinds(&plan), [delete(&["os-m-1"])]);
    assert!(!plan.is_refused(), "it was judged when that was decided");
    let by_others = ending(|_, world| set_status(world, "deleting"));
    let unsettled = Blocked::Unsettled { machine: ID.to_owned(), status: "deleting".to_owned() };
    assert_eq!((by_others.blocked, by_others.actions.len()), (vec![unsettled], 0));
}

#[test]
fn gone_by_our_doing_is_forgotten_and_gone_without_it_is_lost() {
    let gone = |world: &mut Observed| {
        set_status(world, "discontinued");
        world.cloud.volumes.clear();
    };
    let lost = Blocked::Lost { machine: ID.to_owned(), commit: Some(tip()), disk: None };
    let forget = Kind::Forget { machine: ID.to_owned() };
    for state in [State::Running, State::Absent] {
        let plan = changed(|spec, world| {
            spec.state = state;
            gone(world);
        });
        assert_eq!((&plan.blocked[..], plan.actions.len()), (&[lost.clone()][..], 0));
        let named = changed_with(&[Discard::Gone], |spec, world| {
            spec.state = state;
            gone(world);
        });
        assert_eq!((&kinds(&named)[0], named.blocked.len()), (&forget, 0));
        let ours = changed(|spec, world| {
            spec.state = state;
            gone(world);
            rented(world).ending = Some(ended(ID, &["os-m-1"]));
        });
        assert_eq!((&kinds(&ours)[0], ours.blocked.len()), (&forget, 0));
    }
}

#[test]
fn absence_is_not_believed_while_a_create_may_still_arrive() {
    let intent = |noted_at| {
        Some(Intent {
            nonce: "n-2".to_owned(),
            noted_at,
            unclear: true,
            asked: asked(),
            boots: None,
            host_keys: Vec::new(),
        })
    };
    let settles = |change: &dyn Fn(&mut Observed)| {
        let (spec, mut world) = ended_world();
        change(&mut world);
        actions(&try_plan(&spec, &world, &[]).unwrap())
    };
    let long_ago = now() - SignedDuration::from_hours(1);
    assert_eq!(settles(&|world| world.record.intent = intent(now())), ["settle"]);
    assert_eq!(settles(&|world| world.record.intent = intent(long_ago)), ["settle"], "it is to be closed");
    assert_eq!(settles(&|world| world.record.doubt = Some(now())), ["settle"]);
    assert_eq!(settles(&|world| world.record.doubt = Some(long_ago)), [""; 0]);
    let going = |world: &mut Observed| world.cloud.instances.push(instance("m-7", "deleting"));
    assert_eq!(settles(&going), ["settle"], "it bills until it is gone");
    let (spec, mut world) = (spec(), observed());
    never_rented(&mut world);
    world.record.intent = intent(now());
    assert_eq!(actions(&try_plan(&spec, &world, &[]).unwrap())[0], "create", "creating waits by itself");
}

#[test]
fn a_volume_that_somebody_attached_stays_and_is_said_to_bill() {
    let plan = ending(|_, world| {
        world.cloud.instances[0].volumes.push("data".to_owned());
        world.cloud.volumes.push(Volume { tags: BTreeMap::new(), ..volume("data", Some(ID)) });
    });
    assert_eq!(kinds(&plan), [delete(&["os-m-1"])]);
    assert!(matches!(&plan.notes[..], [Note::LeftVolume { id, .. }] if id == "data"));
}

#[test]
fn a_leftover_volume_goes_only_where_a_receipt_explains_it_or_it_is_named() {
    let left = |change: &dyn Fn(&mut Observed), discards: &[Discard]| {
        let (spec, mut world) = ended_world();
        world.cloud.volumes.push(volume("os-m-1", None));
        change(&mut world);
        let plan = try_plan(&spec, &world, discards).unwrap();
        (actions(&plan), plan.notes.len())
    };
    let deleted = (vec!["delete_volume".to_owned()], 0);
    let shown = (vec![], 1);
    assert_eq!(left(&|_| {}, &[]), deleted, "its machine was deleted with it");
    assert_eq!(left(&|world| world.record.ended = None, &[]), shown);
    let named = [Discard::Volume("os-m-1".to_owned())];
    assert_eq!(left(&|world| world.record.ended = None, &named), deleted);
    let untagged = |world: &mut Observed| world.cloud.volumes[0].tags.clear();
    assert_eq!(left(&untagged, &named), (vec![], 0), "a foreign one isn't even ours to show");
    let attached = |world: &mut Observed| {
        world.cloud.volumes[0] = volume("os-m-1", Some("m-9"));
        let tags = record::tags("lesson4", "abcd", "n");
        world.cloud.instances.push(Instance { tags, ..instance("m-9", "running") });
    };
    assert_eq!(left(&attached, &named), (vec![], 1), "another machine has it now, and is what is shown");
    let lagging = |world: &mut Observed| world.cloud.volumes[0] = volume("os-m-1", Some(ID));
    assert_eq!(left(&lagging, &[]), shown, "it says attached, but its machine is gone");
    let cloning = |world: &mut Observed| world.cloud.volumes[0].status = "cloning".to_owned();
    assert_eq!(left(&cloning, &[]), shown, "it bills, and can't be deleted now");
}

/// A deletion that was decided and never carried out says nothing of what was worked on since.
#[test]
fn a_receipt_explains_a_volume_only_once_the_machine_is_gone() {
    let detached = |status: &str, ending: bool| {
        changed(|spec, world| {
            spec.state = State::Absent;
            set_status(world, status);
            rented(world).ending = ending.then(|| ended(ID, &["os-m-1"]));
            world.cloud.volumes = vec![volume("os-m-1", None)];
            if status != "discontinued" {
                world.cloud.instances[0].volumes.clear();
            }
        })
    };
    assert_eq!(actions(&detached("discontinued", true)), ["forget", "delete_volume"]);
    let alive = detached("offline", true);
    assert_eq!(actions(&alive), ["delete"]);
    assert!(matches!(&alive.notes[..], [Note::LeftVolume { .. }]));
    let lost = detached("discontinued", false);
    assert_eq!(actions(&lost), [""; 0]);
    assert!(matches!(&lost.notes[..], [Note::LeftVolume { .. }]));
}

#[test]
fn the_disk_of_a_machine_that_vanished_before_anybody_was_on_it_goes_too() {
    let vanished = |state: State, change: &dyn Fn(&mut Observed)| {
        let plan = changed(|spec, world| {
            spec.state = state;
            set_status(world, "discontinued");
            rented(world).login = false;
            world.cloud.volumes = vec![volume("os-m-1", None)];
            change(world);
        });
        actions(&plan)
    };
    assert_eq!(vanished(State::Absent, &|_| {}), ["forget", "delete_volume"]);
    assert_eq!(vanished(State::Running, &|_| {})[..2], ["forget", "create"]);
    assert_eq!(vanished(State::Running, &|_| {}).last().unwrap(), "delete_volume");
    let silent = |world: &mut Observed| {
        world.cloud.instances[0].os_volume = None;
        rented(world).os_volume = Some("os-m-1".to_owned());
    };
    assert_eq!(vanished(State::Absent, &silent), ["forget", "delete_volume"], "its record knows the disk");
    let other = |world: &mut Observed| world.cloud.volumes[0] = volume("other", None);
    assert_eq!(vanished(State::Absent, &other), ["forget"]);
    let booted = |world: &mut Observed| rented(world).booted = Some(super::disk::disk());
    assert!(!vanished(State::Absent, &booted).contains(&"delete_volume".to_owned()), "it holds work");
}

#[test]
fn a_silent_server_needs_no_new_approval_because_its_silence_is_worded_anew() {
    let silent = |state: State, why: &str, discards: &[Discard]| {
        changed_with(discards, |spec, world| {
            spec.state = state;
            world.server = Server::Unreachable(why.to_owned());
        })
    };
    for state in [State::Running, State::Absent] {
        for discards in [&[][..], &[Discard::Unreachable]] {
            let approved = silent(state, "timed out", discards);
            assert!(silent(state, "connection reset", discards).agrees_with(&approved), "{approved:?}");
        }
    }
    let named = silent(State::Absent, "timed out", &[Discard::Unreachable]);
    assert!(!silent(State::Absent, "timed out", &[]).agrees_with(&named));
}

#[test]
fn whichever_programs_run_the_approval_is_the_same_but_not_where_there_were_none() {
    let running = |pids: &[u32], discards: &[Discard]| {
        changed_with(discards, |spec, world| {
            spec.state = State::Absent;
            let program = |pid| Process { pid, command: format!("sleep {pid}"), why: "checkout".to_owned() };
            seen(world).processes = pids.iter().map(|pid| program(*pid)).collect();
        })
    };
    for discards in [&[][..], &[Discard::Processes]] {
        let approved = running(&[7], discards);
        assert!(running(&[8, 9], discards).agrees_with(&approved));
    }
    assert!(!running(&[7], &[]).agrees_with(&running(&[], &[])), "they stand against it now");
    assert!(!running(&[], &[]).agrees_with(&running(&[7], &[])), "nothing stands against it any more");
    assert!(!running(&[7], &[]).agrees_with(&running(&[7], &[Discard::Processes])));
}

fn saving(change: impl FnOnce(&mut Checkout)) -> Plan {
    ending(|spec, world| {
        spec.repo.on_absent = OnAbsent::SaveBranch;
        change(its_checkout(world));
    })
}

fn snapshot() -> String {
    "5".repeat(40)
}

fn carried(path: &str) -> Dirty {
    Dirty { carried: true, ..dirty(path, "untracked") }
}

#[test]
fn what_git_can_carry_is_pushed_before_the_end_where_the_spec_says_so() {
    let work = |checkout: &mut Checkout| {
        checkout.snapshot = Some(snapshot());
        checkout.dirty.push(carried("new.py"));
        checkout.tips.push(named("stash@{0}", mine()));
        checkout.tips.push(Tip { tag: Some(tip()), ..named("tag best", tip()) });
    };
    let plan = saving(work);
    let expected = Kind::SaveBranch {
        snapshot: Some(snapshot()),
        files: vec![("new.py".to_owned(), "untracked".to_owned(), Some(1))],
        tips: vec![("stash@{0}".to_owned(), mine())],
        tags: vec![("best".to_owned(), tip())],
    };
    assert_eq!(kinds(&plan), [expected, delete(&["os-m-1"])]);
    assert_eq!((against(&plan), plan.actions[1].after()), (vec![], &[0][..]), "the end waits for the push");
    assert!(evidence(&plan).contains(&Shown::WillBeSaved { files: 1, tips: 1 }));
    let refusing = ending(|_, world| work(its_checkout(world)));
    assert_eq!((actions(&refusing), against(&refusing)), (vec!["delete".to_owned()], vec![Guard::Repo]));
}

#[test]
fn what_saving_leaves_out_stands_against_the_end() {
    let left: [fn(&mut Checkout); 6] = [
        |checkout| {
            checkout.dirty.push(Dirty { refused: Some("a key".to_owned()), ..dirty(".env", "untracked") })
        },
        |checkout| checkout.dirty.push(dirty("lib/x", "modified")),
        |checkout| {
            checkout.tips.push(Tip { refused: Some("a key".to_owned()), ..named("stash@{0}", mine()) })
        },
        |checkout| checkout.unfinished.push("merge".to_owned()),
        |checkout| checkout.nested.push(crate::facts::Nested::default()),
        |checkout| checkout.lfs.push(NewFile { path: "model.bin".to_owned(), size: 1 }),
    ];
    for (number, leave) in left.into_iter().enumerate() {
        let plan = saving(|checkout| {
            checkout.snapshot = Some(snapshot());
            checkout.dirty.push(carried("new.py"));
            leave(checkout);
        });
        assert_eq!(actions(&plan), ["save_branch", "delete"], "case {number}");
        let findings: usize = plan.guards.iter().map(|state| state.findings.len()).sum();
        assert_eq!((findings, against(&plan)), (1, vec![Guard::Repo]), "case {number}");
    }
}

#[test]
fn what_the_remote_has_from_an_earlier_save_is_not_pushed_again() {
    let plan = ending(|spec, world| {
        spec.repo.on_absent = OnAbsent::SaveBranch;
        its_checkout(world).snapshot = Some(snapshot());
        its_checkout(world).dirty.push(carried("new.py"));
        world.repo.contained.insert(snapshot(), true);
    });
    assert_eq!((actions(&plan), against(&plan)), (vec!["delete".to_owned()], vec![]));
    let moved_on = saving(|checkout| {
        checkout.remote = Some("git@else:x.git".to_owned());
        checkout.snapshot = Some(snapshot());
        checkout.dirty.push(carried("new.py"));
    });
    assert_eq!(actions(&moved_on), ["delete"], "nothing is pushed to a remote that isn't the spec's");
}
