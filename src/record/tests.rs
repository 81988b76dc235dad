//! Each step of the protocol on its own; `explore` puts them together under every fault.

use super::*;

mod cloud;
mod explore;
mod interleave;
mod process;
mod rules;
mod stories;

const MACHINE: &str = "m-1";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

fn asked() -> Machine {
    Machine {
        r#type: "1L40S.20V".to_owned(),
        location: "FIN-01".to_owned(),
        image: "ubuntu".to_owned(),
        ssh_key: "SHA256:x".to_owned(),
        os_volume_gb: 100,
        market: crate::world::Market::OnDemand,
    }
}

fn running() -> Goal {
    Goal::Running(Box::new(asked()))
}

fn empty() -> Record {
    Record::start("lesson3", "abcd", None)
}

fn intended(noted_at: i64) -> Record {
    let intent = Intent {
        nonce: "n-1".to_owned(),
        noted_at: at(noted_at),
        unclear: true,
        asked: asked(),
        boots: None,
        host_keys: Vec::new(),
    };
    Record { intent: Some(intent), ..empty() }
}

fn rented() -> Record {
    intended(0).with_created(MACHINE.to_owned())
}

fn used() -> Record {
    with(rented(), |machine| machine.login = true)
}

fn with(mut record: Record, change: impl FnOnce(&mut Rented)) -> Record {
    change(record.machine.as_mut().unwrap());
    record
}

fn ending(record: Record) -> Record {
    let volumes = vec!["os-m-1".to_owned()];
    with(record, |m| {
        m.ending = Some(Ended {
            id: m.id.clone(),
            at: at(0),
            volumes,
            discarded: Vec::new(),
            kept: None,
            receipt: None,
        })
    })
}

fn instance(id: &str, nonce: &str, status: Status) -> Instance {
    Instance {
        id: id.to_owned(),
        status,
        ip: None,
        created_at: at(0),
        hostname: "lesson3".to_owned(),
        description: String::new(),
        r#type: "1L40S.20V".to_owned(),
        image: "ubuntu".to_owned(),
        location: "FIN-01".to_owned(),
        price_per_hour: crate::facts::Money::from_units(1.0),
        spot: false,
        os_volume: Some(format!("os-{id}")),
        volumes: vec![format!("os-{id}")],
        tags: tags("lesson3", "abcd", nonce),
        notebook: None,
    }
}

fn alive() -> Instance {
    instance(MACHINE, "n-1", Status::Running)
}

fn proof(record: &Record, taken_at: Timestamp) -> Proof {
    let machine = record.machine.as_ref().unwrap();
    guard::prove_unused(&machine.id, false, taken_at).unwrap()
}

/// Asks for the step at second 1000 with an empty hand; `list` is shown, its first machine is the exact one.
fn step(record: &Record, list: &[Instance], goal: &Goal) -> Step {
    step_with(record, list, goal, &mut hand())
}

fn step_with(record: &Record, list: &[Instance], goal: &Goal, hand: &mut Hand) -> Step {
    let id = record.machine.as_ref().map(|machine| machine.id.as_str());
    let recorded = list.iter().find(|instance| Some(instance.id.as_str()) == id);
    next(record, View { now: at(1000), list, recorded }, goal, hand)
}

fn hand() -> Hand {
    Hand { nonce: "fresh".to_owned(), ..Hand::default() }
}

fn written(step: Step) -> Record {
    match step {
        Step::Write(record) => *record,
        other => panic!("expected a write, got {other:?}"),
    }
}

fn waits(step: Step) -> bool {
    matches!(step, Step::Wait(_))
}

#[test]
fn nothing_there_and_nothing_wanted_is_done() {
    assert!(matches!(step(&empty(), &[], &Goal::Absent), Step::Done(None)));
}

#[test]
fn the_intent_is_written_before_the_one_post_and_the_post_is_sent_once() {
    let mut hand = hand();
    let noted = written(step_with(&empty(), &[], &running(), &mut hand));
    let intent = noted.intent.clone().unwrap();
    assert_eq!((intent.nonce.as_str(), intent.noted_at, &intent.asked), ("fresh", at(1000), &asked()));
    let Step::Post(posted) = step_with(&noted, &[], &running(), &mut hand) else { panic!("no post") };
    assert_eq!(posted, intent);
    assert!(waits(step_with(&noted, &[], &running(), &mut hand)), "a second POST before the window is over");
}

#[test]
fn another_laptop_does_not_post_somebody_elses_intent() {
    assert!(waits(step(&intended(990), &[], &running())));
    assert!(waits(step(&intended(990), &[], &Goal::Absent)), "absence obeys the intent too");
}

#[test]
fn an_intent_that_lay_too_long_is_not_posted_but_waited_out() {
    let mut hand = Hand { noted: Some(at(900)), ..hand() };
    assert!(waits(step_with(&intended(900), &[], &running(), &mut hand)));
}

#[test]
fn after_the_window_the_same_nonce_is_noted_again() {
    let noted = written(step(&intended(1000 - 180), &[], &running()));
    let intent = noted.intent.unwrap();
    assert_eq!((intent.nonce.as_str(), intent.noted_at), ("n-1", at(1000)));
    assert!(waits(step(&intended(1000 - 179), &[], &running())));
}

/// Its POST may have been sent a minute after it was noted, and takes the whole window from then.
#[test]
fn an_intent_that_nobody_has_heard_of_is_waited_out_for_a_minute_longer() {
    let unheard = |noted_at| {
        let record = intended(noted_at);
        let intent = record.intent.clone().map(|intent| Intent { unclear: false, ..intent });
        Record { intent, ..record }
    };
    for goal in [running(), Goal::Absent] {
        assert!(waits(step(&unheard(1000 - 239), &[], &goal)), "{goal:?}");
        written(step(&unheard(1000 - 240), &[], &goal));
    }
    let heard = unheard(900).intent.unwrap().heard_of(at(910));
    assert_eq!((heard.noted_at, heard.unclear), (at(910), true));
}

#[test]
fn after_the_window_absent_closes_the_intent() {
    let closed = written(step(&intended(1000 - 180), &[], &Goal::Absent));
    assert_eq!(closed, empty());
}

#[test]
fn doubt_is_waited_out_like_an_intent() {
    let doubting = Record { doubt: Some(at(990)), ..empty() };
    assert!(waits(step(&doubting, &[], &Goal::Absent)));
    assert!(waits(step(&doubting, &[], &running())));
    let old = Record { doubt: Some(at(0)), ..empty() };
    assert_eq!(written(step(&old, &[], &Goal::Absent)), empty());
}

#[test]
fn the_machine_of_the_open_intent_is_known_to_be_unused() {
    for goal in [running(), Goal::Absent] {
        let record = written(step(&intended(990), &[alive()], &goal));
        assert_eq!(record, rented(), "{goal:?}");
    }
}

#[test]
fn a_machine_of_ours_without_a_record_is_taken_to_hold_work() {
    let adopted = written(step(&empty(), &[alive()], &Goal::Absent)).machine.unwrap();
    assert!(adopted.login && adopted.asked.is_none());
    let failed = instance(MACHINE, "n-0", Status::Failed("no_capacity".to_owned()));
    assert!(!written(step(&empty(), &[failed], &running())).machine.unwrap().login, "it never came up");
}

#[test]
fn the_oldest_of_several_is_adopted_whatever_the_lists_order() {
    let older = Instance { created_at: at(-5), ..instance("m-9", "n-1", Status::Running) };
    for list in [[alive(), older.clone()], [older, alive()]] {
        assert_eq!(written(step(&intended(990), &list, &running())).machine.unwrap().id, "m-9");
    }
}

#[test]
fn what_is_not_ours_is_not_adopted() {
    let other_store = Instance { tags: tags("lesson3", "else", "n"), ..instance("a", "n", Status::Running) };
    let other_name = Instance { tags: tags("lesson4", "abcd", "n"), ..other_store.clone() };
    let same_host = Instance { tags: BTreeMap::new(), ..other_store.clone() };
    let half = Instance {
        tags: [(TAG_SESSION.to_owned(), "lesson3".to_owned())].into(),
        description: description("lesson3", "abcd", "n"),
        ..other_store.clone()
    };
    let list = [other_store, other_name, same_host, half];
    assert!(matches!(step(&empty(), &list, &Goal::Absent), Step::Done(None)));
    let described = Instance {
        tags: [("team".to_owned(), "ml".to_owned())].into(),
        description: description("lesson3", "abcd", "n"),
        ..instance("a", "n", Status::Running)
    };
    assert!(empty().owns(&described), "without a dacapo tag the description counts");
    assert_eq!(nonce(&Instance { tags: BTreeMap::new(), ..described }), Some("n"));
}

#[test]
fn a_machine_that_is_gone_is_not_adopted_again_while_the_list_lags() {
    let closed =
        written(step(&ending(used()), &[instance(MACHINE, "n-1", Status::Discontinued)], &running()));
    assert_eq!((closed.machine.as_ref(), closed.gone.as_slice()), (None, &[MACHINE.to_owned()][..]));
    assert!(matches!(step(&closed, &[alive()], &Goal::Absent), Step::Done(None)));
    let second = closed.with_created("m-2".to_owned());
    let list = [instance("m-2", "n-2", Status::Running), alive()];
    assert!(matches!(step(&second, &list, &running()), Step::Done(Some(id)) if id == "m-2"));
}

#[test]
fn a_machine_of_ours_that_is_going_is_waited_for() {
    let going = [instance("m-7", "n-7", Status::Deleting)];
    assert!(waits(step(&empty(), &going, &Goal::Absent)));
    assert!(waits(step(&empty(), &going, &running())));
}

#[test]
fn the_recorded_machine_is_enough() {
    for status in ["running", "offline", "provisioning", "ordered", "unknown"] {
        let list = [instance(MACHINE, "n-1", Status::from(status.to_owned()))];
        assert!(
            matches!(step(&used(), &list, &running()), Step::Done(Some(id)) if id == MACHINE),
            "{status}"
        );
    }
}

#[test]
fn a_kept_machine_is_no_longer_ending() {
    assert_eq!(written(step(&ending(used()), &[alive()], &running())), used());
}

#[test]
fn an_account_that_does_not_know_the_machine_stops_everything() {
    for goal in [running(), Goal::Absent] {
        let stopped = step(&used(), &[], &goal);
        assert!(matches!(stopped, Step::Stop(Stop::OtherAccount(id)) if id == MACHINE));
    }
}

#[test]
fn gone_without_our_doing_is_lost_and_gone_by_our_doing_is_closed() {
    let gone = [instance(MACHINE, "n-1", Status::Discontinued)];
    for goal in [running(), Goal::Absent] {
        assert!(matches!(step(&used(), &gone, &goal), Step::Stop(Stop::Lost(id)) if id == MACHINE));
        let ended = written(step(&ending(used()), &gone, &goal));
        assert_eq!(ended.ended.map(|ended| ended.volumes), Some(vec!["os-m-1".to_owned()]));
        let unused = written(step(&rented(), &gone, &goal));
        assert_eq!(unused.machine, None, "never used, so nothing is lost");
        assert_eq!(
            unused.ended.map(|ended| ended.volumes),
            Some(vec!["os-m-1".to_owned()]),
            "its disk goes too"
        );
        let booted = with(rented(), |machine| machine.booted = disk_of(machine, &alive()));
        assert_eq!(written(step(&booted, &gone, &goal)).ended, None, "a disk with work doesn't");
    }
}

#[test]
fn a_receipt_goes_on_explaining_the_volumes_of_machines_before() {
    let volumes = |record: &Record| record.ended.clone().unwrap().volumes;
    let first = ending(used()).without_machine();
    let mut second = ending(first.with_created("m-2".to_owned()));
    second.machine.as_mut().unwrap().ending.as_mut().unwrap().volumes = vec!["os-m-2".to_owned()];
    let second = second.without_machine();
    assert_eq!(volumes(&second), ["os-m-2", "os-m-1"]);
    let without_receipt = second.clone().with_created("m-3".to_owned()).without_machine();
    assert_eq!(without_receipt.ended, second.ended);
}

#[test]
fn what_the_machine_left_becomes_the_last_base_only_if_it_was_used() {
    let base = Base { commit: Some("c".to_owned()), ..Base::default() };
    let unused = with(rented(), |machine| machine.base = base.clone());
    assert_eq!(unused.clone().without_machine().last, Base::default());
    let used = with(unused, |machine| machine.login = true);
    assert_eq!(used.without_machine().last, base);
}

#[test]
fn ending_is_proven_then_written_then_carried_out() {
    let record = used();
    assert!(matches!(step(&record, &[alive()], &Goal::Absent), Step::Prove));
    let mut hand = Hand { proof: Some(proof(&record, at(1000))), ..hand() };
    let noted = written(step_with(&record, &[alive()], &Goal::Absent, &mut hand));
    assert_eq!(noted.machine.as_ref().unwrap().ending.as_ref().unwrap().volumes, ["os-m-1"]);
    let deleted = step_with(&noted, &[alive()], &Goal::Absent, &mut hand);
    assert!(matches!(deleted, Step::Delete(proof) if proof.machine() == MACHINE));
    assert!(hand.proof.is_none(), "a proof is spent once");
    assert!(matches!(step_with(&noted, &[alive()], &Goal::Absent, &mut hand), Step::Prove));
}

#[test]
fn a_proof_that_is_old_or_for_another_machine_is_thrown_away() {
    let old = proof(&used(), at(1000) - guard::VALID_FOR - SignedDuration::from_secs(1));
    let other = guard::prove_unused("m-2", false, at(1000)).unwrap();
    for useless in [old, other] {
        let mut hand = Hand { proof: Some(useless), ..hand() };
        assert!(matches!(step_with(&ending(used()), &[alive()], &Goal::Absent, &mut hand), Step::Prove));
        assert!(hand.proof.is_none());
    }
}

#[test]
fn the_receipt_names_the_volumes_that_go_now() {
    let record = used();
    let mut hand = Hand { proof: Some(proof(&record, at(1000))), ..hand() };
    let moved = Instance { os_volume: Some("os-2".to_owned()), ..alive() };
    let noted = written(step_with(&ending(record), &[moved], &Goal::Absent, &mut hand));
    assert_eq!(noted.machine.unwrap().ending.unwrap().volumes, ["os-2"]);
}

#[test]
fn a_volume_that_somebody_attached_does_not_go() {
    let attached = Instance { volumes: vec!["data".to_owned(), "os-m-1".to_owned()], ..alive() };
    assert_eq!(volumes_of(&attached), ["os-m-1"]);
    assert_eq!(volumes_of(&Instance { os_volume: None, ..alive() }), ["os-m-1"]);
}

#[test]
fn a_machine_that_never_was_used_goes_without_evidence_once_the_cloud_lets_it() {
    for status in ["provisioning", "ordered"] {
        let list = [instance(MACHINE, "n-1", Status::from(status.to_owned()))];
        assert!(waits(step(&rented(), &list, &Goal::Absent)), "{status}");
    }
    for status in ["running", "offline", "no_capacity", "unknown"] {
        let list = [instance(MACHINE, "n-1", Status::from(status.to_owned()))];
        let deleted = step(&ending(rented()), &list, &Goal::Absent);
        assert!(matches!(deleted, Step::Delete(_)), "{status}");
    }
    let going = [instance(MACHINE, "n-1", Status::Deleting)];
    assert!(waits(step(&ending(rented()), &going, &Goal::Absent)));
}

#[test]
fn a_machine_that_failed_makes_way_for_the_next() {
    let failed = [instance(MACHINE, "n-1", Status::Failed("no_capacity".to_owned()))];
    assert!(written(step(&rented(), &failed, &running())).machine.unwrap().ending.is_some());
    assert!(matches!(step(&ending(rented()), &failed, &running()), Step::Delete(_)));
    assert!(matches!(step(&used(), &failed, &running()), Step::Prove), "a used one needs evidence");
}

#[test]
fn a_post_that_arrived_twice_leaves_the_recorded_machine() {
    let twin = instance("m-2", "n-1", Status::Running);
    let deleted = step(&used(), &[alive(), twin.clone()], &running());
    assert!(matches!(deleted, Step::Delete(proof) if proof.machine() == "m-2"));
    let building = Instance { status: Status::Provisioning, ..twin.clone() };
    assert!(waits(step(&used(), &[alive(), building], &running())));
    let going = Instance { status: Status::Deleting, ..twin };
    assert!(matches!(step(&used(), &[alive(), going], &running()), Step::Done(_)));
}

#[test]
fn a_second_machine_of_unknown_past_is_for_a_person_to_decide() {
    let other = instance("m-2", "n-2", Status::Running);
    for goal in [running(), Goal::Absent] {
        let stopped = step(&used(), &[alive(), other.clone()], &goal);
        assert!(matches!(stopped, Step::Stop(Stop::Several(_))), "{goal:?}");
    }
    let adopted = with(used(), |machine| machine.asked = None);
    let twin = instance("m-2", "n-1", Status::Running);
    let stopped = step(&adopted, &[alive(), twin], &running());
    assert!(matches!(stopped, Step::Stop(Stop::Several(_))), "who logged in to which isn't known");
}

#[test]
fn the_newer_of_two_laptops_machines_goes_unless_somebody_was_on_it() {
    let newer = Instance { created_at: at(10), ..alive() };
    let older = instance("m-2", "n-2", Status::Running);
    for goal in [running(), Goal::Absent] {
        let list = [newer.clone(), older.clone()];
        let noted = written(step(&rented(), &list, &goal)).machine.unwrap();
        assert_eq!(noted.ending.unwrap().id, MACHINE, "{goal:?}");
        let gone = step(&ending(rented()), &list, &goal);
        assert!(matches!(gone, Step::Delete(proof) if proof.machine() == MACHINE), "{goal:?}");
        assert!(matches!(step(&used(), &list, &goal), Step::Stop(_)), "somebody was on it: {goal:?}");
        // Of the same second, the ids decide: both laptops must come to the same end.
        let same = Instance { created_at: at(0), ..newer.clone() };
        let list = [same, instance("m-0", "n-2", Status::Running)];
        assert!(written(step(&rented(), &list, &goal)).machine.unwrap().ending.is_some(), "{goal:?}");
        let list = [alive(), Instance { created_at: at(10), ..older.clone() }];
        assert!(matches!(step(&rented(), &list, &goal), Step::Stop(_)), "ours is the older: {goal:?}");
    }
    let left = written(step(&rented(), &[Instance { status: Status::Discontinued, ..newer }], &running()));
    assert_eq!(written(step(&left, &[older], &running())).machine.unwrap().id, "m-2");
}

#[test]
fn what_came_of_an_open_order_goes_where_another_machine_was_taken_up() {
    let older = Instance { created_at: at(-10), ..instance("m-0", "n-2", Status::Running) };
    let adopted = written(step(&intended(0), &[alive(), older.clone()], &running()));
    assert_eq!(adopted.machine.as_ref().unwrap().id, "m-0");
    let deleted = step(&adopted, &[alive(), older], &running());
    assert!(matches!(deleted, Step::Delete(proof) if proof.machine() == MACHINE), "{adopted:?}");
}

/// The list may still show it as it was; asked for by id it is exact.
#[test]
fn a_machine_that_is_being_ended_is_asked_for_by_its_id() {
    let list = [alive()];
    assert_eq!(used().asks_for(&list), None);
    assert_eq!(used().asks_for(&[]), Some(MACHINE));
    assert_eq!(ending(used()).asks_for(&list), Some(MACHINE));
    assert_eq!(empty().asks_for(&list), None);
}

#[test]
fn a_lease_holds_until_it_has_run_out_and_its_own_laptop_takes_it_over_at_once() {
    let leased = empty().leased_to("me@one", "one", 0).unwrap();
    let elsewhere = Elsewhere { owner: "me@one".to_owned(), left: 1 };
    assert_eq!(leased.clone().leased_to("you@two", "two", 119), Err(elsewhere.clone()));
    assert_eq!(leased.holder(119), Some(elsewhere));
    assert_eq!(leased.holder(120), None);
    let taken = leased.clone().leased_to("you@two", "two", 120).unwrap().lease.unwrap();
    assert_eq!((taken.owner.as_str(), taken.writes), ("you@two", 2));
    assert!(leased.leased_to("me@one", "one", 0).is_ok());
}

#[test]
fn a_record_survives_being_stored_and_a_newer_one_is_refused() {
    let record = Record { gone: vec!["m-0".to_owned()], ..ending(used()) };
    assert_eq!(Record::parse(&record.to_json()), Ok(record.clone()));
    let newer = Record { version: 2, ..record };
    assert!(Record::parse(&newer.to_json()).unwrap_err().contains("newer"));
    let first = br#"{"version":1,"session":"lesson3","store":"abcd"}"#;
    assert_eq!(Record::parse(first), Ok(empty()), "fields that came later have defaults");
}

#[test]
fn a_record_remembers_few_machines_as_gone() {
    let mut record = empty();
    for number in 0..40 {
        record = record.with_created(format!("m-{number}")).without_machine();
    }
    assert_eq!(record.gone.len(), REMEMBERED);
    assert_eq!(record.gone.last().unwrap(), "m-39");
    assert_eq!(rented().without_unknown().gone, [""; 0], "not known to be gone");
}

#[test]
fn an_intent_keeps_the_host_keys_of_earlier_orders_under_its_nonce() {
    let mut record = empty();
    for number in 0..20 {
        // Each is a process that noted its intent and was never heard of again.
        let mut hand = Hand { host_key: Some(format!("ssh-ed25519 AAAA{number}")), ..hand() };
        record.intent = record.intent.map(|intent| Intent { noted_at: at(0), ..intent });
        record = written(step_with(&record, &[], &running(), &mut hand));
    }
    let keys = record.intent.clone().unwrap().host_keys;
    assert_eq!(
        (keys.len(), keys[0].as_str(), keys[7].as_str()),
        (8, "ssh-ed25519 AAAA12", "ssh-ed25519 AAAA19")
    );
    let found = written(step(&record, &[instance(MACHINE, "fresh", Status::Running)], &running()));
    assert_eq!(found.machine.unwrap().known_keys(), keys, "whichever order it was, its key is known");
}

#[test]
fn a_pinned_host_key_is_the_only_one_that_is_known() {
    let keys = vec!["ssh-ed25519 AAAA1".to_owned(), "ssh-ed25519 AAAA2".to_owned()];
    let record = with(rented(), |machine| machine.host_keys = keys.clone());
    assert_eq!(record.machine.as_ref().unwrap().known_keys(), keys);
    let pinned = with(record, |machine| machine.host_key = Some(keys[0].clone()));
    assert_eq!(pinned.machine.unwrap().known_keys(), &keys[..1]);
}

#[test]
fn a_kept_disk_keeps_its_host_key_from_machine_to_machine() {
    let key = Some("ssh-ed25519 AAAA1".to_owned());
    let pinned = with(used(), |machine| machine.host_key.clone_from(&key));
    let kept = disk_of(pinned.machine.as_ref().unwrap(), &alive()).unwrap();
    assert_eq!(kept.host_key, key);
    let mut fresh = Hand { host_key: Some("ssh-ed25519 AAAA2".to_owned()), ..hand() };
    let waiting = Record { disk: Some(kept), ..empty() };
    let noted = written(step_with(&waiting, &[], &running(), &mut fresh));
    assert_eq!(noted.intent.as_ref().unwrap().host_keys, key.clone().into_iter().collect::<Vec<_>>());
    // The machine that boots it is evicted before anybody has been on it: the disk waits again.
    let booted = noted.with_created("m-2".to_owned());
    assert_eq!(booted.machine.as_ref().unwrap().known_keys(), key.as_slice());
    assert_eq!(booted.without_machine().disk.unwrap().host_key, key);
}

#[test]
fn a_startup_script_is_told_from_those_of_sessions_with_a_similar_name() {
    let key = PublicKey::parse("ssh-ed25519 AAAA1").unwrap();
    let name = script_name("lesson3", "abcd", &key);
    assert!(owns_script("lesson3", "abcd", &name), "{name}");
    for (session, store) in
        [("lesson", "abcd"), ("lesson3-2", "abcd"), ("lesson3", "abc"), ("3", "abcd-lesson")]
    {
        assert!(!owns_script(session, store, &name), "{session} {store}");
        assert!(!owns_script("lesson3", "abcd", &script_name(session, store, &key)), "{session} {store}");
    }
    for other in ["", "notes", "dacapo-host-key-abcd-lesson3-", "dacapo-host-key-abcd-lesson3-0123"] {
        assert!(!owns_script("lesson3", "abcd", other), "{other}");
    }
}
