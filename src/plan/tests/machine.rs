//! The machine: what is created, what is kept, what is for a person to decide.

use super::*;

fn candidates(plan: &Plan) -> Vec<(String, String, bool)> {
    let kind = plan.actions.iter().find_map(|action| match action.kind() {
        Kind::Create { candidates, .. } => Some(candidates.clone()),
        _ => None,
    });
    kind.unwrap().into_iter().map(|c| (c.r#type, c.location, c.in_stock)).collect()
}

fn shown(found: &[(String, String, bool)]) -> Vec<(&str, &str, bool)> {
    found.iter().map(|(name, place, stock)| (name.as_str(), place.as_str(), *stock)).collect()
}

fn fresh(change: impl FnOnce(&mut Spec, &mut Observed)) -> Plan {
    changed(|spec, world| {
        never_rented(world);
        change(spec, world);
    })
}

#[test]
fn candidates_come_in_the_specs_order_and_those_in_stock_first() {
    let found = candidates(&fresh(|_, _| {}));
    assert_eq!(
        shown(&found),
        [
            ("big", "FIN-03", true),
            ("small", "FIN-01", true),
            ("big", "FIN-01", false),
            ("small", "FIN-03", false)
        ]
    );
}

#[test]
fn without_a_location_any_will_do() {
    let found = candidates(&fresh(|spec, world| {
        spec.instance.locations.clear();
        spec.instance.types.truncate(1);
        world.cloud.locations.reverse();
    }));
    assert_eq!(shown(&found), [("big", "FIN-03", true), ("big", "FIN-01", false), ("big", "ICE-01", false)]);
}

#[test]
fn no_stock_is_a_note_because_stock_is_a_hint() {
    let plan = fresh(|_, world| world.cloud.stock.clear());
    assert_eq!(plan.notes, [Note::OutOfStock]);
    assert_eq!(candidates(&plan).len(), 4);
    let plan = fresh(|spec, world| {
        spec.instance.locations.clear();
        world.cloud.locations.clear();
        world.cloud.stock.clear();
        world.cloud.locations.push("FIN-01".to_owned());
    });
    assert_eq!(plan.notes, [Note::OutOfStock]);
}

#[test]
fn a_key_that_the_account_lacks_is_registered_first() {
    let plan = fresh(|_, world| world.cloud.keys.clear());
    assert_eq!(actions(&plan)[..2], ["register_key", "create"]);
    assert_eq!(*plan.actions[0].kind(), Kind::RegisterKey { name: "dacapo-lesson3".to_owned(), key: key() });
    let kept = changed(|_, world| world.cloud.keys.clear());
    assert!(kept.is_empty(), "keys are read at creation only");
}

#[test]
fn what_the_cloud_does_not_offer_is_refused_with_the_nearest_name() {
    type Change = fn(&mut Spec);
    let wrong: [(Change, &str, &str); 4] = [
        (|spec| spec.instance.types = vec!["smal".to_owned()], "`smal`", "did you mean `small`?"),
        (|spec| spec.instance.locations = vec!["FIN-02".to_owned()], "`FIN-02`", "did you mean `FIN-0"),
        (
            |spec| spec.instance.image = "ubuntu-24.4".to_owned(),
            "`ubuntu-24.4`",
            "did you mean `ubuntu-24.04`?",
        ),
        (|spec| spec.instance.types = vec!["9H100.XXL".to_owned()], "`9H100.XXL`", "name one of these"),
    ];
    for (change, what, hint) in wrong {
        let error = refused(|spec, world| {
            never_rented(world);
            change(spec);
        });
        assert_eq!(error.kind, ExitCode::Usage, "{error}");
        assert!(error.what.contains(what), "{error}");
        assert!(error.why[0].starts_with("it offers `"), "{error}");
        assert!(error.hint.as_ref().is_some_and(|text| text.contains(hint)), "{error:?}");
    }
}

#[test]
fn the_offer_is_asked_only_when_something_is_to_be_ordered() {
    let plan = changed(|_, world| world.cloud.types.clear());
    assert!(plan.is_empty());
}

#[test]
fn an_image_that_a_type_cannot_boot_is_refused() {
    let error = refused(|spec, world| {
        never_rented(world);
        spec.instance.image = "windows".to_owned();
    });
    assert_eq!(error.kind, ExitCode::Usage);
    assert!(error.why[0].contains("`debian-12`, `ubuntu-24.04`"), "{error:?}");
    let by_id = fresh(|spec, _| spec.instance.image = "id-of-debian-12".to_owned());
    assert_eq!(actions(&by_id)[0], "create", "an id stands for its slug");
    let silent = fresh(|spec, world| {
        spec.instance.image = "windows".to_owned();
        world.cloud.types.iter_mut().for_each(|offer| offer.images.clear());
    });
    assert_eq!(actions(&silent)[0], "create", "the API doesn't say, so it decides");
}

#[test]
fn locked_takes_the_locked_machine_or_nothing() {
    let locked = |change: fn(&mut Spec, &mut Lock)| {
        let (mut spec, mut world) = (spec(), observed());
        let mut lock = super::super::lock(&spec, &world, None);
        never_rented(&mut world);
        change(&mut spec, &mut lock);
        plan(Request { lock: Some(&lock), locked: true, ..Request::of(&spec) }, &world)
    };
    let found = candidates(&locked(|_, _| {}).unwrap());
    assert_eq!(shown(&found), [("small", "FIN-01", true)]);
    let error = locked(|spec, _| spec.instance.image = "debian-12".to_owned()).unwrap_err();
    assert_eq!(error.kind, ExitCode::Usage);
    let error = locked(|_, lock| lock.machine = None).unwrap_err();
    assert!(error.what.contains("names no machine"), "{error}");
}

#[test]
fn each_status_gets_what_it_needs() {
    let story = |status: &str, login: bool| {
        let plan = changed(|_, world| {
            set_status(world, status);
            rented(world).login = login;
            if !login {
                world.server = Server::None;
            }
        });
        (actions(&plan), plan.blocked)
    };
    let bring = ["ready", "clone", "pull", "set_up"];
    for status in ["ordered", "provisioning", "running"] {
        assert_eq!(story(status, false), (bring.map(str::to_owned).to_vec(), vec![]), "{status}");
    }
    assert_eq!(story("offline", false).0, ["start", "ready", "clone", "pull", "set_up"]);
    assert_eq!(story("offline", true).0, ["start", "ready"]);
    assert_eq!(story("provisioning", true).0, ["ready"]);
    for status in ["unknown", "notfound", "deleting", "error", "no_capacity", "newly invented"] {
        let unsettled = Blocked::Unsettled { machine: ID.to_owned(), status: status.to_owned() };
        assert_eq!(story(status, true), (vec![], vec![unsettled]), "{status}");
    }
    assert_eq!(story("discontinued", true).0, ["recover", "create", "ready"]);
    assert_eq!(story("discontinued", false).0[..2], ["forget", "create"]);
    assert_eq!(story("no_capacity", false).0[..3], ["delete", "create", "ready"]);
    assert_eq!(story("deleting", false).0[..2], ["create", "ready"]);
}

#[test]
fn a_machine_that_nobody_logged_in_to_is_said_to_be_unknown() {
    let plan = changed(|_, world| {
        rented(world).login = false;
        world.server = Server::None;
    });
    assert_eq!(plan.notes, [Note::NotLoggedIn]);
}

#[test]
fn a_running_machine_that_was_not_looked_at_is_made_ready_and_an_unreachable_one_blocks() {
    assert_eq!(actions(&changed(|_, world| world.server = Server::None)), ["ready"]);
    let plan = changed(|_, world| world.server = Server::Unreachable("timed out".to_owned()));
    assert_eq!(actions(&plan), [""; 0]);
    assert_eq!(plan.blocked, [Blocked::Unreachable { why: "timed out".to_owned() }]);
    assert_eq!(plan.desired, plan.observed, "nothing is known to differ");
}

#[test]
fn a_missing_gpu_is_said_where_one_is_paid_for() {
    assert_eq!(changed(|_, world| seen(world).gpu = None).notes, [Note::NoGpu]);
    let plain = changed(|_, world| {
        seen(world).gpu = None;
        world.cloud.types[1].gpus = 0;
    });
    assert_eq!(plain.notes, []);
}

#[test]
fn a_machine_on_any_listed_candidate_agrees() {
    let plan = changed(|spec, _| {
        spec.instance.types.reverse();
        spec.instance.locations.reverse();
    });
    assert!(plan.is_empty());
    assert!(changed(|spec, _| spec.instance.locations.clear()).is_empty());
}

#[test]
fn another_machine_than_was_asked_for_is_a_change_that_is_only_shown() {
    type Change = fn(&mut Spec);
    let changes: [(Change, &str, &str, &str); 4] = [
        (|spec| spec.instance.types.truncate(1), "type", "small", "big"),
        (|spec| spec.instance.locations.truncate(1), "location", "FIN-01", "FIN-03"),
        (|spec| spec.instance.image = "debian-12".to_owned(), "image", "ubuntu-24.04", "debian-12"),
        (|spec| spec.instance.os_volume_gb = 200, "os_volume_gb", "100", "200"),
    ];
    for (change, key, is, wanted) in changes {
        let plan = changed(|spec, _| change(spec));
        let differences = vec![(key.to_owned(), is.to_owned(), wanted.to_owned())];
        assert_eq!(plan.blocked, [Blocked::Replace { differences }]);
        assert_eq!(actions(&plan), [""; 0]);
        assert_ne!(plan.desired.machine, plan.observed.machine, "{key}");
    }
    let reworded = changed(|_, world| world.cloud.instances[0].image = "something else".to_owned());
    assert!(reworded.is_empty(), "the API's own wording never replaces");
}

#[test]
fn another_key_is_no_change() {
    let plan = changed(|_, world| rented(world).asked.as_mut().unwrap().ssh_key = "SHA256:old".to_owned());
    assert_eq!(plan.notes, [Note::OtherKey { created_with: "SHA256:old".to_owned() }]);
    assert!(plan.is_empty());
}

#[test]
fn a_machine_of_ours_without_a_record_is_adopted_oldest_first() {
    for state in [State::Running, State::Absent] {
        let plan = changed(|spec, world| {
            spec.state = state;
            world.record = Record::start("lesson3", "abcd", None);
            let older = Instance { created_at: at(-1), ..instance("m-9", "running") };
            world.cloud.instances.push(older);
        });
        assert_eq!(*plan.actions[0].kind(), Kind::Adopt { machine: "m-9".to_owned() });
        assert_eq!(plan.actions.len(), 1, "what to do with it is planned once it is known");
    }
}

#[test]
fn the_host_key_of_an_adopted_machine_is_pinned_before_anything_else() {
    let plan = changed(|_, world| rented(world).host_key = None);
    assert_eq!(plan.actions.iter().map(|a| a.kind()).collect::<Vec<_>>(), [&Kind::Ready]);
}

#[test]
fn a_machine_that_is_known_to_be_gone_is_not_adopted_while_the_list_shows_it() {
    let (spec, mut world) = ended_world();
    world.cloud.instances.push(instance(ID, "running"));
    let plan = try_plan(&spec, &world, &[]).unwrap();
    assert!(plan.is_empty());
    assert_eq!(plan.money.now, []);
}

#[test]
fn a_deletion_that_was_never_carried_out_is_forgotten_when_the_machine_stays() {
    let plan = changed(|_, world| rented(world).ending = Some(ended(ID, &["os-m-1"])));
    assert_eq!(
        plan.actions.iter().map(|a| a.kind()).collect::<Vec<_>>(),
        [&Kind::Adopt { machine: ID.to_owned() }]
    );
}

#[test]
fn an_account_that_does_not_know_the_machine_stops_the_plan_until_it_is_named_as_gone() {
    for state in [State::Running, State::Absent] {
        let strange = |spec: &mut Spec, world: &mut Observed| {
            spec.state = state;
            world.cloud.instances.clear();
            world.cloud.recorded = Some(None);
            world.server = Server::None;
        };
        let error = refused(strange);
        assert_eq!(error.kind, ExitCode::Refused);
        assert!(error.hint.unwrap().contains("--discard server:gone"));
        let plan = changed_with(&[Discard::Gone], strange);
        assert_eq!(actions(&plan)[0], "forget");
        assert_eq!(plan.actions.len() > 1, state == State::Running);
    }
}

#[test]
fn a_namesake_with_another_store_stops_the_plan() {
    let strange = |world: &mut Observed| {
        let tags = record::tags("lesson3", "else", "n-7");
        world.cloud.instances.push(Instance { tags, ..instance("m-7", "running") });
    };
    let error = refused(|_, world| strange(world));
    assert_eq!(error.kind, ExitCode::Refused);
    assert!(error.why[0].contains("`m-7`"));
    let gone = changed(|_, world| {
        strange(world);
        world.cloud.instances[1].status = Status::Discontinued;
    });
    assert!(gone.is_empty());
}

#[test]
fn other_machines_are_listed_and_never_touched() {
    let lookalikes = |world: &mut Observed| {
        let foreign =
            Instance { tags: BTreeMap::new(), description: String::new(), ..instance("a", "running") };
        let sibling = Instance { tags: record::tags("lesson4", "abcd", "n"), ..instance("b", "offline") };
        let failed = Instance { status: Status::Failed("error".to_owned()), ..foreign.clone() };
        world.cloud.instances.extend([sibling, foreign, Instance { id: "c".to_owned(), ..failed }]);
    };
    let plan = changed(|_, world| lookalikes(world));
    assert!(plan.is_empty());
    let note = |id: &str, session: Option<&str>| Note::OtherMachine {
        id: id.to_owned(),
        hostname: "lesson3".to_owned(),
        price_per_hour: money(1.0),
        session: session.map(str::to_owned),
    };
    assert_eq!(plan.notes, [note("a", None), note("b", Some("lesson4"))]);
    let (spec, mut world) = ended_world();
    lookalikes(&mut world);
    assert!(try_plan(&spec, &world, &[]).unwrap().is_empty());
}

#[test]
fn a_machine_of_the_same_order_is_ended_and_any_other_is_for_a_person() {
    let beside = |nonce: &str| {
        changed(|_, world| {
            rented(world).nonce = Some("n-1".to_owned());
            rented(world).asked = Some(asked());
            let mut other = instance("m-2", "running");
            let tags = crate::record::tags("lesson3", "abcd", nonce);
            other.tags.extend(tags);
            world.cloud.instances.push(other);
        })
    };
    let twin = beside("n-1");
    assert_eq!(
        twin.actions.iter().map(Action::kind).collect::<Vec<_>>(),
        [&Kind::EndTwin { machine: "m-2".to_owned() }]
    );
    assert_eq!(twin.blocked, []);
    let stranger = beside("n-2");
    assert_eq!((stranger.actions.len(), stranger.blocked.len()), (0, 1));
    assert!(matches!(&stranger.blocked[0], Blocked::Several { machine } if machine == "m-2"));
}

#[test]
fn a_machine_nobody_was_on_makes_way_for_an_older_one_and_nothing_else_is_planned() {
    let beside = |state: State, login: bool, older: bool| {
        changed(|spec, world| {
            spec.state = state;
            rented(world).login = login;
            let mut other = instance("m-2", "running");
            other.created_at = if older { at(-10) } else { at(10) };
            other.tags.extend(crate::record::tags("lesson3", "abcd", "n-2"));
            world.cloud.instances.push(other);
        })
    };
    for state in [State::Running, State::Absent] {
        let plan = beside(state, false, true);
        let way = Kind::MakeWay { machine: ID.to_owned(), older: "m-2".to_owned() };
        assert_eq!(plan.actions.iter().map(Action::kind).collect::<Vec<_>>(), [&way]);
        assert_eq!(plan.blocked, []);
        for (login, older) in [(true, true), (false, false)] {
            let plan = beside(state, login, older);
            assert!(matches!(&plan.blocked[..], [Blocked::Several { machine }] if machine == "m-2"));
            assert!(
                !plan
                    .actions
                    .iter()
                    .any(|one| matches!(one.kind(), Kind::MakeWay { .. } | Kind::Delete { .. }))
            );
        }
    }
}
