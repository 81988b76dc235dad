//! `POST /instances`: what the cloud checks before it takes an order, and what it makes of it.

use jiff::Timestamp;
use serde::Deserialize;

use super::Cloud;
use super::billing::Kind;
use super::catalogue::{Type, image_slug, is_location, volume_price};
use super::instances::{Fate, Instance, Status};
use super::reply::{Answer, OneOrMany, Refusal, bare_id, body};
use super::tags::{self, NewTag, Tag};
use super::volumes::{self, Volume, VolumeStatus};
use crate::sandbox::random;
use crate::sandbox::wire::Call;

/// The body of the create call; every optional field may be null.
#[derive(Deserialize)]
struct Order {
    instance_type: String,
    image: String,
    hostname: String,
    description: Option<String>,
    ssh_key_ids: Option<OneOrMany>,
    location_code: String,
    startup_script_id: Option<String>,
    os_volume: Option<NewVolume>,
    volumes: Option<Vec<NewVolume>>,
    existing_volumes: Option<Vec<String>>,
    is_spot: Option<bool>,
    contract: Option<String>,
    pricing: Option<String>,
    tags: Option<Vec<NewTag>>,
}

/// The smallest OS volume in GB.
const SMALLEST_SYSTEM: u64 = 50;

/// A volume as an order asks for it.
#[derive(Deserialize)]
struct NewVolume {
    name: String,
    size: u64,
    r#type: Option<String>,
    on_spot_discontinue: Option<Fate>,
    tags: Option<Vec<NewTag>>,
}

/// A new volume whose every field is in order.
struct CheckedVolume {
    name: String,
    size: u64,
    kind: String,
    on_spot_discontinue: Fate,
    tags: Vec<Tag>,
}

/// The machine's first disk: a new one from an image, or one that was kept.
enum Disk {
    New { image: &'static str, volume: CheckedVolume },
    Kept { id: String, image: String },
}

impl Cloud {
    /// Takes an order, or says why not.
    pub(super) fn create_instance(&mut self, call: &Call, now: Timestamp) -> Answer {
        let order: Order = body(call)?;
        check_names(&order)?;
        let kind =
            Type::named(&order.instance_type).ok_or_else(|| Refusal::invalid("Invalid instance type"))?;
        let spot = order.is_spot.unwrap_or(false);
        let price = kind
            .price(spot)
            .ok_or_else(|| Refusal::invalid("Spot is not available for this instance type"))?;
        check_contract(&order, spot)?;
        let key_ids: Vec<String> = order.ssh_key_ids.map(Vec::from).unwrap_or_default();
        let asked = order.os_volume.unwrap_or_else(|| NewVolume::for_system(&order.hostname));
        let system = asked.checked(spot)?;
        let disk = self.disk(kind, &order.image, &order.location_code, system)?;
        let keys = self.key_lines(&key_ids, matches!(disk, Disk::Kept { .. }))?;
        let script = self.check_script(order.startup_script_id.as_deref())?;
        let data = order.volumes.unwrap_or_default().into_iter().map(|volume| volume.checked(spot));
        let data = data.collect::<Result<Vec<_>, _>>()?;
        let existing = order.existing_volumes.unwrap_or_default();
        self.check_existing(&existing, &order.image, &order.location_code)?;
        let instance_tags = tags::checked(order.tags)?;

        let sizes = data.iter().map(|volume| volume.size).chain(disk.new_size());
        let total = price + sizes.map(volume_price).sum::<i64>();
        if !self.account.covers(total) {
            return Err(Refusal::funds());
        }
        if !self.stock.take(&order.location_code, kind.name) {
            let (count, name, location) = (kind.gpus, kind.name, &order.location_code);
            let message =
                format!("Not enough resources to deploy a {count} GPU instance type {name} in {location}");
            return Err(Refusal::capacity(message));
        }

        let id = random::uuid();
        let image = disk.image().to_owned();
        let os_volume = self.place_disk(disk, &id, &order.location_code, &keys, now);
        for volume in data {
            self.add_volume(volume.held_by(&id, &order.location_code, now), now);
        }
        for volume in self.volumes.iter_mut().filter(|volume| existing.contains(&volume.id)) {
            volume.holders.push(id.clone());
            volume.status = VolumeStatus::Attaching;
        }
        self.account.open(Kind::Instance, &id, &order.hostname, price, now);
        self.instances.push(Instance {
            id: id.clone(),
            hostname: order.hostname,
            description: order.description.unwrap_or_default(),
            kind: kind.name.to_owned(),
            jupyter_token: (image == "jupyter").then(|| random::hex(48)),
            image,
            location: order.location_code,
            spot,
            contract: order
                .contract
                .unwrap_or_else(|| if spot { "SPOT" } else { "PAY_AS_YOU_GO" }.to_owned()),
            price,
            key_ids,
            keys,
            script_id: order.startup_script_id,
            script,
            os_volume,
            tags: instance_tags,
            created: now,
            status: Status::Ordered,
            next: Some(self.timing.ordered(now)),
            ip: None,
            ending: self.endings.pop_front(),
        });
        Ok(bare_id(202, &id))
    }

    /// Finds out what the machine will boot: a new disk with an image, or a detached OS volume.
    fn disk(&self, kind: &Type, image: &str, location: &str, new: CheckedVolume) -> Result<Disk, Refusal> {
        if let Some(volume) = self.volumes.iter().find(|volume| volume.id == image) {
            self.attachable(&volume.id, location)?;
            let image =
                volume.os_image.clone().ok_or_else(|| Refusal::invalid("Volume is not an OS volume"))?;
            return Ok(Disk::Kept { id: volume.id.clone(), image });
        }
        let slug = image_slug(image).ok_or_else(|| Refusal::invalid("Invalid image"))?;
        if !kind.runs(slug) {
            return Err(Refusal::invalid("Operating system is not valid for this instance type"));
        }
        if new.size < SMALLEST_SYSTEM {
            return Err(Refusal::invalid(format!("os_volume.size must not be less than {SMALLEST_SYSTEM}")));
        }
        Ok(Disk::New { image: slug, volume: new })
    }

    /// Refuses volumes that can't be attached, and one that would be attached twice.
    fn check_existing(&self, ids: &[String], image: &str, location: &str) -> Result<(), Refusal> {
        for (index, id) in ids.iter().enumerate() {
            if id == image || ids[..index].contains(id) {
                return Err(Refusal::invalid("Volume is listed twice"));
            }
            if !self.volumes.iter().any(|volume| volume.id == *id) {
                return Err(Refusal::invalid("Invalid volume id"));
            }
            self.attachable(id, location)?;
        }
        Ok(())
    }

    /// Returns a script's text; one that doesn't exist is refused.
    pub(super) fn check_script(&self, id: Option<&str>) -> Result<Option<String>, Refusal> {
        let Some(id) = id else { return Ok(None) };
        let script = self.scripts.iter().find(|script| script.id == id);
        script
            .map(|script| Some(script.text.clone()))
            .ok_or_else(|| Refusal::invalid("Invalid startup script id"))
    }

    /// Returns the lines of keys; none at all are fine only where they are `optional`.
    pub(super) fn key_lines(&self, ids: &[String], optional: bool) -> Result<Vec<String>, Refusal> {
        if ids.is_empty() && !optional {
            return Err(Refusal::invalid("ssh_key_ids should not be empty"));
        }
        let line = |id: &String| self.keys.iter().find(|key| key.id == *id).map(|key| key.text.clone());
        ids.iter().map(|id| line(id).ok_or_else(|| Refusal::invalid("Invalid SSH key id"))).collect()
    }

    fn place_disk(
        &mut self,
        disk: Disk,
        holder: &str,
        location: &str,
        keys: &[String],
        now: Timestamp,
    ) -> String {
        match disk {
            Disk::New { image, volume } => {
                let mut volume = volume.held_by(holder, location, now);
                volume.os_image = Some(image.to_owned());
                volume.keys = keys.to_vec();
                let id = volume.id.clone();
                self.add_volume(volume, now);
                id
            }
            Disk::Kept { id, .. } => {
                for volume in self.volumes.iter_mut().filter(|volume| volume.id == id) {
                    volume.holders.push(holder.to_owned());
                    volume.status = VolumeStatus::Attaching;
                    // Who could log in before still can: the keys are files on this disk.
                    volume.keys.extend(keys.iter().cloned());
                }
                id
            }
        }
    }
}

impl NewVolume {
    /// Returns the OS volume of an order that asks for none.
    fn for_system(hostname: &str) -> Self {
        let name = format!("{hostname}-os");
        Self { name, size: SMALLEST_SYSTEM, r#type: None, on_spot_discontinue: None, tags: None }
    }

    fn checked(self, spot: bool) -> Result<CheckedVolume, Refusal> {
        if self.on_spot_discontinue.is_some() && !spot {
            return Err(Refusal::invalid("on_spot_discontinue is only valid for spot instances"));
        }
        let kind = self.r#type.unwrap_or_else(|| "NVMe".to_owned());
        volumes::check_type(&kind)?;
        volumes::check_name(&self.name)?;
        volumes::check_size(self.size)?;
        Ok(CheckedVolume {
            name: self.name,
            size: self.size,
            kind,
            on_spot_discontinue: self.on_spot_discontinue.unwrap_or_default(),
            tags: tags::checked(self.tags)?,
        })
    }
}

impl CheckedVolume {
    /// Makes the volume, for a machine that is being ordered.
    fn held_by(self, holder: &str, location: &str, now: Timestamp) -> Volume {
        let mut volume = Volume::new(self.name, self.size, location, self.tags, now);
        (volume.kind, volume.on_spot_discontinue) = (self.kind, self.on_spot_discontinue);
        volume.holders.push(holder.to_owned());
        volume
    }
}

impl Disk {
    fn image(&self) -> &str {
        match self {
            Self::New { image, .. } => image,
            Self::Kept { image, .. } => image,
        }
    }

    fn new_size(&self) -> Option<u64> {
        match self {
            Self::New { volume, .. } => Some(volume.size),
            Self::Kept { .. } => None,
        }
    }
}

fn check_names(order: &Order) -> Result<(), Refusal> {
    if !is_hostname(&order.hostname) {
        return Err(Refusal::invalid("Invalid hostname"));
    }
    if !is_location(&order.location_code) {
        return Err(Refusal::invalid("Invalid location code"));
    }
    Ok(())
}

/// Returns whether a name has only letters, digits and inner hyphens, and at least one letter.
pub fn is_hostname(name: &str) -> bool {
    let allowed = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let letter = name.bytes().any(|byte| byte.is_ascii_alphabetic());
    allowed && letter && !name.starts_with('-') && !name.ends_with('-') && name.len() <= 63
}

fn check_contract(order: &Order, spot: bool) -> Result<(), Refusal> {
    match order.contract.as_deref() {
        None | Some("PAY_AS_YOU_GO") => {}
        // What a commitment costs ahead is not known: it bills here like any other machine.
        Some("LONG_TERM") if !spot => {}
        Some("LONG_TERM") => return Err(Refusal::invalid("contract LONG_TERM excludes is_spot")),
        Some("SPOT") if spot => {}
        Some("SPOT") => return Err(Refusal::invalid("contract SPOT needs is_spot")),
        Some(_) => return Err(Refusal::invalid("contract must be one of: LONG_TERM, PAY_AS_YOU_GO, SPOT")),
    }
    match order.pricing.as_deref() {
        None | Some("FIXED_PRICE") => Ok(()),
        Some(_) => Err(Refusal::invalid("pricing must be one of: FIXED_PRICE")),
    }
}
