//! Disks: attached, detached (and billed), in the trash, gone.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::billing::{Kind, units};
use super::catalogue::{VOLUME_TYPES, is_location, monthly_price, volume_price, written};
use super::instances::{Fate, Status};
use super::reply::{Answer, Refusal, bare_id, body};
use super::tags::{self, NewTag, Tag};
use super::{Cloud, Effect};
use crate::sandbox::clock::later;
use crate::sandbox::random;
use crate::sandbox::wire::{Call, Reply};

/// How long a deleted volume can be restored.
const TRASH: SignedDuration = SignedDuration::from_hours(96);

/// The largest volume in GB.
const LARGEST: u64 = 10_240;

/// Everything a volume's status can be; the sandbox itself says only some of it.
const STATUS_WORDS: [&str; 14] = [
    "ordered",
    "creating",
    "created",
    "attached",
    "attaching",
    "detached",
    "detaching",
    "cloning",
    "deleting",
    "deleted",
    "restoring",
    "exported",
    "canceling",
    "canceled",
];

/// A disk, also after its end.
#[derive(Clone, Serialize, Deserialize)]
pub struct Volume {
    /// Its id.
    pub id: String,
    pub(super) name: String,
    pub(super) size: u64,
    /// The type, such as `NVMe`.
    pub(super) kind: String,
    pub(super) location: String,
    pub(super) tags: Vec<Tag>,
    pub(super) created: Timestamp,
    pub(super) status: VolumeStatus,
    /// The image it was made from; `None` for a data volume.
    pub(super) os_image: Option<String>,
    /// The machine it belongs to, or the cluster; a shared one can have several.
    pub(super) holders: Vec<String>,
    /// The public keys that may log in to a machine with this disk.
    pub(super) keys: Vec<String>,
    /// What becomes of it when its spot machine is taken away.
    pub(super) on_spot_discontinue: Fate,
    /// It goes when its machine goes; `true` inside means for good.
    pub(super) doomed: Option<bool>,
    /// When a deletion under way is done.
    pub(super) leaving: Option<Timestamp>,
    pub(super) deleted: Option<Timestamp>,
    pub(super) purged: bool,
}

/// What the API says of a disk's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeStatus {
    Ordered,
    Attaching,
    Attached,
    Detached,
    Deleting,
    Deleted,
}

impl Volume {
    /// Returns a data volume that has just been ordered.
    pub fn new(name: String, size: u64, location: &str, tags: Vec<Tag>, now: Timestamp) -> Self {
        Self {
            id: random::uuid(),
            name,
            size,
            kind: "NVMe".to_owned(),
            location: location.to_owned(),
            tags,
            created: now,
            status: VolumeStatus::Ordered,
            os_image: None,
            holders: Vec::new(),
            keys: Vec::new(),
            on_spot_discontinue: Fate::default(),
            doomed: None,
            leaving: None,
            deleted: None,
            purged: false,
        }
    }

    /// Returns when the cloud will next do something with it by itself.
    pub fn next_due(&self) -> Option<Timestamp> {
        let purge = self.deleted.filter(|_| !self.purged).map(|deleted| deleted + TRASH);
        self.leaving.or(purge)
    }

    /// Returns whether a machine or a cluster has it.
    pub fn belongs_to(&self, holder: &str) -> bool {
        self.holders.iter().any(|one| one == holder)
    }

    /// Returns whether several machines can have it at once.
    pub fn is_shared(&self) -> bool {
        VOLUME_TYPES.contains(&(self.kind.as_str(), true))
    }

    /// Returns the device it is on a machine: the OS volume first, the others in their order.
    fn target(&self, cloud: &Cloud) -> String {
        let holder = self.holders.first().map_or("", String::as_str);
        let beside = |other: &&Self| other.belongs_to(holder) && other.os_image.is_none();
        let before = cloud.volumes.iter().filter(beside).take_while(|other| other.id != self.id).count();
        let letter = if self.os_image.is_some() { b'a' } else { b'b' + before.min(24) as u8 };
        format!("vd{}", char::from(letter))
    }

    /// Returns what the API says of it.
    pub fn json(&self, cloud: &Cloud) -> Value {
        let holding = |id: &String| cloud.instances.iter().find(|instance| instance.id == *id);
        let holders: Vec<_> = self.holders.iter().filter_map(holding).collect();
        let holder = holders.first();
        let target = holder.map(|_| self.target(cloud));
        let instances: Vec<Value> = holders
            .iter()
            .map(|one| {
                json!({"id": one.id, "hostname": one.hostname, "ip": one.ip, "instance_type": one.kind,
                       "status": one.status, "os_volume_id": one.os_volume, "auto_rental_extension": null})
            })
            .collect();
        json!({
            "id": self.id, "name": self.name, "status": self.status, "size": self.size, "type": self.kind,
            "location": self.location, "created_at": written(self.created),
            "is_os_volume": self.os_image.is_some(), "target": target, "instance_id": holder.map(|one| &one.id),
            "instances": instances, "ssh_key_ids": holder.map(|one| one.key_ids.clone()).unwrap_or_default(),
            "pseudo_path": "", "create_directory_command": "", "mount_command": "",
            "filesystem_to_fstab_command": "", "contract": "PAY_AS_YOU_GO",
            "base_hourly_cost": units(volume_price(self.size)), "monthly_price": monthly_price(self.size),
            "currency": "usd", "long_term": null, "tags": self.tags,
        })
    }

    fn trash_json(&self, cloud: &Cloud) -> Value {
        let mut value = self.json(cloud);
        value["deleted_at"] = json!(self.deleted.map(written));
        value["is_permanently_deleted"] = json!(self.purged);
        value
    }
}

/// The body of `POST /volumes`.
#[derive(Deserialize)]
struct NewVolume {
    r#type: String,
    name: String,
    size: u64,
    location_code: Option<String>,
    instance_id: Option<String>,
    instance_ids: Option<Vec<String>>,
    tags: Option<Vec<NewTag>>,
}

#[derive(Default, Deserialize)]
struct Removal {
    is_permanent: Option<bool>,
}

impl Cloud {
    /// `GET /volumes`: those that are not deleted.
    pub(super) fn list_volumes(&self, call: &Call, now: Timestamp) -> Answer {
        let status = call.query("status");
        if let Some(word) = status.filter(|word| !STATUS_WORDS.contains(word)) {
            return Err(Refusal::invalid(format!("Invalid status value: {word}")));
        }
        let listed = self.listed(now).volumes.into_iter();
        let listed = listed.filter(|volume| status.is_none_or(|word| volume["status"] == word));
        Ok(Reply::json(200, &listed.collect()))
    }

    /// `GET /volumes/trash`: those that can still be restored.
    pub(super) fn list_trash(&self) -> Answer {
        let listed = self.volumes.iter().filter(|volume| volume.deleted.is_some() && !volume.purged);
        Ok(Reply::json(200, &listed.map(|volume| volume.trash_json(self)).collect()))
    }

    /// `GET /volumes/{id}`; a deleted one still answers.
    pub(super) fn show_volume(&self, id: &str) -> Answer {
        Ok(Reply::json(200, &self.volume(id)?.json(self)))
    }

    /// `POST /volumes`.
    pub(super) fn create_volume(&mut self, call: &Call, now: Timestamp) -> Answer {
        let asked: NewVolume = body(call)?;
        check_type(&asked.r#type)?;
        check_name(&asked.name)?;
        check_size(asked.size)?;
        let location = asked.location_code.unwrap_or_else(|| "FIN-03".to_owned());
        if !is_location(&location) {
            return Err(Refusal::invalid("Invalid location code"));
        }
        if !self.account.covers(volume_price(asked.size)) {
            return Err(Refusal::funds());
        }
        let mut volume = Volume::new(asked.name, asked.size, &location, tags::checked(asked.tags)?, now);
        (volume.kind, volume.status) = (asked.r#type, VolumeStatus::Detached);
        for instance in asked.instance_id.into_iter().chain(asked.instance_ids.unwrap_or_default()) {
            if !volume.holders.is_empty() && !volume.is_shared() {
                return Err(Refusal::invalid("Volume can be attached to one instance only"));
            }
            self.holder_offline(&instance, &location)?;
            volume.holders.push(instance);
            volume.status = VolumeStatus::Attached;
        }
        let id = volume.id.clone();
        self.add_volume(volume, now);
        Ok(bare_id(202, &id))
    }

    /// `DELETE /volumes/{id}`, with the flag in the query or in the body.
    pub(super) fn remove_volume(&mut self, call: &Call, id: &str, now: Timestamp) -> Answer {
        let removal: Removal = if call.body.is_empty() { Removal::default() } else { body(call)? };
        let permanently = removal.is_permanent.unwrap_or(call.query("is_permanent") == Some("true"));
        self.delete_volume(id, permanently, now)?;
        Ok(Reply::empty(202))
    }

    /// Takes a volume into the books.
    pub(super) fn add_volume(&mut self, volume: Volume, now: Timestamp) {
        self.account.open(Kind::Volume, &volume.id, &volume.name, volume_price(volume.size), now);
        self.volumes.push(volume);
    }

    /// Refuses unless the volume is detached, or can be shared, and is in this location.
    pub(super) fn attachable(&self, id: &str, location: &str) -> Result<(), Refusal> {
        let volume = self.volume(id)?;
        let free = volume.status == VolumeStatus::Detached
            || (volume.is_shared() && volume.status == VolumeStatus::Attached);
        if !free {
            return Err(Refusal::invalid("Volume is not detached"));
        }
        if volume.location != location {
            return Err(Refusal::invalid("Volume and instance must be in the same location"));
        }
        Ok(())
    }

    /// Marks the volumes of a machine that is being built as attached.
    pub(super) fn attach_all(&mut self, instance: &str) {
        for volume in self.volumes.iter_mut().filter(|volume| volume.belongs_to(instance)) {
            volume.status = VolumeStatus::Attached;
        }
    }

    /// Decides that a volume goes once its machine is gone.
    pub(super) fn doom_volume(&mut self, id: &str, permanently: bool) {
        for volume in self.volumes.iter_mut().filter(|volume| volume.id == id) {
            volume.doomed = Some(permanently);
        }
    }

    /// Lets go of a gone machine's volumes: the doomed ones leave, the others are detached and bill on.
    pub(super) fn release_volumes(&mut self, instance: &str, now: Timestamp) {
        let leaving = later(now, self.timing.deleting_volume);
        for volume in self.volumes.iter_mut().filter(|volume| volume.belongs_to(instance)) {
            volume.holders.retain(|holder| holder != instance);
            match volume.doomed {
                // What another machine still has stays with it.
                _ if !volume.holders.is_empty() => volume.doomed = None,
                Some(_) => (volume.status, volume.leaving) = (VolumeStatus::Deleting, Some(leaving)),
                None => volume.status = VolumeStatus::Detached,
            }
        }
    }

    /// Does what is due with a volume: ends a deletion, or empties the trash.
    pub(super) fn turn_volume(&mut self, index: usize, at: Timestamp) {
        let volume = &self.volumes[index];
        if volume.leaving.is_some() {
            let permanently = volume.doomed == Some(true);
            self.trash(index, permanently, at);
        } else {
            self.purge(index);
        }
    }

    /// Puts a volume into the trash, where it does not bill, or past it.
    pub(super) fn trash(&mut self, index: usize, permanently: bool, now: Timestamp) {
        let volume = &mut self.volumes[index];
        (volume.status, volume.leaving) = (VolumeStatus::Deleted, None);
        volume.holders.clear();
        volume.deleted = Some(now);
        volume.doomed = None;
        self.account.close(&volume.id, now);
        if permanently {
            self.purge(index);
        }
    }

    fn purge(&mut self, index: usize) {
        let volume = &mut self.volumes[index];
        volume.purged = true;
        self.effects.push(Effect::DestroyDisk(volume.id.clone()));
    }

    /// Deletes a volume, or purges one that is in the trash already.
    pub(super) fn delete_volume(
        &mut self,
        id: &str,
        permanently: bool,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let index = self.volume_index(id)?;
        let volume = &self.volumes[index];
        if volume.deleted.is_some() {
            return match (permanently, volume.purged) {
                (true, false) => {
                    self.purge(index);
                    Ok(())
                }
                _ => Err(Refusal::forbidden("Volume is already deleted")),
            };
        }
        if volume.os_image.is_some() && !volume.holders.is_empty() {
            return Err(Refusal::forbidden("Can't delete the OS volume of an instance"));
        }
        volume.holders.iter().try_for_each(|holder| self.require_offline(holder))?;
        self.trash(index, permanently, now);
        Ok(())
    }

    /// Refuses unless the machine is in this location and offline.
    pub(super) fn holder_offline(&self, instance: &str, location: &str) -> Result<(), Refusal> {
        let holder = self.instances.iter().find(|one| one.id == instance);
        let holder = holder.ok_or_else(|| Refusal::invalid("Invalid instance id"))?;
        if holder.location != location {
            return Err(Refusal::invalid("Volume and instance must be in the same location"));
        }
        self.require_offline(instance)
    }

    /// Refuses unless the machine is offline.
    pub(super) fn require_offline(&self, instance: &str) -> Result<(), Refusal> {
        let offline = self.instances.iter().any(|one| one.id == instance && one.status == Status::Offline);
        if offline { Ok(()) } else { Err(Refusal::forbidden("Instance must be shut down first")) }
    }

    /// Finds a volume, also a deleted one.
    pub(super) fn volume(&self, id: &str) -> Result<&Volume, Refusal> {
        Ok(&self.volumes[self.volume_index(id)?])
    }

    /// Finds a volume that is not deleted.
    pub(super) fn living_index(&self, id: &str) -> Result<usize, Refusal> {
        let index = self.volume_index(id)?;
        let living = self.volumes[index].deleted.is_none();
        if living { Ok(index) } else { Err(Refusal::forbidden("Volume is deleted")) }
    }

    /// Returns where a volume stands.
    pub(super) fn volume_index(&self, id: &str) -> Result<usize, Refusal> {
        let index = self.volumes.iter().position(|volume| volume.id == id);
        index.ok_or_else(|| Refusal::not_found("Volume not found"))
    }
}

/// Refuses a name that is none.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    if name.is_empty() { Err(Refusal::invalid("name should not be empty")) } else { Ok(()) }
}

/// Refuses a size that is no size.
pub fn check_size(size: u64) -> Result<(), Refusal> {
    if (1..=LARGEST).contains(&size) { Ok(()) } else { Err(Refusal::invalid("Invalid volume size")) }
}

/// Refuses a type that is not sold here.
pub fn check_type(kind: &str) -> Result<(), Refusal> {
    let sold = VOLUME_TYPES.iter().any(|(name, _)| *name == kind);
    if sold { Ok(()) } else { Err(Refusal::invalid("Invalid volume type")) }
}
