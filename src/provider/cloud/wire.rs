//! The cloud API's shapes, read leniently: unknown fields, null or missing ones, numbers as strings.

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::Order;
use crate::facts::{self, Money, PublicKey, Status};
use crate::provider::http::{self, Answer, Trouble};
use crate::world::Market;

/// `GET /instances`, `GET /instances/{id}`.
#[derive(Deserialize)]
pub(super) struct Instance {
    id: Id,
    #[serde(default, deserialize_with = "or_default")]
    status: Text,
    #[serde(default, deserialize_with = "or_default")]
    ip: Text,
    created_at: jiff::Timestamp,
    #[serde(default, deserialize_with = "or_default")]
    hostname: Text,
    #[serde(default, deserialize_with = "or_default")]
    description: Text,
    #[serde(default, deserialize_with = "or_default")]
    instance_type: Text,
    #[serde(default, deserialize_with = "or_default")]
    image: Text,
    #[serde(default, deserialize_with = "or_default")]
    location: Text,
    #[serde(default, deserialize_with = "money")]
    price_per_hour: Money,
    #[serde(default, deserialize_with = "or_default")]
    is_spot: bool,
    #[serde(default, deserialize_with = "id_or_none")]
    os_volume_id: Option<Id>,
    #[serde(default, deserialize_with = "or_default")]
    volume_ids: Vec<Id>,
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<Tag>,
    #[serde(default, deserialize_with = "or_default")]
    jupyter_token: Text,
}

impl From<Instance> for facts::Instance {
    fn from(instance: Instance) -> Self {
        // Whether `volume_ids` contains the OS volume isn't uniform.
        let os_volume = instance.os_volume_id.map(|id| id.0);
        let mut volumes: Vec<String> = instance.volume_ids.into_iter().map(|id| id.0).collect();
        volumes.extend(os_volume.clone());
        volumes.sort();
        volumes.dedup();
        Self {
            id: instance.id.0,
            status: Status::from(instance.status.0),
            ip: Some(instance.ip.0).filter(|ip| !ip.is_empty()),
            created_at: instance.created_at,
            hostname: instance.hostname.0,
            description: instance.description.0,
            r#type: instance.instance_type.0,
            image: instance.image.0,
            location: instance.location.0,
            price_per_hour: instance.price_per_hour,
            spot: instance.is_spot,
            os_volume,
            volumes,
            tags: by_key(instance.tags),
            notebook: Some(instance.jupyter_token.0).filter(|token| !token.is_empty()).map(facts::Token::new),
        }
    }
}

/// `GET /volumes`, `GET /volumes/{id}`.
#[derive(Deserialize)]
pub(super) struct Volume {
    id: Id,
    #[serde(default, deserialize_with = "or_default")]
    name: Text,
    #[serde(default, deserialize_with = "or_default")]
    status: Text,
    #[serde(default, deserialize_with = "or_default")]
    size: f64,
    #[serde(default, deserialize_with = "id_or_none")]
    instance_id: Option<Id>,
    #[serde(default, deserialize_with = "money")]
    base_hourly_cost: Money,
    #[serde(default, deserialize_with = "money")]
    monthly_price: Money,
    #[serde(default, deserialize_with = "or_default")]
    location: Text,
    #[serde(default, deserialize_with = "time_or_none")]
    created_at: Option<jiff::Timestamp>,
    #[serde(default, deserialize_with = "time_or_none")]
    deleted_at: Option<jiff::Timestamp>,
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<Tag>,
}

impl From<Volume> for facts::Volume {
    fn from(volume: Volume) -> Self {
        Self {
            id: volume.id.0,
            name: volume.name.0,
            status: volume.status.0,
            size_gb: volume.size.round() as u32,
            instance: volume.instance_id.map(|id| id.0),
            price_per_hour: volume.base_hourly_cost,
            price_per_month: volume.monthly_price,
            location: volume.location.0,
            created_at: volume.created_at,
            deleted_at: volume.deleted_at,
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
    instance_type: Text,
    #[serde(default, deserialize_with = "money")]
    price_per_hour: Money,
    #[serde(default, deserialize_with = "money")]
    spot_price: Money,
    #[serde(default, deserialize_with = "or_default")]
    supported_os: Vec<Text>,
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
            name: offer.instance_type.0,
            price_per_hour: offer.price_per_hour,
            // A type without a spot market has none, or "0".
            spot_price: Some(offer.spot_price).filter(|price| *price > Money::default()),
            images: offer.supported_os.into_iter().map(|image| image.0).collect(),
            gpus: offer.gpu.number_of_gpus,
        }
    }
}

/// `GET /instance-availability`.
#[derive(Deserialize)]
pub(super) struct Availability {
    location_code: Text,
    #[serde(default, deserialize_with = "or_default")]
    availabilities: Vec<Text>,
}

impl Availability {
    /// Returns the location and the types that are in stock there.
    pub(super) fn into_stock(self) -> (String, Vec<String>) {
        (self.location_code.0, self.availabilities.into_iter().map(|name| name.0).collect())
    }
}

/// `GET /images`.
#[derive(Deserialize)]
pub(super) struct Image {
    id: Text,
    #[serde(default, deserialize_with = "or_default")]
    image_type: Text,
}

impl From<Image> for facts::Image {
    fn from(image: Image) -> Self {
        Self { id: image.id.0, slug: image.image_type.0 }
    }
}

/// `GET /locations`.
#[derive(Deserialize)]
pub(super) struct Location {
    pub(super) code: Text,
}

/// `GET /ssh-keys`.
#[derive(Deserialize)]
pub(super) struct AccountKey {
    id: Id,
    #[serde(default, deserialize_with = "or_default")]
    name: Text,
    #[serde(default, deserialize_with = "or_default")]
    key: String,
}

impl AccountKey {
    /// Keys of a kind that we can't read are nobody we know.
    pub(super) fn into_facts(self) -> Option<facts::AccountKey> {
        Some(facts::AccountKey { key: PublicKey::parse(&self.key)?, id: self.id.0, name: self.name.0 })
    }
}

/// `GET /balance`.
#[derive(Deserialize)]
pub(super) struct Balance {
    #[serde(default, deserialize_with = "money")]
    pub(super) amount: Money,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) currency: Text,
}

#[derive(Deserialize)]
struct Tag {
    key: Text,
    #[serde(default, deserialize_with = "or_default")]
    value: Text,
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
    let Order {
        r#type,
        image,
        boots,
        hostname,
        description,
        key_ids,
        script,
        location,
        os_volume_gb,
        os_volume_name,
        market,
        tags,
    } = order;
    let spot = *market == Market::Spot;
    let tags: Vec<Value> = tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    let mut body = json!({
        "instance_type": r#type,
        "image": boots.as_ref().unwrap_or(image),
        "hostname": hostname,
        "description": description,
        "ssh_key_ids": key_ids,
        "location_code": location,
        "is_spot": spot,
        "tags": tags,
    });
    if let Some(script) = script {
        body["startup_script_id"] = json!(script);
    }
    // A disk that is there already has its name, its size and its tags.
    if boots.is_none() {
        body["os_volume"] = json!({"name": os_volume_name, "size": os_volume_gb, "tags": tags});
        // The machine may be taken away at any moment: its disk then waits in the trash, free and restorable.
        if spot {
            body["os_volume"]["on_spot_discontinue"] = json!("move_to_trash");
        }
    }
    if spot {
        body["contract"] = json!("SPOT");
    }
    body
}

/// A startup script, of which the text is left where it is.
#[derive(Deserialize)]
pub(super) struct Script {
    id: Id,
    #[serde(default, deserialize_with = "or_default")]
    name: Text,
}

impl From<Script> for super::Script {
    fn from(script: Script) -> Self {
        Self { id: script.id.0, name: script.name.0 }
    }
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
    Id::read(id.trim()).map(|id| id.0)
}

/// An id: one plain word, because it stands in addresses, in names of files and on terminals.
///
/// An answer with another one is refused as a whole: leaving one machine out would make it look gone.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Id(String);

impl Id {
    /// The longest id; the API's are UUIDs of 36.
    const LONGEST: usize = 100;

    fn read(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let sized = (1..=Self::LONGEST).contains(&text.len());
        (sized && !text.starts_with('-') && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }
}

impl TryFrom<String> for Id {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::read(&text).ok_or("an id is letters, digits, `-` and `_`")
    }
}

/// Words for people, with `\u{fffd}` for every character that could hide or turn round what is beside it.
///
/// Replaced, not left out: nothing foreign may come to read as a mark of ours.
#[derive(Default, Deserialize)]
#[serde(from = "String")]
pub(super) struct Text(pub(super) String);

impl From<String> for Text {
    fn from(text: String) -> Self {
        if !text.contains(http::is_unprintable) {
            return Self(text);
        }
        Self(text.chars().map(|c| if http::is_unprintable(c) { '\u{fffd}' } else { c }).collect())
    }
}

/// An id; null, missing and empty are none.
fn id_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Id>, D::Error> {
    let text = Option::<String>::deserialize(from)?.filter(|text| !text.is_empty());
    text.map(Id::try_from).transpose().map_err(serde::de::Error::custom)
}

/// A time; null, missing, empty and unreadable are none.
fn time_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<jiff::Timestamp>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.and_then(|text| text.parse().ok()))
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn by_key(tags: Vec<Tag>) -> std::collections::BTreeMap<String, String> {
    tags.into_iter().map(|tag| (tag.key.0, tag.value.0)).collect()
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
