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

#[derive(Deserialize)]
struct NewVolume {
    name: String,
    size: u64,
    r#type: Option<String>,
    on_spot_discontinue: Option<Fate>,
    tags: Option<Vec<NewTag>>,
}

/// The machine's first disk: a new one from an image, or one that was kept.
enum Disk {
    New { image: &'static str, name: String, size: u64, tags: Vec<Tag> },
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
        let on_spot_discontinue = spot_fate(order.os_volume.as_ref(), spot)?;
        let disk = self.disk(kind, &order.image, &order.hostname, &order.location_code, order.os_volume)?;
        let keys = self.key_lines(&key_ids, matches!(disk, Disk::Kept { .. }))?;
        if order
            .startup_script_id
            .as_ref()
            .is_some_and(|id| !self.scripts.iter().any(|script| script.id == *id))
        {
            return Err(Refusal::invalid("Invalid startup script id"));
        }
        let data = data_volumes(order.volumes.unwrap_or_default(), spot)?;
        let existing = order.existing_volumes.unwrap_or_default();
        for id in &existing {
            self.attachable(id, &order.location_code)?;
        }
        let instance_tags = tags::checked(order.tags)?;

        let sizes = data.iter().map(|(_, size, _)| *size).chain(disk.new_size());
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
        for (name, size, tags) in data {
            let mut volume = Volume::new(name, size, &order.location_code, tags, now);
            volume.holder = Some(id.clone());
            self.add_volume(volume, now);
        }
        for volume in self.volumes.iter_mut().filter(|volume| existing.contains(&volume.id)) {
            (volume.holder, volume.status) = (Some(id.clone()), VolumeStatus::Attaching);
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
            on_spot_discontinue,
            contract: order
                .contract
                .unwrap_or_else(|| if spot { "SPOT" } else { "PAY_AS_YOU_GO" }.to_owned()),
            price,
            key_ids,
            keys,
            script_id: order.startup_script_id,
            os_volume,
            tags: instance_tags,
            created: now,
            status: Status::Ordered,
            next: Some(self.timing.ordered(now)),
            ip: None,
        });
        Ok(bare_id(202, &id))
    }

    /// Finds out what the machine will boot: a new disk with an image, or a detached OS volume.
    fn disk(
        &self,
        kind: &Type,
        image: &str,
        hostname: &str,
        location: &str,
        asked: Option<NewVolume>,
    ) -> Result<Disk, Refusal> {
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
        let (name, size, asked_tags) = match asked {
            Some(volume) => (volume.name, volume.size, volume.tags),
            None => (format!("{hostname}-os"), 50, None),
        };
        if size < 50 {
            return Err(Refusal::invalid("os_volume.size must not be less than 50"));
        }
        volumes::check_size(size)?;
        Ok(Disk::New { image: slug, name, size, tags: tags::checked(asked_tags)? })
    }

    fn key_lines(&self, ids: &[String], optional: bool) -> Result<Vec<String>, Refusal> {
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
            Disk::New { image, name, size, tags } => {
                let mut volume = Volume::new(name, size, location, tags, now);
                volume.os_image = Some(image.to_owned());
                volume.holder = Some(holder.to_owned());
                volume.keys = keys.to_vec();
                let id = volume.id.clone();
                self.add_volume(volume, now);
                id
            }
            Disk::Kept { id, .. } => {
                for volume in self.volumes.iter_mut().filter(|volume| volume.id == id) {
                    volume.holder = Some(holder.to_owned());
                    volume.status = VolumeStatus::Attaching;
                    // Who could log in before still can: the keys are files on this disk.
                    volume.keys.extend(keys.iter().cloned());
                }
                id
            }
        }
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
            Self::New { size, .. } => Some(*size),
            Self::Kept { .. } => None,
        }
    }
}

fn check_names(order: &Order) -> Result<(), Refusal> {
    let name = &order.hostname;
    let allowed = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let letter = name.bytes().any(|byte| byte.is_ascii_alphabetic());
    if !allowed || !letter || name.starts_with('-') || name.ends_with('-') || name.len() > 63 {
        return Err(Refusal::invalid("Invalid hostname"));
    }
    if !is_location(&order.location_code) {
        return Err(Refusal::invalid("Invalid location code"));
    }
    Ok(())
}

fn check_contract(order: &Order, spot: bool) -> Result<(), Refusal> {
    match order.contract.as_deref() {
        None | Some("PAY_AS_YOU_GO") => {}
        Some("SPOT") if spot => {}
        Some("SPOT") => return Err(Refusal::invalid("contract SPOT needs is_spot")),
        Some(_) => return Err(Refusal::invalid("contract must be one of: LONG_TERM, PAY_AS_YOU_GO, SPOT")),
    }
    match order.pricing.as_deref() {
        None | Some("FIXED_PRICE") => Ok(()),
        Some(_) => Err(Refusal::invalid("pricing must be one of: FIXED_PRICE")),
    }
}

fn spot_fate(volume: Option<&NewVolume>, spot: bool) -> Result<Fate, Refusal> {
    match volume.and_then(|volume| volume.on_spot_discontinue) {
        Some(_) if !spot => Err(Refusal::invalid("on_spot_discontinue is only valid for spot instances")),
        fate => Ok(fate.unwrap_or_default()),
    }
}

fn data_volumes(asked: Vec<NewVolume>, spot: bool) -> Result<Vec<(String, u64, Vec<Tag>)>, Refusal> {
    let checked = asked.into_iter().map(|volume| {
        spot_fate(Some(&volume), spot)?;
        volumes::check_type(volume.r#type.as_deref().unwrap_or("NVMe"))?;
        volumes::check_size(volume.size)?;
        Ok((volume.name, volume.size, tags::checked(volume.tags)?))
    });
    checked.collect()
}
