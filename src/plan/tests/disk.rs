//! Disks without a machine: kept, waiting, left by a machine that vanished; and machines that make way.

use super::*;
use crate::record::Disk;

pub(super) fn disk() -> Disk {
    let base = Base { commit: Some(tip()), ..Base::default() };
    Disk {
        volume: "os-m-1".to_owned(),
        location: "FIN-01".to_owned(),
        asked: Some(asked()),
        host_key: None,
        base,
    }
}

/// The world after `down --keep-disk`: no machine, its disk detached.
fn kept_world(spec: &mut Spec, world: &mut Observed, state: State) {
    spec.state = state;
    world.cloud.instances.clear();
    world.cloud.volumes = vec![volume("os-m-1", None)];
    world.record.machine = None;
    world.record.disk = Some(disk());
    world.server = Server::None;
}

fn kept_down(change: impl FnOnce(&mut Spec, &mut Observed)) -> Plan {
    let (mut spec, mut world) = (spec(), observed());
    spec.state = State::Absent;
    change(&mut spec, &mut world);
    plan(Request { keep_disk: true, ..Request::of(&spec) }, &world).unwrap()
}

fn replaced(change: impl FnOnce(&mut Spec, &mut Observed)) -> Plan {
    let (mut spec, mut world) = (spec(), observed());
    spec.instance.types = vec!["big".to_owned()];
    change(&mut spec, &mut world);
    plan(Request { replace: true, ..Request::of(&spec) }, &world).unwrap()
}

fn boots(plan: &Plan) -> Option<(String, Vec<String>)> {
    plan.actions.iter().find_map(|action| match action.kind() {
        Kind::Create { candidates, boots: Some(volume) } => {
            Some((volume.clone(), candidates.iter().map(|one| one.location.clone()).collect()))
        }
        _ => None,
    })
}

#[test]
fn keeping_the_disk_needs_no_proof_of_what_is_on_it() {
    let plan = kept_down(|_, world| seen(world).files = None);
    assert_eq!(actions(&plan), ["keep_disk"]);
    assert!(!plan.is_refused());
    assert!(matches!(&plan.notes[..], [Note::KeptDisk { id, .. }] if id == "os-m-1"));
    let silent = kept_down(|_, world| world.server = Server::Unreachable("timed out".to_owned()));
    assert_eq!((actions(&silent), silent.is_refused()), (vec!["keep_disk".to_owned()], false));
}

#[test]
fn a_program_at_work_would_not_outlive_the_machine() {
    let process = Process { pid: 7, command: "python3 train.py".to_owned(), why: "gpu".to_owned() };
    let plan = kept_down(|_, world| seen(world).processes.push(process));
    assert!(plan.is_refused());
    assert_eq!(plan.guards.iter().map(|state| state.guard).collect::<Vec<_>>(), [Guard::Processes]);
}

#[test]
fn a_machine_that_never_was_used_has_no_disk_worth_keeping() {
    let plan = kept_down(|_, world| {
        rented(world).login = false;
        world.server = Server::None;
    });
    assert_eq!(actions(&plan), ["delete"]);
}

#[test]
fn the_kept_disk_is_booted_where_it_is() {
    let plan = changed(|spec, world| kept_world(spec, world, State::Running));
    assert_eq!(actions(&plan), ["create", "ready"]);
    let (volume, locations) = boots(&plan).unwrap();
    assert_eq!((volume.as_str(), locations), ("os-m-1", vec!["FIN-01".to_owned(); 2]));
    assert_eq!(plan.notes, []);
}

#[test]
fn a_kept_disk_stays_while_the_session_is_absent_and_its_price_is_said() {
    let plan = changed(|spec, world| kept_world(spec, world, State::Absent));
    assert!(plan.is_empty());
    assert!(matches!(&plan.notes[..], [Note::KeptDisk { id, .. }] if id == "os-m-1"));
    assert_eq!(plan.money.per_hour(), money(0.01));
}

#[test]
fn a_kept_disk_goes_only_when_it_is_named() {
    let named = [Discard::Volume("os-m-1".to_owned())];
    let plan = changed_with(&named, |spec, world| kept_world(spec, world, State::Absent));
    assert_eq!(actions(&plan), ["delete_volume"]);
    let afresh = changed_with(&named, |spec, world| kept_world(spec, world, State::Running));
    assert_eq!(actions(&afresh)[..3], ["delete_volume", "create", "ready"]);
    assert_eq!(boots(&afresh), None);
}

#[test]
fn a_kept_disk_in_the_trash_is_taken_out_and_one_that_is_gone_blocks() {
    let trashed = changed(|spec, world| {
        kept_world(spec, world, State::Running);
        world.cloud.trash = Some(std::mem::take(&mut world.cloud.volumes));
    });
    assert_eq!(actions(&trashed), ["restore_volume", "create", "ready"]);
    let gone = changed(|spec, world| {
        kept_world(spec, world, State::Running);
        world.cloud.volumes.clear();
    });
    assert_eq!(gone.blocked, [Blocked::DiskGone { volume: "os-m-1".to_owned() }]);
}

#[test]
fn what_a_vanished_machine_left_is_found_and_said() {
    let down = |trashed: bool| {
        changed(|spec, world| {
            spec.state = State::Absent;
            set_status(world, "discontinued");
            world.cloud.volumes = vec![volume("os-m-1", None)];
            if trashed {
                world.cloud.trash = Some(std::mem::take(&mut world.cloud.volumes));
            }
        })
    };
    for trashed in [false, true] {
        let plan = down(trashed);
        let [Blocked::Lost { disk: Some(disk), commit, .. }] = &plan.blocked[..] else { panic!("{plan:?}") };
        assert_eq!((disk.volume.as_str(), disk.in_trash, commit), ("os-m-1", trashed, &Some(tip())));
        assert_eq!(actions(&plan), [""; 0]);
    }
}

#[test]
fn the_disk_of_a_vanished_machine_is_found_by_the_tags_of_its_creation() {
    let found = |nonce: &str| {
        changed(|_, world| {
            set_status(world, "discontinued");
            world.cloud.instances[0].os_volume = None;
            world.cloud.instances[0].volumes.clear();
            let tags = record::tags("lesson3", "abcd", nonce);
            world.cloud.volumes = vec![Volume { tags, ..volume("left", None) }];
        })
    };
    assert_eq!(boots(&found("n-1")).unwrap().0, "left");
    assert!(matches!(&found("n-0").blocked[..], [Blocked::Lost { disk: None, .. }]), "another machine's");
}

#[test]
fn a_machine_makes_way_once_its_work_is_stored_and_the_other_is_in_stock() {
    let plan = replaced(|_, world| {
        seen(world).artifacts.insert("model".to_owned(), file("mine"));
    });
    assert_eq!(actions(&plan), ["store", "check_stock", "delete", "create", "ready"]);
    let clean = replaced(|_, _| {});
    assert_eq!(actions(&clean), ["check_stock", "delete", "create", "ready", "clone", "pull", "set_up"]);
    assert_eq!(plan.blocked, []);
    let sold_out = replaced(|_, world| world.cloud.stock.clear());
    assert_eq!((sold_out.blocked.as_slice(), sold_out.actions.len()), (&[Blocked::NoReplacement][..], 0));
}

#[test]
fn nothing_is_replaced_without_the_word_for_it() {
    let plan = changed(|spec, _| spec.instance.types = vec!["big".to_owned()]);
    assert!(matches!(&plan.blocked[..], [Blocked::Replace { .. }]));
    let same = replaced(|spec, _| spec.instance.types = vec!["small".to_owned()]);
    assert!(same.is_empty(), "a machine that agrees stays");
}
