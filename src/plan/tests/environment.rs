//! The environment that a version was made in, against the one it is about to be used in.

use super::*;
use crate::facts::Environment;
use crate::version::{Manifest, Told};

fn environment(python: &str, packages: &[(&str, &str)]) -> Environment {
    let pair = |&(name, version): &(&str, &str)| (name.to_owned(), version.to_owned());
    Environment {
        python: Some(python.to_owned()),
        cuda: Some("13.0".to_owned()),
        packages: packages.iter().map(pair).collect(),
    }
}

/// The manifest of the second version: made where the agreeing world's machine is.
fn made() -> Manifest {
    Manifest {
        version: Manifest::FORMAT,
        payload: hash("v2"),
        size: 2,
        stored: hash("v2"),
        stored_at: Some(at(20)),
        compression: "none".to_owned(),
        commit: Some(tip()),
        dirty: Some(false),
        instance_type: Some("small".to_owned()),
        image: Some("ubuntu-24.04".to_owned()),
        environment: Some(environment("3.12.3", &[("fastai", "2.7"), ("torch", "2.1")])),
        session: "lesson3".to_owned(),
        by_hand: false,
    }
}

/// A second version is stored, and a closer look was taken at it.
fn told(world: &mut Observed, made: Manifest) {
    let beside = manifest_name(V2, &made.payload, &made.stored);
    world.store.files.extend([stored(V2, "v2", 20), stored(&beside, "{}", 21)]);
    world.closer.told = [(V2.to_owned(), Told::By(Box::new(made)))].into();
    world.closer.environment = Some(environment("3.12.3", &[("fastai", "2.7"), ("torch", "2.1")]));
}

fn differences(change: impl FnOnce(&mut Spec, &mut Observed)) -> Vec<String> {
    let plan = changed(change);
    let told = plan.notes.iter().find_map(|note| match note {
        Note::OtherEnvironment { differences, .. } => Some(differences),
        _ => None,
    });
    let shown = |side: &Option<String>| side.clone().unwrap_or_else(|| "none".to_owned());
    let line = |one: &Difference| format!("{}: {} → {}", one.what, shown(&one.made), shown(&one.here));
    told.map_or(Vec::new(), |all| all.iter().map(line).collect())
}

#[test]
fn equal_environments_are_not_spoken_of() {
    let plan = changed(|_, world| told(world, made()));
    assert_eq!((actions(&plan), plan.notes), (vec!["pull".to_owned()], vec![]));
}

#[test]
fn every_difference_is_named_with_both_sides() {
    let other = environment("3.11.2", &[("numpy", "2.0"), ("torch", "2.0")]);
    let elsewhere = Manifest {
        image: Some("debian-12".to_owned()),
        instance_type: Some("big".to_owned()),
        environment: Some(Environment { cuda: Some("12.8".to_owned()), ..other }),
        ..made()
    };
    let expected = [
        "image: debian-12 → ubuntu-24.04",
        "instance type: big → small",
        "python: 3.11.2 → 3.12.3",
        "cuda: 12.8 → 13.0",
        "fastai: none → 2.7",
        "numpy: 2.0 → none",
        "torch: 2.0 → 2.1",
    ];
    assert_eq!(differences(|_, world| told(world, elsewhere)), expected);
}

#[test]
fn what_is_not_known_on_either_side_is_no_difference() {
    let nothing = Manifest { image: None, instance_type: None, environment: None, ..made() };
    assert_eq!(differences(|_, world| told(world, nothing)), [""; 0]);
    let bare = Manifest { environment: Some(Environment::default()), ..made() };
    assert_eq!(differences(|_, world| told(world, bare)), [""; 0]);
    let unseen = |_: &mut Spec, world: &mut Observed| {
        let environment = Some(environment("2.7", &[("torch", "0.4")]));
        told(world, Manifest { environment, ..made() });
        world.closer.environment = None;
    };
    assert_eq!(differences(unseen), [""; 0]);
}

/// Before there is a machine its image is known, and its type where no candidate is the one.
#[test]
fn a_machine_that_is_yet_to_come_is_compared_by_what_is_ordered() {
    let fresh = |spec: &mut Spec, world: &mut Observed, r#type: &str, image: &str| {
        never_rented(world);
        spec.instance.image = "debian-12".to_owned();
        let [r#type, image] = [r#type, image].map(|word| Some(word.to_owned()));
        told(world, Manifest { instance_type: r#type, image, ..made() });
        world.closer.environment = None;
    };
    assert_eq!(differences(|spec, world| fresh(spec, world, "small", "debian-12")), [""; 0], "may be had");
    assert_eq!(
        differences(|spec, world| fresh(spec, world, "huge", "ubuntu-24.04")),
        ["image: ubuntu-24.04 → debian-12", "instance type: huge → big"]
    );
}

#[test]
fn an_unusable_manifest_is_said_and_holds_nothing_up() {
    let plan = changed(|_, world| {
        told(world, made());
        world.closer.told.insert(V2.to_owned(), Told::Unusable("it was edited".to_owned()));
    });
    let (artifact, version, why) = ("model".to_owned(), V2.to_owned(), "it was edited".to_owned());
    assert_eq!(plan.notes, [Note::UnusableManifest { artifact, version, why }]);
    assert_eq!(plan.actions.len(), 1);
}

#[test]
fn only_what_is_about_to_be_brought_and_has_a_manifest_is_looked_at() {
    let looked_at = |change: fn(&mut Observed)| {
        let mut world = observed();
        told(&mut world, made());
        change(&mut world);
        let plan = try_plan(&spec(), &world, &[]).unwrap();
        to_be_brought(&plan, &world.store.files).into_iter().map(|version| version.name).collect::<Vec<_>>()
    };
    assert_eq!(looked_at(|_| {}), [V2]);
    assert_eq!(looked_at(|world| drop(world.store.files.pop())), [""; 0], "no manifest");
    let there = |world: &mut Observed| drop(seen(world).artifacts.insert("model".to_owned(), file("v2")));
    assert_eq!(looked_at(there), [""; 0], "nothing to bring");
}

#[test]
fn the_same_content_under_another_name_or_packing_is_said_and_not_brought() {
    const PACKED: &str = "2026-11-22_export.pkl.gz";
    let plan = changed(|_, world| {
        let object = stored(PACKED, "gzipped", 30);
        let beside = manifest_name(PACKED, &hash("v1"), &object.content);
        world.store.files.extend([object, stored(&beside, "{}", 31)]);
    });
    let note = Note::SameContent {
        artifact: "model".to_owned(),
        version: PACKED.to_owned(),
        stored_as: V1.to_owned(),
    };
    assert_eq!(plan.notes, [note]);
    assert!(plan.is_empty());
    assert_eq!(plan.desired, plan.observed);
}
