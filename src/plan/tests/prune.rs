//! Pruning: what nothing speaks for goes, everything else stays and says why.

use super::*;
use crate::version::{Manifest, Told};

const V3: &str = "2026-11-22_export.pkl.gz";
const V4: &str = "2026-11-23_export.pkl";

/// Four versions of ours, oldest first; each has a manifest.
fn store() -> Vec<StoredFile> {
    let version = |name: &str, stored_as: &str, payload: &str, second| {
        let object = stored(name, stored_as, second);
        let beside = manifest_name(name, &hash(payload), &object.content);
        [object, stored(&beside, "{}", second)]
    };
    let all = [
        version(V1, "v1", "v1", 10),
        version(V2, "v2", "v2", 20),
        version(V3, "gz", "v3", 30),
        version(V4, "v4", "v4", 40),
    ];
    all.into_iter().flatten().collect()
}

struct Case {
    spec: Spec,
    files: Vec<StoredFile>,
    keep: usize,
    uploads: Uploads,
    mentions: Vec<Mention>,
    told: BTreeMap<String, Told>,
}

fn case() -> Case {
    Case {
        spec: spec(),
        files: store(),
        keep: 1,
        uploads: Uploads::Stay,
        mentions: Vec::new(),
        told: BTreeMap::new(),
    }
}

fn pruned(change: impl FnOnce(&mut Case)) -> Prune {
    let mut case = case();
    change(&mut case);
    let Case { spec, files, keep, uploads, mentions, told } = &case;
    let (keep, uploads) = (*keep, *uploads);
    prune(PruneRequest { spec, artifact: None, keep, uploads, files, mentions, told }).unwrap()
}

/// The versions that go, with how many files each takes along.
fn gone(plan: &Prune) -> Vec<(&str, usize)> {
    let gone = |action: &'_ Action| match action.kind() {
        Kind::DeleteVersion { object, manifests, .. } => object.iter().len() + manifests.len(),
        other => panic!("{other:?}"),
    };
    let name = |action: &'_ Action| match action.kind() {
        Kind::DeleteVersion { version, .. } => version.clone(),
        other => panic!("{other:?}"),
    };
    let known =
        |name: String| [V1, V2, V3, V4].into_iter().find(|known| *known == name).expect("of the store");
    plan.actions.iter().map(|action| (known(name(action)), gone(action))).collect()
}

fn reasons<'a>(plan: &'a Prune, name: &str) -> &'a [Reason] {
    &plan.artifacts[0].versions.iter().find(|version| version.name == name).unwrap().stays
}

#[test]
fn the_newest_stay_and_the_oldest_go_first_with_their_manifests() {
    let plan = pruned(|case| case.keep = 2);
    assert_eq!(gone(&plan), [(V1, 2), (V2, 2)]);
    assert_eq!(reasons(&plan, V4), [Reason::Newest]);
    assert_eq!(reasons(&plan, V3), [Reason::Recent]);
    assert!(plan.actions.iter().all(|action| action.after().is_empty()), "one that fails holds nothing up");
    assert_eq!(gone(&pruned(|case| case.keep = 9)), []);
    assert_eq!(gone(&pruned(|case| case.keep = 0)), [(V1, 2), (V2, 2), (V3, 2)], "the newest never goes");
}

#[test]
fn a_pinned_version_stays_by_name_and_by_content() {
    let pin =
        |wanted: Wanted| pruned(|case| drop(case.spec.artifacts.insert("model".to_owned(), model(wanted))));
    for wanted in [Wanted::Named(V3.to_owned()), Wanted::Content(hash("v3"))] {
        let plan = pin(wanted);
        assert_eq!(gone(&plan), [(V1, 2), (V2, 2)]);
        assert_eq!(reasons(&plan, V3), [Reason::Pinned]);
    }
}

#[test]
fn what_any_lock_names_stays_whether_it_can_be_read_or_not() {
    let lock = |version: &str, content: Option<&str>| {
        let locked = LockedArtifact { version: version.to_owned(), content: content.map(hash) };
        Lock { artifacts: [("model".to_owned(), locked)].into(), ..Lock::default() }.to_text()
    };
    let by = || vec![Reason::Named(By::Lock { at: "somewhere".to_owned() })];
    let conflict = format!("<<<<<<< HEAD\n{}=======\n", lock(V2, None));
    let newer = lock(V2, None).replace("version = 1", "version = 7");
    let renamed = lock("2026-11-01_export.pkl", Some("v2"));
    for text in [lock(V2, Some("v2")), lock(V2, None), conflict, newer, renamed] {
        let plan = pruned(|case| case.mentions.push(Mention::in_lock("somewhere", &text)));
        assert_eq!(gone(&plan), [(V1, 2), (V3, 2)], "{text}");
        assert_eq!(reasons(&plan, V2), by(), "{text}");
    }
    let many = pruned(|case| case.mentions = vec![Mention::in_lock("somewhere", &lock(V2, None)); 3]);
    assert_eq!(reasons(&many, V2), by(), "said once");
}

#[test]
fn what_a_machine_has_and_what_the_last_one_left_stays() {
    let mut record = observed().record;
    record.last.artifacts = [("model".to_owned(), kept(V2, "v2"))].into();
    let by = [Reason::Named(By::Record { session: "lesson3".to_owned() })];
    for mention in [Mention::of(&record), Mention::in_record("lesson3", &record.to_json())] {
        let plan = pruned(|case| case.mentions.push(mention));
        assert_eq!(gone(&plan), [(V3, 2)]);
        assert_eq!((reasons(&plan, V1), reasons(&plan, V2)), (&by[..], &by[..]));
    }
    let newer = format!("{{\"version\": 9, \"machine\": {{\"base\": \"{V3}\"}}}}");
    let plan = pruned(|case| case.mentions.push(Mention::in_record("other", newer.as_bytes())));
    assert_eq!(gone(&plan), [(V1, 2), (V2, 2)], "a record that can't be read speaks for what stands in it");
}

#[test]
fn uploads_by_hand_go_only_when_asked_for() {
    let by_hand = |case: &mut Case| {
        // No manifest; one that was written for what stood there before; one that says so.
        case.files.retain(|file| !file.path.starts_with(&format!("{V1}.")));
        case.files.iter_mut().find(|file| file.path == V2).unwrap().content = hash("replaced");
        let made = Manifest {
            version: 1,
            payload: hash("v3"),
            size: 2,
            stored: hash("gz"),
            stored_at: None,
            compression: "gzip".to_owned(),
            commit: None,
            dirty: None,
            instance_type: None,
            image: None,
            environment: None,
            session: "lesson3".to_owned(),
            by_hand: true,
        };
        case.told = [(V3.to_owned(), Told::By(Box::new(made)))].into();
    };
    let plan = pruned(by_hand);
    assert_eq!(gone(&plan), []);
    for name in [V1, V2, V3] {
        assert_eq!(reasons(&plan, name), [Reason::ByHand], "{name}");
    }
    let all = pruned(|case| {
        by_hand(case);
        case.uploads = Uploads::Go;
    });
    assert_eq!(gone(&all), [(V1, 1), (V2, 2), (V3, 2)], "what is left of a manifest goes along");
}

#[test]
fn a_version_whose_manifest_cannot_be_used_stays() {
    let plan = pruned(|case| {
        case.uploads = Uploads::Go;
        case.told = [(V1.to_owned(), Told::Unusable("it was edited".to_owned()))].into();
    });
    assert_eq!(gone(&plan), [(V2, 2), (V3, 2)]);
    assert_eq!(reasons(&plan, V1), [Reason::UnusableManifest { why: "it was edited".to_owned() }]);
}

/// A run that was cut short deletes an object and leaves its manifest.
#[test]
fn a_manifest_whose_version_is_gone_goes_too() {
    let plan = pruned(|case| {
        case.keep = 9;
        case.files.retain(|file| file.path != V2);
    });
    assert_eq!(gone(&plan), [(V2, 1)]);
}

#[test]
fn an_artifact_that_is_not_there_is_refused_with_the_nearest() {
    let Case { spec, files, keep, uploads, mentions, told } = &case();
    let (keep, uploads) = (*keep, *uploads);
    let request = PruneRequest { spec, artifact: Some("modle"), keep, uploads, files, mentions, told };
    let error = prune(request).unwrap_err();
    assert_eq!((error.kind, error.hint.as_deref()), (ExitCode::Usage, Some("did you mean `model`?")));
}

#[test]
fn what_would_go_is_what_has_to_be_told() {
    let plan = pruned(|case| case.keep = 2);
    let going: Vec<String> = plan.going(&spec(), &store()).into_iter().map(|version| version.name).collect();
    assert_eq!(going, [V1, V2]);
}
