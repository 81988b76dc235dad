//! `PUT /instances`: start, shut down and delete, each answered per machine.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Cloud;
use super::instances::{Instance, Next, Status, unknown};
use super::reply::{Answer, OneOrMany, Refusal, body};
use crate::sandbox::clock::later;
use crate::sandbox::wire::{Call, Reply};

/// The body of the action call.
#[derive(Deserialize)]
struct Asked {
    action: String,
    id: OneOrMany,
    volume_ids: Option<Vec<String>>,
    delete_permanently: Option<bool>,
}

/// What one machine made of an action.
enum Outcome {
    Accepted,
    AlreadySo,
}

impl Cloud {
    /// Carries out one action on one or several machines.
    pub(super) fn act_on_instances(&mut self, call: &Call, now: Timestamp) -> Answer {
        let asked: Asked = body(call)?;
        let ids: Vec<String> = asked.id.into();
        if ids.is_empty() {
            return Err(Refusal::invalid("id should not be empty"));
        }
        let listed = asked.volume_ids.as_deref();
        self.check_listed(&ids, listed.unwrap_or_default())?;
        let permanently = asked.delete_permanently.unwrap_or(false);
        let outcomes: Vec<_> = ids
            .iter()
            .map(|id| match asked.action.as_str() {
                "start" | "boot" => self.start(id, now),
                "shutdown" | "force_shutdown" => self.shut_down(id, now),
                "delete" | "discontinue" => self.delete_instance(id, listed, permanently, now),
                "hibernate" => Err(Refusal::forbidden("Hibernation is not available")),
                other => Err(Refusal::invalid(format!("Invalid action: {other}"))),
            })
            .collect();
        answer(&asked.action, &ids, outcomes)
    }

    fn start(&mut self, id: &str, now: Timestamp) -> Result<Outcome, Refusal> {
        let at = later(now, self.timing.starting);
        let instance = self.instance_mut(id)?;
        match instance.status {
            Status::Running => Ok(instance.stay()),
            Status::Offline => Ok(instance.turn_into(Status::Running, at)),
            status => Err(cannot("start", status)),
        }
    }

    fn shut_down(&mut self, id: &str, now: Timestamp) -> Result<Outcome, Refusal> {
        let at = later(now, self.timing.shutting_down);
        let instance = self.instance_mut(id)?;
        match instance.status {
            Status::Offline => Ok(instance.stay()),
            Status::Running => Ok(instance.turn_into(Status::Offline, at)),
            status => Err(cannot("shutdown", status)),
        }
    }

    fn delete_instance(
        &mut self,
        id: &str,
        listed: Option<&[String]>,
        permanently: bool,
        now: Timestamp,
    ) -> Result<Outcome, Refusal> {
        let at = later(now, self.timing.deleting);
        let instance = self.instance_mut(id)?;
        match instance.status {
            status @ (Status::Provisioning | Status::Discontinued) => {
                return Err(cannot("discontinue", status));
            }
            Status::Deleting => return Ok(Outcome::AlreadySo),
            _ => {}
        }
        instance.status = Status::Deleting;
        instance.next = Some(Next { at, status: Status::Discontinued });
        let (disk, id) = (instance.os_volume.clone(), instance.id.clone());
        self.effects.push(super::Effect::Disconnect(id.clone()));
        // Nothing said: the OS volume goes. A list, be it empty: exactly what it names goes.
        let doomed = listed.map_or_else(|| vec![disk], <[String]>::to_vec);
        // Without a list nothing is deleted for good, whatever the flag says.
        let permanently = permanently && listed.is_some();
        for volume in doomed.iter().filter(|volume| self.holds(&id, volume)).cloned().collect::<Vec<_>>() {
            self.doom_volume(&volume, permanently);
        }
        Ok(Outcome::Accepted)
    }

    /// Refuses a list that names a volume which none of the machines has.
    fn check_listed(&self, ids: &[String], listed: &[String]) -> Result<(), Refusal> {
        let attached = |volume: &String| ids.iter().any(|id| self.holds(id, volume));
        // For a machine that is gone already the refusal is about the machine.
        let gone = |id: &String| {
            !self.instances.iter().any(|one| one.id == *id && one.status != Status::Discontinued)
        };
        let fine = ids.iter().all(gone) || listed.iter().all(attached);
        if fine { Ok(()) } else { Err(Refusal::invalid("Invalid volume id")) }
    }

    fn holds(&self, instance: &str, volume: &str) -> bool {
        self.volumes.iter().any(|one| one.id == volume && one.belongs_to(instance))
    }

    fn instance_mut(&mut self, id: &str) -> Result<&mut Instance, Refusal> {
        self.instances.iter_mut().find(|instance| instance.id == id).ok_or_else(unknown)
    }
}

impl Instance {
    fn turn_into(&mut self, status: Status, at: Timestamp) -> Outcome {
        // Asking again while it is under way changes nothing, least of all the time it takes.
        if self.next.is_none_or(|next| next.status != status) {
            self.next = Some(Next { at, status });
        }
        Outcome::Accepted
    }

    /// Keeps it as it is, even if it was about to become something else.
    fn stay(&mut self) -> Outcome {
        if self.next.take().is_some() { Outcome::Accepted } else { Outcome::AlreadySo }
    }
}

/// Words a refusal as the real service does: "Can't discontinue a provisioning instance".
fn cannot(action: &str, status: Status) -> Refusal {
    Refusal::forbidden(format!("Can't {action} a {} instance", status.word()))
}

/// Sums up: 202 when all did it, 204 when nothing was left to do, 207 when only some could.
fn answer(action: &str, ids: &[String], outcomes: Vec<Result<Outcome, Refusal>>) -> Answer {
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    if failed == 0 && outcomes.iter().all(|outcome| matches!(outcome, Ok(Outcome::AlreadySo))) {
        return Ok(Reply::empty(204));
    }
    if failed == outcomes.len() {
        return Err(outcomes.into_iter().find_map(Result::err).expect("all of them failed"));
    }
    let results = ids.iter().zip(&outcomes).map(|(id, outcome)| result(action, id, outcome));
    Ok(Reply::json(if failed == 0 { 202 } else { 207 }, &results.collect()))
}

fn result(action: &str, id: &str, outcome: &Result<Outcome, Refusal>) -> Value {
    match outcome {
        Ok(_) => json!({"action": action, "instanceId": id, "status": "success"}),
        Err(refusal) => json!({"action": action, "instanceId": id, "status": "error",
                               "error": refusal.message, "statusCode": refusal.status}),
    }
}
