//! Machines: their life on the clock, and how the API shows them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::billing::units;
use super::catalogue::{Type, image_name, written};
use super::reply::{Answer, Refusal};
use super::tags::{self, Tag};
use super::{Cloud, Effect};
use crate::sandbox::clock::later;
use crate::sandbox::wire::{Call, Reply};

/// A rented machine, also after its end.
#[derive(Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: String,
    pub(super) hostname: String,
    pub(super) description: String,
    pub(super) kind: String,
    pub(super) image: String,
    pub(super) location: String,
    pub(super) spot: bool,
    pub(super) contract: String,
    pub(super) price: i64,
    pub(super) key_ids: Vec<String>,
    /// The public key lines, copied when the machine was made.
    pub(super) keys: Vec<String>,
    pub(super) script_id: Option<String>,
    /// The script's text, copied when the machine was made.
    #[serde(default)]
    pub(super) script: Option<String>,
    pub(super) jupyter_token: Option<String>,
    pub(super) os_volume: String,
    pub(super) tags: Vec<Tag>,
    pub(super) created: Timestamp,
    pub(super) status: Status,
    pub(super) next: Option<Next>,
    pub(super) ip: Option<String>,
    /// How it ends while it boots, instead of coming up.
    pub(super) ending: Option<Ending>,
}

/// What the API says of a machine's life: its 13 published words, less two it never says here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    New,
    Ordered,
    Pending,
    Validating,
    Provisioning,
    Running,
    Offline,
    Deleting,
    Discontinued,
    NoCapacity,
    Error,
    InstallationFailed,
    Unknown,
    #[serde(rename = "notfound")]
    NotFound,
}

impl Status {
    /// Returns the API's word.
    pub fn word(self) -> String {
        json!(self).as_str().unwrap_or_default().to_owned()
    }

    /// Reads the API's word, as a list's `status` gives it.
    pub fn asked(word: &str) -> Result<Self, Refusal> {
        serde_json::from_value(json!(word))
            .map_err(|_| Refusal::invalid(format!("Invalid status value: {word}")))
    }
}

/// How a machine can end while it boots.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It finds no place, when it would have begun to be built.
    NoCapacity,
    /// It fails, when it would have run.
    Error,
    /// Its image fails, when it would have run.
    InstallationFailed,
    /// It is taken away, when it would have run.
    Discontinued,
    /// Nobody knows of it any more, when it would have run: its id is unknown, its volumes stay.
    Gone,
}

/// What a machine becomes, and when.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// When.
    pub at: Timestamp,
    /// What.
    pub status: Status,
}

/// What becomes of a spot machine's disk when the machine is taken away.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    #[default]
    KeepDetached,
    MoveToTrash,
    DeletePermanently,
}

/// How long things take, in sandbox seconds.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(default)]
pub struct Timing {
    ordered: f64,
    pub(super) provisioning: f64,
    pub(super) starting: f64,
    pub(super) shutting_down: f64,
    pub(super) deleting: f64,
    pub(super) deleting_volume: f64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ordered: 5.0,
            provisioning: 60.0,
            starting: 20.0,
            shutting_down: 30.0,
            deleting: 20.0,
            deleting_volume: 20.0,
        }
    }
}

impl Timing {
    /// Returns the next turn of a machine that has just been ordered.
    pub fn ordered(self, now: Timestamp) -> Next {
        Next { at: later(now, self.ordered), status: Status::Provisioning }
    }
}

impl Instance {
    /// Returns what it becomes in place of `status`, given how it is to end.
    fn booted_into(&self, status: Status) -> Status {
        match (self.ending, status) {
            (Some(Ending::NoCapacity), Status::Provisioning) => Status::NoCapacity,
            (Some(Ending::Error), Status::Running) => Status::Error,
            (Some(Ending::InstallationFailed), Status::Running) => Status::InstallationFailed,
            (Some(Ending::Discontinued | Ending::Gone), Status::Running) => Status::Discontinued,
            (_, status) => status,
        }
    }

    /// Returns what the API says of it.
    pub fn json(&self, cloud: &Cloud) -> Value {
        // The ids of its volumes are filled in only once the machine is being built.
        let placed = self.status != Status::Ordered;
        let volumes = cloud.volumes.iter().filter(|volume| volume.belongs_to(&self.id));
        let volumes: Vec<&str> = volumes.filter(|_| placed).map(|volume| volume.id.as_str()).collect();
        let mut value = json!({
            "id": self.id, "ip": self.ip, "status": self.status, "created_at": written(self.created),
            "created_by_user_id": cloud.user, "hostname": self.hostname, "description": self.description,
            "location": self.location, "price_per_hour": units(self.price), "is_spot": self.spot,
            "instance_type": self.kind, "image": self.image, "os_name": image_name(&self.image),
            "startup_script_id": self.script_id, "ssh_key_ids": self.key_ids,
            "os_volume_id": placed.then_some(&self.os_volume), "volume_ids": volumes,
            "jupyter_token": self.jupyter_token, "contract": self.contract, "pricing": "FIXED_PRICE",
            "tags": self.tags,
        });
        if let Some(kind) = Type::named(&self.kind) {
            kind.describe(&mut value);
        }
        value
    }
}

impl Cloud {
    /// `GET /instances`.
    pub(super) fn list_instances(&mut self, call: &Call, now: Timestamp) -> Answer {
        self.count_list(now)?;
        let status = call.query("status").map(Status::asked).transpose()?;
        let wanted: Vec<&str> =
            call.query.iter().filter(|(key, _)| key == "tag").map(|(_, tag)| tag.as_str()).collect();
        let listed = self.listed(now).instances.into_iter().filter(|instance| match status {
            Some(status) => instance["status"] == json!(status),
            None => instance["status"] != json!(Status::Discontinued),
        });
        let listed = listed.filter(|one| wanted.iter().all(|tag| tags::matches(&one["tags"], tag)));
        Ok(Reply::json(200, &listed.collect()))
    }

    /// `GET /instances/{id}`; a discontinued one still answers.
    pub(super) fn show_instance(&self, id: &str) -> Answer {
        if self.forgotten.contains(id) {
            // Sources disagree on the status for an unknown id; this is the other one.
            return Err(Refusal::not_found(unknown().message));
        }
        let instance = self.instances.iter().find(|instance| instance.id == id);
        Ok(Reply::json(200, &instance.ok_or_else(unknown)?.json(self)))
    }

    /// Lets a machine become what it was going to become.
    pub(super) fn turn_instance(&mut self, index: usize, next: Next) {
        let timing = self.timing;
        let status = self.instances[index].booted_into(next.status);
        let ip = (status == Status::Running).then(|| self.free_address());
        let instance = &mut self.instances[index];
        (instance.status, instance.next) = (status, None);
        match status {
            Status::Provisioning => {
                instance.next =
                    Some(Next { at: later(next.at, timing.provisioning), status: Status::Running });
                let id = instance.id.clone();
                self.attach_all(&id);
            }
            Status::Running => instance.ip = instance.ip.take().or(ip),
            Status::Offline => self.effects.push(Effect::Disconnect(instance.id.clone())),
            Status::Discontinued => self.bury(index, next.at),
            _ => {}
        }
    }

    /// Ends a machine for good: its bill, its address, its place in the stock.
    pub(super) fn bury(&mut self, index: usize, now: Timestamp) {
        let instance = &mut self.instances[index];
        (instance.status, instance.next, instance.ip) = (Status::Discontinued, None, None);
        self.effects.push(Effect::Disconnect(instance.id.clone()));
        self.account.close(&instance.id, now);
        self.stock.put_back(&instance.location, &instance.kind);
        let id = instance.id.clone();
        self.release_volumes(&id, now);
    }

    /// Takes a spot machine away, as the cloud does when somebody pays the full price for it.
    pub(super) fn evict(&mut self, index: usize, now: Timestamp) {
        let id = self.instances[index].id.clone();
        for volume in self.volumes.iter_mut().filter(|volume| volume.belongs_to(&id)) {
            volume.doomed = match volume.on_spot_discontinue {
                Fate::KeepDetached => None,
                Fate::MoveToTrash => Some(false),
                Fate::DeletePermanently => Some(true),
            };
        }
        self.bury(index, now);
    }

    /// Drops what is known of machines that vanished while they booted.
    pub(super) fn forget_the_gone(&mut self) {
        let vanished =
            |one: &mut Instance| one.status == Status::Discontinued && one.ending == Some(Ending::Gone);
        self.forgotten.extend(self.instances.extract_if(.., vanished).map(|one| one.id));
    }

    /// Returns an address that no living machine has; those of gone ones come back.
    fn free_address(&self) -> String {
        let taken = |ip: &String| self.instances.iter().any(|instance| instance.ip.as_ref() == Some(ip));
        let all = (0..=255u8).flat_map(|high| (2..=254u8).map(move |low| format!("127.77.{high}.{low}")));
        all.into_iter().find(|ip| !taken(ip)).unwrap_or_else(|| "127.77.255.255".to_owned())
    }
}

/// The refusal for an id that never was; clients match its text.
pub fn unknown() -> Refusal {
    Refusal::invalid("Invalid instance id")
}
