//! The artifacts: the base tells which side is newer, content tells what is equal.

use super::*;

const PACKED: &str = "2026-11-19_export.pkl.gz";

fn two_versions(world: &mut Observed) {
    world.store.files.push(stored(V2, "v2", 20));
}

fn on_server(world: &mut Observed, file: ArtifactFile) {
    seen(world).artifacts.insert("model".to_owned(), file);
}

fn want(spec: &mut Spec, version: Wanted) {
    spec.artifacts.insert("model".to_owned(), model(version));
}

fn pulls(plan: &Plan) -> Vec<(&str, Option<ContentHash>)> {
    let pull = |action: &'_ Action| match action.kind() {
        Kind::Pull { version, replaces, .. } => Some((version.clone(), *replaces)),
        _ => None,
    };
    let found: Vec<_> = plan.actions.iter().filter_map(pull).collect();
    found.into_iter().map(|(version, replaces)| (if version == V1 { V1 } else { V2 }, replaces)).collect()
}

fn artifact_work(content: &str, base: Option<&str>) -> Vec<Work> {
    vec![Work::Artifact {
        name: "model".to_owned(),
        content: hash(content),
        size: content.len() as u64,
        base: base.map(str::to_owned),
    }]
}

/// What the spec wants × what the server has, with both versions stored and the first one brought.
#[test]
fn every_want_meets_every_server() {
    let missing = ArtifactFile::Missing;
    let empty = ArtifactFile::File { size: 0, content: hash("") };
    let named = |name: &str| Wanted::Named(name.to_owned());
    let content = |text: &str| Wanted::Content(hash(text));
    let replaces = |text: &str| Some(hash(text));
    let table: [(Wanted, ArtifactFile, &[&str], Option<ContentHash>); 24] = [
        (Wanted::Latest, missing.clone(), &["pull"], None),
        (Wanted::Latest, empty.clone(), &["pull"], None),
        (Wanted::Latest, file("v1"), &["pull"], replaces("v1")),
        (Wanted::Latest, file("v2"), &[], None),
        (Wanted::Latest, file("mine"), &[], None),
        (named(V1), missing.clone(), &["pull"], None),
        (named(V1), empty.clone(), &["pull"], None),
        (named(V1), file("v1"), &[], None),
        (named(V1), file("v2"), &["pull"], replaces("v2")),
        (named(V1), file("mine"), &[], None),
        (named(V2), missing.clone(), &["pull"], None),
        (named(V2), file("v1"), &["pull"], replaces("v1")),
        (named(V2), file("v2"), &[], None),
        (named(V2), file("mine"), &["store", "pull"], replaces("mine")),
        (content("v1"), file("v1"), &[], None),
        (content("v1"), file("mine"), &[], None),
        (content("v2"), missing.clone(), &["pull"], None),
        (content("v2"), file("v1"), &["pull"], replaces("v1")),
        (content("v2"), file("v2"), &[], None),
        (content("v2"), file("mine"), &["store", "pull"], replaces("mine")),
        (Wanted::None, missing, &[], None),
        (Wanted::None, empty, &[], None),
        (Wanted::None, file("v2"), &[], None),
        (Wanted::None, file("mine"), &[], None),
    ];
    for (wanted, there, expected, replaced) in table {
        let plan = changed(|spec, world| {
            two_versions(world);
            want(spec, wanted.clone());
            on_server(world, there.clone());
        });
        let case = format!("{wanted:?} × {there:?}");
        assert_eq!(actions(&plan), expected, "{case}");
        assert_eq!(pulls(&plan).first().and_then(|(_, replaces)| *replaces), replaced, "{case}");
        let work = if there == file("mine") { artifact_work("mine", Some(V1)) } else { Vec::new() };
        assert_eq!(plan.work, work, "{case}");
        assert_eq!(plan.blocked, [], "{case}");
        if expected.is_empty() {
            assert_eq!(plan.desired, plan.observed, "{case}");
        }
    }
}

#[test]
fn when_both_moved_the_servers_bytes_stay_and_the_other_is_mentioned() {
    let plan = changed(|_, world| {
        two_versions(world);
        on_server(world, file("mine"));
    });
    let note = Note::NewerStored { artifact: "model".to_owned(), version: V2.to_owned() };
    assert_eq!((plan.notes, plan.actions.len()), (vec![note], 0));
}

#[test]
fn bytes_without_a_known_base_are_work_unless_a_version_has_them() {
    let forget = |world: &mut Observed| rented(world).base = Base::default();
    let plan = changed(|_, world| {
        forget(world);
        on_server(world, file("mine"));
    });
    assert_eq!(plan.work, artifact_work("mine", None));
    assert!(plan.is_empty());
    assert!(changed(|_, world| forget(world)).is_empty(), "equal content is equal identity");
}

#[test]
fn what_will_be_replaced_is_stored_before_and_the_pull_waits_for_it() {
    let plan = changed(|spec, world| {
        two_versions(world);
        want(spec, Wanted::Named(V2.to_owned()));
        on_server(world, file("mine"));
    });
    assert_eq!(plan.actions[1].after(), [0]);
}

#[test]
fn an_empty_store_brings_nothing_and_says_so() {
    let bare = |spec: &mut Spec, world: &mut Observed, wanted: Wanted| {
        want(spec, wanted);
        world.store.files.clear();
        on_server(world, ArtifactFile::Missing);
        rented(world).base.artifacts.clear();
    };
    let plan = changed(|spec, world| bare(spec, world, Wanted::Latest));
    assert_eq!(plan.notes, [Note::NoVersion { artifact: "model".to_owned() }]);
    assert!(plan.is_empty());
    let none = changed(|spec, world| bare(spec, world, Wanted::None));
    assert_eq!(none.notes, [], "none is what the spec asks for");
    let named = refused(|spec, world| bare(spec, world, Wanted::Named(V1.to_owned())));
    assert_eq!(named.kind, ExitCode::Usage);
    assert!(named.hint.unwrap().contains("none"));
}

#[test]
fn an_unknown_version_is_refused_with_the_nearest() {
    let error = refused(|spec, _| want(spec, Wanted::Named("2026-11-2_export.pkl".to_owned())));
    assert_eq!((error.kind, error.hint.unwrap()), (ExitCode::Usage, format!("did you mean `{V1}`?")));
    assert_eq!(refused(|spec, _| want(spec, Wanted::Content(hash("never")))).kind, ExitCode::Usage);
}

#[test]
fn what_cannot_be_read_is_left_alone_and_said() {
    let unreadable = ArtifactFile::Unreadable { why: "it is a folder".to_owned() };
    let note = Note::UnreadableArtifact { artifact: "model".to_owned(), why: "it is a folder".to_owned() };
    for wanted in [Wanted::Latest, Wanted::Named(V2.to_owned()), Wanted::None] {
        let plan = changed(|spec, world| {
            two_versions(world);
            want(spec, wanted);
            on_server(world, unreadable.clone());
        });
        assert_eq!((actions(&plan), plan.notes), (vec![], vec![note.clone()]));
    }
    let unmentioned = changed(|_, world| seen(world).artifacts.clear());
    assert_eq!(actions(&unmentioned), [""; 0]);
}

/// A packed upload by hand: nobody knows its content before it is brought, and nothing confirms it after.
#[test]
fn a_packed_upload_by_hand_is_brought_once_and_is_no_work_then() {
    let by_hand = |world: &mut Observed| {
        world.store.files = vec![stored(PACKED, "gzipped", 10)];
        on_server(world, ArtifactFile::Missing);
    };
    let plan = changed(|_, world| by_hand(world));
    assert!(matches!(plan.actions[0].kind(), Kind::Pull { packed: true, content: None, .. }));
    let brought = |world: &mut Observed| {
        by_hand(world);
        on_server(world, file("payload"));
        rented(world).base.artifacts.insert("model".to_owned(), kept(PACKED, "payload"));
    };
    let plan = changed(|_, world| brought(world));
    assert!(plan.is_empty() && plan.work.is_empty());
    assert_eq!(plan.desired, plan.observed);
    let newer = changed(|_, world| {
        brought(world);
        two_versions(world);
    });
    assert_eq!(actions(&newer), ["store", "pull"], "the store can't confirm the old bytes, so they go first");
    let end = ending(|_, world| brought(world));
    assert_eq!(actions(&end), ["store", "delete"]);
    assert!(!end.is_refused() && end.work.is_empty());
    let told = changed(|_, world| {
        brought(world);
        let object = world.store.files[0].clone();
        let manifest = manifest_name(PACKED, &hash("payload"), &object.content);
        world.store.files.push(stored(&manifest, "{}", 11));
        two_versions(world);
    });
    assert_eq!(actions(&told), ["pull"], "a manifest of ours confirms it");
}

/// The bytes that a packed upload held turn out to be a stored version as well: that is agreement, whichever
/// of the two the spec names.
#[test]
fn a_packed_upload_with_known_bytes_is_not_brought_again_and_again() {
    for wanted in [Wanted::Named(PACKED.to_owned()), Wanted::Content(hash("payload")), Wanted::Latest] {
        let plan = changed(|spec, world| {
            want(spec, wanted.clone());
            world.store.files = vec![stored(PACKED, "gzipped", 10), stored(V2, "payload", 20)];
            on_server(world, file("payload"));
            rented(world).base.artifacts.insert("model".to_owned(), kept(PACKED, "payload"));
        });
        assert!(plan.is_empty() && plan.work.is_empty(), "{wanted:?}");
    }
}

#[test]
fn bytes_too_large_to_store_are_not_replaced() {
    let large = ArtifactFile::File { size: 150_000_001, content: hash("large") };
    let plan = changed(|spec, world| {
        two_versions(world);
        want(spec, Wanted::Named(V2.to_owned()));
        on_server(world, large);
    });
    assert_eq!(actions(&plan), [""; 0]);
    assert_eq!(
        plan.blocked,
        [Blocked::TooLarge {
            name: "model".to_owned(),
            size: 150_000_001,
            large_files: crate::facts::LargeFiles::NoRefreshToken
        }]
    );
}

#[test]
fn locked_brings_the_locked_version_or_fails() {
    let locked = |version: &str, content: Option<&str>, wanted: Wanted| {
        let (mut spec, mut world) = (spec(), observed());
        two_versions(&mut world);
        want(&mut spec, wanted);
        let mut lock = super::super::lock(&spec, &world, None);
        let content = content.map(hash);
        lock.artifacts.clear();
        if !version.is_empty() {
            lock.artifacts
                .insert("model".to_owned(), LockedArtifact { version: version.to_owned(), content });
        }
        plan(Request { lock: Some(&lock), locked: true, ..Request::of(&spec) }, &world)
    };
    assert!(locked(V1, Some("v1"), Wanted::Latest).unwrap().is_empty(), "not the latest, the locked one");
    assert_eq!(actions(&locked(V2, Some("v2"), Wanted::Latest).unwrap()), ["pull"]);
    let error = locked(V2, Some("v2 as it was"), Wanted::Latest).unwrap_err();
    assert!(error.what.contains("other bytes"), "{error}");
    assert_eq!(locked("", None, Wanted::Latest).unwrap_err().kind, ExitCode::Usage);
    assert_eq!(locked("2026-01-01_export.pkl", None, Wanted::Latest).unwrap_err().kind, ExitCode::Usage);
    assert!(locked("", None, Wanted::None).unwrap().is_empty(), "none needs no version");
}
