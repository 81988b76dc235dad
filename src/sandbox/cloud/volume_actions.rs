//! `PUT /volumes`: attach, detach, delete, rename, resize, restore and clone.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::billing::Kind;
use super::catalogue::{is_location, volume_price};
use super::reply::{Answer, OneOrMany, Refusal, body};
use super::volumes::{Volume, VolumeStatus, check_name, check_size, check_type};
use super::{Cloud, Effect};
use crate::sandbox::wire::{Call, Reply};

/// The body of `PUT /volumes`.
#[derive(Deserialize)]
struct Asked {
    action: String,
    id: OneOrMany,
    instance_id: Option<String>,
    instance_ids: Option<Vec<String>>,
    name: Option<String>,
    size: Option<u64>,
    r#type: Option<String>,
    is_permanent: Option<bool>,
    location_code: Option<String>,
}

impl Asked {
    /// Returns the machines it names, one way or the other.
    fn instances(&self) -> Vec<String> {
        let many = self.instance_ids.iter().flatten();
        self.instance_id.iter().chain(many).cloned().collect()
    }
}

impl Cloud {
    /// `PUT /volumes`: nothing is done unless all of it can be done.
    pub(super) fn act_on_volumes(&mut self, call: &Call, now: Timestamp) -> Answer {
        let asked: Asked = body(call)?;
        let ids: Vec<String> = match asked.id {
            OneOrMany::One(ref id) => vec![id.clone()],
            OneOrMany::Many(ref ids) => ids.clone(),
        };
        if ids.is_empty() {
            return Err(Refusal::invalid("id should not be empty"));
        }
        for id in &ids {
            self.volume(id)?;
        }
        let before = (self.volumes.clone(), self.account.clone(), self.effects.len());
        let done: Result<Vec<_>, _> = ids.iter().map(|id| self.act_on_volume(id, &asked, now)).collect();
        let clones: Vec<String> = match done {
            Ok(clones) => clones.into_iter().flatten().collect(),
            Err(refusal) => {
                (self.volumes, self.account) = (before.0, before.1);
                self.effects.truncate(before.2);
                return Err(refusal);
            }
        };
        Ok(if clones.is_empty() { Reply::empty(202) } else { Reply::json(202, &json!(clones)) })
    }

    /// Carries out an action on one volume; returns the new volume's id if it makes one.
    fn act_on_volume(&mut self, id: &str, asked: &Asked, now: Timestamp) -> Result<Option<String>, Refusal> {
        match asked.action.as_str() {
            "attach" => self.attach(id, &asked.instances())?,
            "detach" => self.detach(id, &asked.instances())?,
            "delete" => self.delete_volume(id, asked.is_permanent.unwrap_or(false), now)?,
            "rename" => self.rename(id, asked.name.as_deref().unwrap_or_default())?,
            "resize" => self.resize(id, asked.size, now)?,
            "restore" => self.restore(id, now)?,
            "clone" => return self.clone_volume(id, asked, now).map(Some),
            other => return Err(Refusal::invalid(format!("Invalid action: {other}"))),
        }
        Ok(None)
    }

    fn attach(&mut self, id: &str, instances: &[String]) -> Result<(), Refusal> {
        let index = self.volume_index(id)?;
        let location = self.volumes[index].location.clone();
        if instances.is_empty() {
            return Err(Refusal::invalid("Invalid instance id"));
        }
        for instance in instances {
            self.attachable(id, &location)?;
            self.holder_offline(instance, &location)?;
            let volume = &mut self.volumes[index];
            if volume.belongs_to(instance) {
                return Err(Refusal::invalid("Volume is not detached"));
            }
            volume.holders.push(instance.clone());
            volume.status = VolumeStatus::Attached;
        }
        Ok(())
    }

    /// Takes a volume from the machines named or, when none is, from all that have it.
    fn detach(&mut self, id: &str, instances: &[String]) -> Result<(), Refusal> {
        let index = self.volume_index(id)?;
        let holders = &self.volumes[index].holders;
        let named = if instances.is_empty() { holders.clone() } else { instances.to_vec() };
        if named.is_empty() || !named.iter().all(|one| holders.contains(one)) {
            return Err(Refusal::forbidden("Volume is not attached"));
        }
        if self.volumes[index].os_image.is_some() {
            return Err(Refusal::forbidden("Can't detach the OS volume of an instance"));
        }
        named.iter().try_for_each(|holder| self.require_offline(holder))?;
        let volume = &mut self.volumes[index];
        volume.holders.retain(|holder| !named.contains(holder));
        if volume.holders.is_empty() {
            volume.status = VolumeStatus::Detached;
        }
        Ok(())
    }

    fn rename(&mut self, id: &str, name: &str) -> Result<(), Refusal> {
        check_name(name)?;
        let index = self.living_index(id)?;
        name.clone_into(&mut self.volumes[index].name);
        self.account.rename(id, name);
        Ok(())
    }

    fn resize(&mut self, id: &str, size: Option<u64>, now: Timestamp) -> Result<(), Refusal> {
        let index = self.living_index(id)?;
        let volume = &mut self.volumes[index];
        let size = size.filter(|size| *size > volume.size);
        let size = size.ok_or_else(|| Refusal::invalid("size must be larger than the current size"))?;
        check_size(size)?;
        if !self.account.covers(volume_price(size)) {
            return Err(Refusal::funds());
        }
        volume.size = size;
        self.account.close(&volume.id, now);
        self.account.open(Kind::Volume, &volume.id, &volume.name, volume_price(size), now);
        Ok(())
    }

    /// Takes a volume out of the trash; the time in it is charged after all.
    fn restore(&mut self, id: &str, now: Timestamp) -> Result<(), Refusal> {
        let index = self.volume_index(id)?;
        let volume = &mut self.volumes[index];
        let Some(deleted) = volume.deleted.filter(|_| !volume.purged) else {
            return Err(Refusal::forbidden("Volume is not in the trash"));
        };
        if !self.account.covers(volume_price(volume.size)) {
            return Err(Refusal::funds());
        }
        (volume.deleted, volume.status) = (None, VolumeStatus::Detached);
        let price = volume_price(volume.size);
        self.account.open(Kind::Volume, &volume.id, &volume.name, price, now);
        self.account.surcharge(&volume.id, price, now.duration_since(deleted));
        Ok(())
    }

    fn clone_volume(&mut self, id: &str, asked: &Asked, now: Timestamp) -> Result<String, Refusal> {
        let source = self.volumes[self.living_index(id)?].clone();
        let name = asked.name.clone().unwrap_or_else(|| format!("{}-clone", source.name));
        let location = asked.location_code.as_deref().unwrap_or(&source.location);
        let kind = asked.r#type.as_deref().unwrap_or(&source.kind);
        check_name(&name)?;
        check_type(kind)?;
        if !is_location(location) {
            return Err(Refusal::invalid("Invalid location code"));
        }
        if !self.account.covers(volume_price(source.size)) {
            return Err(Refusal::funds());
        }
        let mut copy = Volume::new(name, source.size, location, Vec::new(), now);
        kind.clone_into(&mut copy.kind);
        (copy.os_image, copy.keys, copy.status) = (source.os_image, source.keys, VolumeStatus::Detached);
        self.effects.push(Effect::CopyDisk { from: source.id, to: copy.id.clone() });
        let id = copy.id.clone();
        self.add_volume(copy, now);
        Ok(id)
    }
}
