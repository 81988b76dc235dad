//! The cloud API's shapes, read leniently: unknown fields, null or missing ones, numbers as strings.

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::Order;
use crate::facts::{self, Money, PublicKey, Status};
use crate::provider::http::{Answer, Trouble};

/// `GET /instances`, `GET /instances/{id}`.
#[derive(Deserialize)]
pub(super) struct Instance {
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    status: String,
    #[serde(default)]
    ip: Option<String>,
    created_at: jiff::Timestamp,
    #[serde(default, deserialize_with = "or_default")]
    hostname: String,
    #[serde(default, deserialize_with = "or_default")]
    description: String,
    #[serde(default, deserialize_with = "or_default")]
    instance_type: String,
    #[serde(default, deserialize_with = "or_default")]
    image: String,
    #[serde(default, deserialize_with = "or_default")]
    location: String,
    #[serde(default, deserialize_with = "money")]
    price_per_hour: Money,
    #[serde(default)]
    os_volume_id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    volume_ids: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<Tag>,
}

impl From<Instance> for facts::Instance {
    fn from(instance: Instance) -> Self {
        // Whether `volume_ids` contains the OS volume isn't uniform.
        let mut volumes = instance.volume_ids;
        volumes.extend(instance.os_volume_id.clone());
        volumes.sort();
        volumes.dedup();
        Self {
            id: instance.id,
            status: Status::from(instance.status),
            ip: instance.ip.filter(|ip| !ip.is_empty()),
            created_at: instance.created_at,
            hostname: instance.hostname,
            description: instance.description,
            r#type: instance.instance_type,
            image: instance.image,
            location: instance.location,
            price_per_hour: instance.price_per_hour,
            os_volume: instance.os_volume_id,
            volumes,
            tags: by_key(instance.tags),
        }
    }
}

/// `GET /volumes`, `GET /volumes/{id}`.
#[derive(Deserialize)]
pub(super) struct Volume {
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    status: String,
    #[serde(default, deserialize_with = "or_default")]
    size: f64,
    #[serde(default)]
    instance_id: Option<String>,
    #[serde(default, deserialize_with = "money")]
    base_hourly_cost: Money,
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<Tag>,
}

impl From<Volume> for facts::Volume {
    fn from(volume: Volume) -> Self {
        Self {
            id: volume.id,
            name: volume.name,
            status: volume.status,
            size_gb: volume.size.round() as u32,
            instance: volume.instance_id.filter(|id| !id.is_empty()),
            price_per_hour: volume.base_hourly_cost,
            tags: by_key(volume.tags),
        }
    }
}

/// `GET /volumes/trash`.
#[derive(Deserialize)]
pub(super) struct TrashedVolume {
    #[serde(flatten)]
    pub(super) volume: Volume,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) is_permanently_deleted: bool,
}

/// `GET /instance-types`: prices are strings here.
#[derive(Deserialize)]
pub(super) struct InstanceType {
    instance_type: String,
    #[serde(default, deserialize_with = "money")]
    price_per_hour: Money,
    #[serde(default, deserialize_with = "or_default")]
    supported_os: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    gpu: Gpu,
}

#[derive(Default, Deserialize)]
struct Gpu {
    #[serde(default, deserialize_with = "or_default")]
    number_of_gpus: u32,
}

impl From<InstanceType> for facts::InstanceType {
    fn from(offer: InstanceType) -> Self {
        Self {
            name: offer.instance_type,
            price_per_hour: offer.price_per_hour,
            images: offer.supported_os,
            gpus: offer.gpu.number_of_gpus,
        }
    }
}

/// `GET /instance-availability`.
#[derive(Deserialize)]
pub(super) struct Availability {
    pub(super) location_code: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) availabilities: Vec<String>,
}

/// `GET /images`.
#[derive(Deserialize)]
pub(super) struct Image {
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    image_type: String,
}

impl From<Image> for facts::Image {
    fn from(image: Image) -> Self {
        Self { id: image.id, slug: image.image_type }
    }
}

/// `GET /locations`.
#[derive(Deserialize)]
pub(super) struct Location {
    pub(super) code: String,
}

/// `GET /ssh-keys`.
#[derive(Deserialize)]
pub(super) struct AccountKey {
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    key: String,
}

impl AccountKey {
    /// Keys of a kind that we can't read are nobody we know.
    pub(super) fn into_facts(self) -> Option<facts::AccountKey> {
        Some(facts::AccountKey { key: PublicKey::parse(&self.key)?, id: self.id, name: self.name })
    }
}

/// `GET /balance`.
#[derive(Deserialize)]
pub(super) struct Balance {
    #[serde(default, deserialize_with = "money")]
    pub(super) amount: Money,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) currency: String,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    #[serde(default, deserialize_with = "or_default")]
    value: String,
}

/// One item of the answer to `PUT /instances`; camelCase there and nowhere else.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ActionResult {
    #[serde(default, deserialize_with = "or_default")]
    instance_id: String,
    #[serde(default, deserialize_with = "or_default")]
    status: String,
    #[serde(default, deserialize_with = "or_default")]
    error: String,
    #[serde(default)]
    status_code: Option<u16>,
}

/// Reads what a 2xx answer to an action says of `instance`: none for taken, else the refusal.
///
/// 204, empty bodies and unknown words say nothing per item; the caller sees by the instance's state.
pub(super) fn fate(answer: &Answer, instance: &str) -> Result<Option<String>, Trouble> {
    if answer.body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let results: Vec<ActionResult> = answer.json(false)?;
    let Some(result) = results.into_iter().find(|result| result.instance_id == instance) else {
        return Err(Trouble::Undecodable("the answer does not mention the instance".into()));
    };
    match result.status.as_str() {
        "success" => Ok(None),
        // A word that nobody has heard of, without a reason, says as little as an empty body.
        word if word != "error"
            && result.error.is_empty()
            && result.status_code.is_none_or(|code| code < 400) =>
        {
            Ok(None)
        }
        _ if result.status_code.is_some_and(|code| code >= 500) => {
            Err(Trouble::Unknown { what: result.error, after: None })
        }
        _ => Ok(Some(result.error)),
    }
}

/// The body of `POST /instances`.
pub(super) fn order(order: &Order) -> Value {
    let Order { r#type, image, hostname, description, key_ids, location, os_volume_gb, os_volume_name, tags } =
        order;
    let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    json!({
        "instance_type": r#type,
        "image": image,
        "hostname": hostname,
        "description": description,
        "ssh_key_ids": key_ids,
        "location_code": location,
        "os_volume": {"name": os_volume_name, "size": os_volume_gb, "tags": tags},
        "is_spot": false,
        "tags": tags,
    })
}

/// Reads the id that a create call answered with: raw, quoted, or in an object.
///
/// Raw text counts only when it is a UUID, so that no gateway's `OK` becomes an id.
pub(super) fn id_in(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let id = match serde_json::from_str(text) {
        Ok(Value::String(id)) => id,
        Ok(Value::Object(object)) => object.get("id")?.as_str()?.to_owned(),
        _ if is_uuid(text) => text.to_owned(),
        _ => return None,
    };
    let id = id.trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (!id.is_empty() && !id.starts_with('-') && id.bytes().all(plain)).then(|| id.to_owned())
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn by_key(tags: Vec<Tag>) -> std::collections::BTreeMap<String, String> {
    tags.into_iter().map(|tag| (tag.key, tag.value)).collect()
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A number, or a number in a string; null, missing and empty are nothing.
fn money<'de, D: Deserializer<'de>>(from: D) -> Result<Money, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Amount {
        Number(f64),
        Text(String),
    }
    let units = match Option::deserialize(from)? {
        None => 0.0,
        Some(Amount::Number(units)) => units,
        Some(Amount::Text(text)) if text.trim().is_empty() => 0.0,
        Some(Amount::Text(text)) => text.trim().parse().map_err(serde::de::Error::custom)?,
    };
    if units.is_finite() {
        Ok(Money::from_units(units))
    } else {
        Err(serde::de::Error::custom("not an amount"))
    }
}
