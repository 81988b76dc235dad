//! Worlds that agree, with one thing changed; `carry` carries whole plans out on generated worlds.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::*;
use crate::digest::ContentHash;
use crate::facts::{
    AccountKey, ArtifactFile, Checkout, Cloud, Dirty, Image, InstanceType, LargeFiles, LocalCheckout, Money,
    NewFile, Probe, Process, PublicKey, Repo, Store, StoredFile, Tip, Volume,
};
use crate::guard::Guard;
use crate::lock::{LockedArtifact, LockedMachine};
use crate::observed::{Closer, Laptop};
use crate::record::{self, Ended, Intent, Kept, Record};
use crate::spec::{Artifact, Compress, OnAbsent, Wanted};
use crate::version::manifest_name;
use crate::world::{Machine, Market};

mod artifacts;
mod carry;
mod code;
mod disk;
mod end;
mod environment;
mod machine;
mod notebook;
mod prune;
mod set_up;

const ID: &str = "m-1";
const URL: &str = "git@git.example:me/lesson3.git";
const V1: &str = "2026-11-20_export.pkl";
const V2: &str = "2026-11-21_export.pkl";

fn tip() -> String {
    "a".repeat(40)
}

fn old() -> String {
    "b".repeat(40)
}

fn mine() -> String {
    "c".repeat(40)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

fn now() -> Timestamp {
    at(7_200)
}

fn key() -> PublicKey {
    PublicKey::parse("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== me@laptop").unwrap()
}

fn money(units: f64) -> Money {
    Money::from_units(units)
}

fn hash(text: &str) -> ContentHash {
    ContentHash::of(text.as_bytes())
}

fn spec() -> Spec {
    Spec {
        name: "lesson3".to_owned(),
        state: State::Running,
        store: None,
        disposable: Vec::new(),
        instance: crate::spec::Instance {
            types: vec!["big".to_owned(), "small".to_owned()],
            locations: vec!["FIN-03".to_owned(), "FIN-01".to_owned()],
            image: "ubuntu-24.04".to_owned(),
            ssh_key: "~/.ssh/id_ed25519.pub".to_owned(),
            os_volume_gb: 100,
            on_absent: crate::spec::DiskFate::Delete,
            market: Market::OnDemand,
        },
        repo: crate::spec::Repo {
            url: URL.to_owned(),
            branch: "main".to_owned(),
            path: "lesson3".to_owned(),
            on_absent: OnAbsent::Refuse,
            save: Vec::new(),
        },
        limits: crate::facts::Limits::default(),
        notebook: None,
        setup: None,
        artifacts: [("model".to_owned(), model(Wanted::Latest))].into(),
    }
}

fn model(version: Wanted) -> Artifact {
    Artifact { path: "export.pkl".to_owned(), version, compress: Compress::None }
}

fn asked() -> Machine {
    Machine {
        r#type: "small".to_owned(),
        location: "FIN-01".to_owned(),
        image: "ubuntu-24.04".to_owned(),
        ssh_key: key().fingerprint(),
        os_volume_gb: 100,
        market: Market::OnDemand,
    }
}

fn instance(id: &str, status: &str) -> Instance {
    Instance {
        id: id.to_owned(),
        status: Status::from(status.to_owned()),
        ip: Some("127.77.0.1".to_owned()),
        created_at: at(0),
        hostname: "lesson3".to_owned(),
        description: record::description("lesson3", "abcd", "n-1"),
        r#type: "small".to_owned(),
        image: "Ubuntu 24.04, in the API's own words".to_owned(),
        location: "FIN-01".to_owned(),
        price_per_hour: money(1.0),
        spot: false,
        os_volume: Some(format!("os-{id}")),
        volumes: vec![format!("os-{id}")],
        tags: record::tags("lesson3", "abcd", "n-1"),
        notebook: None,
    }
}

fn volume(id: &str, instance: Option<&str>) -> Volume {
    Volume {
        id: id.to_owned(),
        name: format!("volume {id}"),
        status: if instance.is_some() { "attached" } else { "detached" }.to_owned(),
        size_gb: 100,
        instance: instance.map(str::to_owned),
        price_per_hour: money(0.01),
        price_per_month: money(7.3),
        location: "FIN-01".to_owned(),
        created_at: None,
        deleted_at: None,
        tags: record::tags("lesson3", "abcd", "n-1"),
    }
}

fn stored(path: &str, content: &str, seconds: i64) -> StoredFile {
    StoredFile {
        path: path.to_owned(),
        rev: "0123456789".to_owned(),
        size: content.len() as u64,
        content: hash(content),
        modified: at(seconds),
    }
}

fn kept(version: &str, content: &str) -> Kept {
    Kept { version: version.to_owned(), payload: hash(content), size: content.len() as u64 }
}

fn file(content: &str) -> ArtifactFile {
    ArtifactFile::File { size: content.len() as u64, content: hash(content) }
}

fn ended(id: &str, volumes: &[&str]) -> Ended {
    let volumes = volumes.iter().map(|&id| id.to_owned()).collect();
    Ended { id: id.to_owned(), at: at(7_000), volumes, discarded: Vec::new(), kept: None, receipt: None }
}

fn probe() -> Probe {
    Probe {
        python: "3.12.3".to_owned(),
        git: Some("2.43.0".to_owned()),
        gpu: Some("NVIDIA L40S".to_owned()),
        home: "/home/me".to_owned(),
        disk_free: 1 << 36,
        set_up: true,
        checkout: Some(checkout()),
        artifacts: [("model".to_owned(), file("v1"))].into(),
        files: Some(Vec::new()),
        more_files: 0,
        processes: Vec::new(),
        notebook: None,
        setup: None,
    }
}

fn checkout() -> Checkout {
    Checkout {
        broken: None,
        remote: Some(URL.to_owned()),
        head: Some(tip()),
        branch: Some("main".to_owned()),
        tips: vec![named("branch main", tip())],
        dirty: Vec::new(),
        nested: Vec::new(),
        lfs: Vec::new(),
        unfinished: Vec::new(),
        snapshot: None,
        contains_wanted: true,
    }
}

fn named(name: &str, commit: String) -> Tip {
    Tip { name: name.to_owned(), commit, ..Tip::default() }
}

fn dirty(path: &str, how: &str) -> Dirty {
    Dirty { path: path.to_owned(), how: how.to_owned(), size: Some(1), ..Dirty::default() }
}

fn offer(name: &str, price: f64) -> InstanceType {
    InstanceType {
        name: name.to_owned(),
        price_per_hour: money(price),
        spot_price: None,
        images: vec!["ubuntu-24.04".to_owned(), "debian-12".to_owned()],
        gpus: 1,
    }
}

fn image(slug: &str) -> Image {
    Image { id: format!("id-of-{slug}"), slug: slug.to_owned() }
}

/// A machine that runs as the spec says, with the tip and the latest version on it.
fn observed() -> Observed {
    let mut record = Record::start("lesson3", "abcd", None).with_created(ID.to_owned());
    let machine = record.machine.as_mut().unwrap();
    machine.nonce = Some("n-1".to_owned());
    machine.asked = Some(asked());
    machine.host_key = Some("ssh-ed25519 AAAA".to_owned());
    machine.login = true;
    machine.base.branch = Some("main".to_owned());
    machine.base.commit = Some(tip());
    machine.base.artifacts = [("model".to_owned(), kept(V1, "v1"))].into();
    Observed {
        cloud: Cloud {
            now: now(),
            instances: vec![instance(ID, "running")],
            recorded: None,
            trash: None,
            volumes: vec![volume("os-m-1", Some(ID))],
            types: vec![offer("big", 2.0), offer("small", 1.0)],
            stock: [("FIN-01", "small"), ("FIN-03", "big")]
                .map(|(place, name)| (place.to_owned(), vec![name.to_owned()]))
                .into(),
            images: vec![image("ubuntu-24.04"), image("debian-12"), image("windows")],
            locations: vec!["FIN-01".to_owned(), "FIN-03".to_owned(), "ICE-01".to_owned()],
            keys: vec![AccountKey { id: "k-1".to_owned(), name: "mine".to_owned(), key: key() }],
            balance: money(50.0),
            currency: "usd".to_owned(),
        },
        server: Server::Seen(Box::new(probe())),
        repo: Repo {
            refs: Some([("refs/heads/main".to_owned(), tip())].into()),
            tags: BTreeMap::new(),
            unreachable: None,
            denied: false,
            contained: [(tip(), true), (old(), true), (mine(), false)].into(),
            head_behind: Some(true),
            local: None,
        },
        store: Store {
            id: "abcd".to_owned(),
            now: now(),
            files: vec![stored(V1, "v1", 10)],
            large_files: LargeFiles::NoRefreshToken,
        },
        record,
        key: key(),
        laptop: Laptop { agent: Some(vec![key().fingerprint()]), private_key: false, spec_in_repo: false },
        closer: Closer::default(),
    }
}

/// The same session, ended by us.
fn ended_world() -> (Spec, Observed) {
    let mut world = observed();
    rented(&mut world).ending = Some(ended(ID, &["os-m-1"]));
    world.record = world.record.without_machine();
    world.cloud.instances.clear();
    world.cloud.volumes.clear();
    world.server = Server::None;
    (Spec { state: State::Absent, ..spec() }, world)
}

fn rented(world: &mut Observed) -> &mut Rented {
    world.record.machine.as_mut().unwrap()
}

fn seen(world: &mut Observed) -> &mut Probe {
    match &mut world.server {
        Server::Seen(probe) => probe,
        other => panic!("{other:?}"),
    }
}

fn its_checkout(world: &mut Observed) -> &mut Checkout {
    seen(world).checkout.as_mut().unwrap()
}

fn set_status(world: &mut Observed, status: &str) {
    world.cloud.instances[0].status = Status::from(status.to_owned());
    if status != "running" {
        world.server = Server::None;
    }
}

fn try_plan(spec: &Spec, world: &Observed, discards: &[Discard]) -> Result<Plan> {
    plan(Request { discards, ..Request::of(spec) }, world)
}

/// The plan of the agreeing world with one thing changed.
fn changed(change: impl FnOnce(&mut Spec, &mut Observed)) -> Plan {
    changed_with(&[], change)
}

fn changed_with(discards: &[Discard], change: impl FnOnce(&mut Spec, &mut Observed)) -> Plan {
    let (mut spec, mut world) = (spec(), observed());
    change(&mut spec, &mut world);
    try_plan(&spec, &world, discards).unwrap()
}

/// The same, where the session is to end.
fn ending(change: impl FnOnce(&mut Spec, &mut Observed)) -> Plan {
    changed(|spec, world| {
        spec.state = State::Absent;
        change(spec, world);
    })
}

fn refused(change: impl FnOnce(&mut Spec, &mut Observed)) -> Error {
    let (mut spec, mut world) = (spec(), observed());
    change(&mut spec, &mut world);
    try_plan(&spec, &world, &[]).unwrap_err()
}

fn actions(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(|action| word(action.kind())).collect()
}

fn word(kind: &Kind) -> String {
    serde_json::to_value(kind).unwrap()["action"].as_str().unwrap().to_owned()
}

/// No machine yet: what `up` finds the first time.
fn never_rented(world: &mut Observed) {
    world.record = Record::start("lesson3", "abcd", None);
    world.cloud.instances.clear();
    world.cloud.volumes.clear();
    world.server = Server::None;
}

#[test]
fn worlds_that_agree_plan_nothing() {
    let plan = changed(|_, _| {});
    assert!(plan.is_empty() && !plan.is_refused());
    assert_eq!(plan.desired, plan.observed);
    assert!(plan.desired.machine.is_some() && plan.desired.code.is_some());
    assert_eq!((plan.work, plan.notes, plan.guards), (vec![], vec![], vec![]));
}

#[test]
fn a_session_that_we_ended_plans_nothing() {
    let (spec, world) = ended_world();
    let plan = try_plan(&spec, &world, &[]).unwrap();
    assert!(plan.is_empty() && !plan.is_refused());
    assert_eq!((plan.desired, plan.observed), (World::default(), World::default()));
    assert_eq!((plan.work, plan.notes, plan.guards, plan.money.now), (vec![], vec![], vec![], vec![]));
}

#[test]
fn planning_twice_gives_the_same() {
    let once = changed(|_, world| never_rented(world));
    assert_eq!(once, changed(|_, world| never_rented(world)));
    assert!(once.agrees_with(&once.clone()));
}

#[test]
fn an_up_from_nothing_is_the_whole_story_in_order() {
    let plan = changed(|_, world| never_rented(world));
    assert_eq!(actions(&plan), ["create", "ready", "clone", "pull", "set_up"]);
    for action in &plan.actions {
        assert_eq!(action.after(), (0..action.id()).collect::<Vec<_>>(), "each waits for all before it");
    }
    assert_eq!(plan.observed, World::default());
    assert_eq!(plan.desired.code.unwrap().commit, tip());
    assert_eq!(plan.desired.artifacts["model"].version, V1);
}

#[test]
fn transfers_of_different_files_do_not_wait_for_each_other() {
    let plan = changed(|spec, world| {
        never_rented(world);
        let other = Artifact { path: "out/vocab.txt".to_owned(), ..model(Wanted::Latest) };
        let namesake = Artifact { path: "out/EXPORT.pkl".to_owned(), ..other.clone() };
        spec.artifacts.extend([("vocab".to_owned(), other), ("zwin".to_owned(), namesake)]);
        world.store.files.push(stored("2026-11-20_vocab.txt", "words", 11));
    });
    assert_eq!(actions(&plan), ["create", "ready", "clone", "pull", "pull", "pull", "set_up"]);
    let after: Vec<_> = plan.actions.iter().map(Action::after).collect();
    assert_eq!(after[4], [0, 1, 2], "beside the model");
    assert_eq!(after[5], [0, 1, 2, 3], "versions are named for the file");
    assert_eq!(after[6], [0, 1, 2, 3, 4, 5]);
}

#[test]
fn the_laptop_is_spoken_of_where_it_matters() {
    let local = LocalCheckout { unpushed: 2, dirty: false };
    let plan = changed(|_, world| world.repo.local = Some(local.clone()));
    assert_eq!(plan.notes, [Note::LaptopUnpushed { commits: 2, dirty: false }]);
    assert!(plan.is_empty());
    assert_eq!(ending(|_, world| world.repo.local = Some(local)).notes, []);
    let quiet = LocalCheckout::default();
    assert_eq!(changed(|_, world| world.repo.local = Some(quiet)).notes, []);
}

#[test]
fn a_laptop_that_cannot_log_in_is_told() {
    let fingerprint = key().fingerprint();
    let note = |agent| vec![Note::CannotLogIn { fingerprint: fingerprint.clone(), agent }];
    assert_eq!(changed(|_, world| world.laptop.agent = None).notes, note(false));
    assert_eq!(
        changed(|_, world| world.laptop.agent = Some(vec!["SHA256:other".to_owned()])).notes,
        note(true)
    );
    let beside = |world: &mut Observed| {
        world.laptop = Laptop { agent: None, private_key: true, spec_in_repo: false };
    };
    assert_eq!(changed(|_, world| beside(world)).notes, [], "the private key itself will do");
    let (spec, mut world) = ended_world();
    world.laptop.agent = None;
    assert_eq!(try_plan(&spec, &world, &[]).unwrap().notes, [], "nothing to log in to");
}

#[test]
fn money_counts_what_is_ours_whatever_the_list_shows() {
    let plan = changed(|_, world| {
        world.cloud.volumes.push(volume("left", None));
        world.cloud.volumes.push(Volume { tags: BTreeMap::new(), ..volume("theirs", None) });
        world.cloud.volumes.push(Volume { status: "deleted".to_owned(), ..volume("trash", None) });
        let foreign =
            Instance { tags: BTreeMap::new(), description: String::new(), ..instance("m-9", "running") };
        world.cloud.instances.push(foreign);
    });
    let ids: Vec<_> = plan.money.now.iter().map(|billing| billing.id.as_str()).collect();
    assert_eq!(ids, [ID, "left", "os-m-1"]);
    assert_eq!(plan.money.per_hour(), money(1.02));
    assert_eq!(plan.money.spent, money(2.0), "two hours at 1.00");
    assert_eq!((plan.money.balance, plan.money.currency.as_str()), (money(50.0), "usd"));
    let hidden = changed(|_, world| world.cloud.recorded = Some(world.cloud.instances.pop()));
    assert_eq!(hidden.money.per_hour(), money(1.01), "the list doesn't show it; it bills all the same");
    let offline = changed(|_, world| set_status(world, "offline"));
    assert_eq!(offline.money.per_hour(), money(1.01), "offline still bills");
}

#[test]
fn the_lock_says_what_is_there() {
    let lock = super::lock(&spec(), &observed(), None);
    let machine = LockedMachine {
        r#type: "small".to_owned(),
        location: "FIN-01".to_owned(),
        image: "ubuntu-24.04".to_owned(),
    };
    assert_eq!(lock.machine, Some(machine.clone()));
    assert_eq!(lock.commit, Some(tip()));
    let model = LockedArtifact { version: V1.to_owned(), content: Some(hash("v1")) };
    assert_eq!(lock.artifacts, [("model".to_owned(), model)].into());
    let mut own_repo = observed();
    own_repo.laptop.spec_in_repo = true;
    assert_eq!(super::lock(&spec(), &own_repo, None).commit, None);
    let (absent, world) = ended_world();
    let after = super::lock(&absent, &world, Some(&lock));
    assert_eq!(after, lock, "what the session left is what the next one brings");
}
