//! What bills in the account and belongs to no spec at hand; and the removal of what is ours of it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use super::{Action, Due, Kind, due};
use crate::error::{Error, ExitCode, Result};
use crate::facts::{Cloud, Instance, Money, Status, Volume};
use crate::record::{Record, TAG_SESSION, TAG_STORE, mark, volumes_of};

/// One thing that bills and that no spec at hand asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Orphan {
    /// `instance` or `volume`.
    pub kind: &'static str,
    /// The cloud's id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// The API's word for its state.
    pub status: String,
    /// The session whose mark it carries; none for what isn't ours.
    pub session: Option<String>,
    /// What it costs per hour.
    pub price_per_hour: Money,
    /// What a volume costs per month.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_per_month: Option<Money>,
    /// When it was made, where the API says.
    pub created_at: Option<Timestamp>,
}

/// Lists what bills and belongs to none of `sessions` (name and store), machines first.
pub fn orphans(cloud: &Cloud, sessions: &BTreeSet<(String, String)>) -> Vec<Orphan> {
    let belongs = |mark: &Option<(String, String)>| mark.as_ref().is_some_and(|mark| sessions.contains(mark));
    let gone = |instance: &&Instance| instance.status == Status::Discontinued;
    let living = || cloud.instances.iter().filter(|instance| !gone(instance));
    let mut machines: Vec<Orphan> =
        living().filter(|instance| !belongs(&mark(instance))).map(of_machine).collect();
    let holder = |volume: &Volume| {
        living().find(|one| one.volumes.contains(&volume.id) || volume.instance.as_ref() == Some(&one.id))
    };
    let held = |volume: &Volume| holder(volume).is_some_and(|instance| belongs(&mark(instance)));
    let there = |volume: &&Volume| !matches!(volume.status.as_str(), "deleted" | "deleting");
    let volumes = cloud.volumes.iter().filter(there);
    let mut volumes: Vec<Orphan> =
        volumes.filter(|volume| !belongs(&volume_mark(volume)) && !held(volume)).map(of_volume).collect();
    machines.sort_by(|a, b| a.id.cmp(&b.id));
    volumes.sort_by(|a, b| a.id.cmp(&b.id));
    machines.into_iter().chain(volumes).collect()
}

/// Plans the removal of exactly these: only ours, and no machine whose session still counts on it.
pub fn removal(ids: &[String], cloud: &Cloud, orphans: &[Orphan], records: &[Record]) -> Result<Vec<Action>> {
    let mut actions: Vec<Action> = Vec::new();
    for id in ids {
        let orphan = orphans.iter().find(|orphan| orphan.id == *id).ok_or_else(|| {
            refused(format!("`{id}` is no orphan")).why("nothing that bills without a spec here has this id")
        })?;
        if orphan.session.is_none() {
            return Err(refused(format!("{} `{id}` is not ours", orphan.kind))
                .why("it carries no mark of a session, so somebody else may count on it"));
        }
        let kind = match cloud.instances.iter().find(|instance| instance.id == *id) {
            Some(instance) => end(instance, cloud.now, records)?,
            None => of_detached(cloud.volumes.iter().find(|volume| volume.id == *id), orphan)?,
        };
        actions.push(Action::new(kind, &[]));
    }
    Ok(actions)
}

fn end(instance: &Instance, now: Timestamp, records: &[Record]) -> Result<Kind> {
    let record = records.iter().find(|record| record.owns(instance));
    let counted_on =
        |why: String| refused(format!("machine `{}` belongs to a running session", instance.id)).why(why);
    match due(instance, record, now) {
        Due::At(until) => Err(counted_on(format!("its deadline is {until}"))),
        Due::Protected => Err(counted_on("its session protects it".to_owned())),
        Due::Now => Ok(Kind::Delete { machine: instance.id.clone(), volumes: volumes_of(instance) }),
    }
}

fn of_detached(volume: Option<&Volume>, orphan: &Orphan) -> Result<Kind> {
    match volume {
        Some(volume) if volume.status == "detached" => {
            Ok(Kind::DeleteVolume { volume: volume.id.clone(), name: volume.name.clone() })
        }
        _ => Err(refused(format!("volume `{}` is {}, not detached", orphan.id, orphan.status))
            .why("a machine has it; it goes with the machine")),
    }
}

fn refused(what: String) -> Error {
    Error::of(ExitCode::Refused, what).hint("`dacapo orphans` lists what can be removed; nothing was removed")
}

fn volume_mark(volume: &Volume) -> Option<(String, String)> {
    let tag = |key: &str| volume.tags.get(key).cloned();
    Some((tag(TAG_SESSION)?, tag(TAG_STORE)?))
}

fn of_machine(instance: &Instance) -> Orphan {
    Orphan {
        kind: "instance",
        id: instance.id.clone(),
        name: instance.hostname.clone(),
        status: instance.status.to_string(),
        session: mark(instance).map(|(session, _)| session),
        price_per_hour: instance.price_per_hour,
        price_per_month: None,
        created_at: Some(instance.created_at),
    }
}

fn of_volume(volume: &Volume) -> Orphan {
    Orphan {
        kind: "volume",
        id: volume.id.clone(),
        name: volume.name.clone(),
        status: volume.status.clone(),
        session: volume_mark(volume).map(|(session, _)| session),
        price_per_hour: volume.price_per_hour,
        price_per_month: Some(volume.price_per_month),
        created_at: volume.created_at,
    }
}
