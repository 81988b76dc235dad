//! `dacapo reap`: ends machines past their deadline, from any machine that has the credentials.
//!
//! Spec and host key come from the session's record. A machine goes as `down` would end it; where something
//! can't be shown to be safe (no agent, no repo, work that is nowhere else, a record that is lost) its disk stays.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Args;
use jiff::SignedDuration;

use super::carry_out::{Job, ROUNDS, Wish};
use super::load::{Loaded, start};
use super::worlds::Worlds;
use super::{Approve, Asked, Global, cannot_print, interrupts};
use crate::apply::{Interrupt, take_lease};
use crate::error::{Error, ExitCode, Result};
use crate::facts::{Instance, Status};
use crate::guard::Discard;
use crate::observe::Held;
use crate::observed::Observed;
use crate::plan::{Due, due};
use crate::provider::store::RecordRead;
use crate::record::{Record, mark};
use crate::report::{self, Fate};
use crate::spec::{self, Spec, State};

/// How often the record notes at most that somebody reaps.
const SEEN: SignedDuration = SignedDuration::from_hours(1);

const EXAMPLES: &str = "Examples:
  dacapo reap                                  of the store of session.toml
  dacapo reap --store dropbox:/fastai/lesson3  of this store, where there is no session.toml";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Reap {
    /// Look after the sessions of this store too; without it, after those of session.toml's (may be repeated)
    #[arg(long, value_name = "STORE")]
    store: Vec<String>,
}

/// One place that records may be in, and the worlds as seen from there.
struct Place {
    loaded: Loaded,
    worlds: Worlds,
}

pub(super) async fn run(global: &Global, asked: &Reap) -> Result<ExitCode> {
    let mut places = Vec::new();
    for loaded in files(global, asked)? {
        let worlds = Worlds::open(global, &loaded).await?;
        places.push(Place { loaded, worlds });
    }
    let first = places.first().expect("there is one place at least");
    let (now, instances) = first.worlds.providers.cloud.instances().await?;
    let interrupt = interrupts(global);
    let mut left = false;
    let ours = instances.iter().filter(|instance| instance.status != Status::Discontinued);
    for (instance, (session, store)) in ours.filter_map(|instance| Some((instance, mark(instance)?))) {
        let (place, held) = find(&places, &session, &store).await?;
        let record = held.as_ref().map(|held| &held.record);
        let fate = match due(instance, record, now) {
            Due::At(until) => {
                if let (Some(place), Some(held)) = (place, held) {
                    note(place, held, now).await;
                }
                Fate::Waits { until }
            }
            Due::Protected => Fate::Left { why: "its session protects it".to_owned() },
            Due::Now => end(global, place, record, instance, &interrupt)
                .await
                .unwrap_or_else(|error| Fate::Left { why: error.to_string() }),
        };
        left |= matches!(fate, Fate::Left { .. });
        told(global, &session, instance, &fate)?;
    }
    Ok(if left { ExitCode::Refused } else { ExitCode::Ok })
}

fn told(global: &Global, session: &str, instance: &Instance, fate: &Fate) -> Result<()> {
    let mut out = io::stdout().lock();
    let told = if global.json {
        let mut value = serde_json::json!(fate);
        (value["session"], value["machine"]) = (session.into(), instance.id.clone().into());
        value["version"] = 1.into();
        writeln!(out, "{value}")
    } else {
        report::reaped(&mut out, session, &instance.id, fate)
    };
    told.map_err(cannot_print)
}

/// The stores to look in: those that were named, else the one of the session.toml here.
fn files(global: &Global, asked: &Reap) -> Result<Vec<Loaded>> {
    if asked.store.is_empty() {
        return Ok(vec![Loaded::read(global, Some(State::Absent))?]);
    }
    let named = asked.store.iter().map(|store| {
        let text = format!(
            "name = \"reap\"\nstore = {}\n[instance]\ntype = \"any\"\nimage = \"any\"\n\
             ssh_key = \"~/.ssh/id_ed25519.pub\"\n[repo]\nurl = \"git@localhost:none/none.git\"\n",
            toml::Value::String(store.clone())
        );
        let spec = spec::parse(&text, &[]).map_err(|mistakes| {
            let error = Error::of(ExitCode::Usage, format!("`--store {store}` names no store"));
            mistakes.into_iter().fold(error, |error, mistake| error.why(mistake.message))
        })?;
        loaded(global, spec)
    });
    named.collect()
}

/// A spec without a file.
fn loaded(global: &Global, spec: Spec) -> Result<Loaded> {
    let (path, lock_path) = (PathBuf::from("session.toml"), PathBuf::from("session.lock"));
    Ok(Loaded { spec, path, directory: start(global)?, lock: None, lock_path })
}

/// Finds the record of a machine's session, and where it is.
async fn find<'p>(
    places: &'p [Place],
    session: &str,
    store: &str,
) -> Result<(Option<&'p Place>, Option<Held>)> {
    for place in places {
        let read = place.worlds.providers.memory.read(session).await?;
        let RecordRead::Found { bytes, rev, modified, now } = read else { continue };
        let record = Record::parse(&bytes)
            .map_err(|why| Error::new(format!("cannot read the record of `{session}`")).why(why))?;
        if record.store == store && record.session == session {
            let age_seconds = now.duration_since(modified).as_secs();
            return Ok((Some(place), Some(Held { record, rev: Some(rev), age_seconds })));
        }
    }
    find_lost(places, session, store).await
}

/// Starts a record for a session whose own is gone from its store, where session.toml is at hand and says what is asked of
/// it. Anything else is somebody's whose word isn't here: a record that was never in a store is on some laptop.
async fn find_lost<'p>(
    places: &'p [Place],
    session: &str,
    store: &str,
) -> Result<(Option<&'p Place>, Option<Held>)> {
    let ours = |place: &&Place| place.loaded.spec.store.is_some() && place.loaded.spec.name == session;
    for place in places.iter().filter(ours) {
        let look = place.worlds.providers.memory.look(session).await?;
        if look.store.id != store {
            continue;
        }
        let record = Record::start(session, store, Some(look.store.now));
        let record = Record { spec: place.loaded.spec.to_lines(), ..record };
        return Ok((Some(place), Some(Held { record, rev: None, age_seconds: 0 })));
    }
    Ok((None, None))
}

/// Notes in the record that somebody reaps; whoever holds the session is left alone.
async fn note(place: &Place, held: Held, now: jiff::Timestamp) {
    let recent = held.record.reaped.is_some_and(|seen| now.duration_since(seen) < SEEN);
    if recent || held.record.machine.is_none() {
        return;
    }
    let providers = &place.worlds.providers;
    if let Ok(mut hold) = take_lease(providers, held).await {
        hold.note_reaped(now);
        // Nothing rests on it: the next run notes it again.
        drop(hold.release(providers).await);
    }
}

/// Ends one machine: as `down` would, else with its disk kept.
async fn end(
    global: &Global,
    place: Option<&Place>,
    record: Option<&Record>,
    instance: &Instance,
    interrupt: &Interrupt,
) -> Result<Fate> {
    let (Some(place), Some(record)) = (place, record) else {
        return Ok(Fate::Left { why: "its record is in no store that was named (`--store`)".to_owned() });
    };
    let noted = spec::parse(&record.spec.join("\n"), &[]);
    let same = || (place.loaded.spec.name == record.session).then(|| place.loaded.spec.clone());
    let known = noted.ok().or_else(same);
    // Without a spec nothing on it can be judged, so it isn't looked at.
    let ways: &[bool] = if known.is_some() { &[false, true] } else { &[true] };
    let spec = known.unwrap_or_else(|| unknown(&record.session, &place.loaded.spec));
    let loaded = loaded(global, Spec { state: State::Absent, ..spec })?;
    let worlds = Worlds::open(global, &loaded).await?;
    for &keep_disk in ways {
        let discard = if keep_disk { vec![Discard::Processes] } else { Vec::new() };
        let approve = Approve { asked: Asked { keep_disk, discard, ..Asked::default() }, yes: true };
        let (worlds, interrupt) = (&worlds, interrupt.clone());
        let wish = Wish::Session;
        let job = Job::new(global, &approve, &loaded, worlds, wish, interrupt);
        let observed = match ended(&job, &instance.id).await {
            // Without an agent, say, work can't be saved to a branch, and what changes all the time is never as it was
            // planned; with its disk kept nothing has to be. Who else holds the session shows nothing of what is on it.
            Err(error) if !keep_disk && !matches!(error.kind, ExitCode::Interrupted | ExitCode::Lease) => {
                continue;
            }
            ended => ended?,
        };
        if let Some(observed) = observed {
            let kept = observed.record.disk.as_ref().map(|disk| disk.volume.clone());
            return Ok(kept.map_or(Fate::Ended, |volume| Fate::DiskKept { volume }));
        }
    }
    Ok(Fate::Left { why: "`dacapo plan --set state=absent` shows what stands against it".to_owned() })
}

/// What is certain of a session whose spec nobody has: its name and its store.
fn unknown(session: &str, in_store: &Spec) -> Spec {
    Spec { name: session.to_owned(), artifacts: BTreeMap::new(), ..in_store.clone() }
}

/// Tells whether something came in between that may be over at the next look.
fn is_beaten(error: &Error) -> bool {
    matches!(error.kind, ExitCode::Lease | ExitCode::Stale)
}

/// Carries plans out until the machine is gone; none where a guard refuses.
async fn ended(job: &Job<'_>, machine: &str) -> Result<Option<Observed>> {
    let mut beaten = None;
    for _ in 0..ROUNDS {
        let (observed, held, plan) = job.look().await?;
        if plan.is_refused() {
            return Ok(None);
        }
        let there = observed.record.machine.as_ref().is_some_and(|rented| rented.id == machine);
        if plan.actions.is_empty() {
            return Ok((!there).then_some(observed));
        }
        let error = job.act(&plan, held).await.map_or_else(Some, |outcome| outcome.error);
        match error {
            Some(error) if error.kind == ExitCode::Refused => return Ok(None),
            Some(error) if !is_beaten(&error) => return Err(error),
            other => beaten = other,
        }
    }
    beaten.map_or(Ok(None), Err)
}
