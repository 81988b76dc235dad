//! The cloud's answers, whatever they are.

use super::*;
use crate::provider::http::fuzzing::{Outcome, answer, said, worded};
use crate::record;

/// Decodes the body, or says how it was refused.
fn read<T: DeserializeOwned>(data: &[u8], errors: &mut Vec<Error>) -> Option<T> {
    http::decode(data, false).map_err(|trouble| errors.push(worded(trouble, &MANNER))).ok()
}

/// `GET /instances` and `GET /instances/{id}`.
pub(crate) fn instances(data: &[u8]) -> Outcome {
    let (mut errors, mut words) = (Vec::new(), Vec::new());
    let list = read::<Vec<wire::Instance>>(data, &mut errors).unwrap_or_default();
    let one = read::<wire::Instance>(data, &mut errors);
    let mut bill = facts::Money::default();
    for instance in list.into_iter().chain(one).map(facts::Instance::from) {
        assert_id(&instance.id);
        let volumes = &instance.volumes;
        assert!(volumes.is_sorted() && volumes.windows(2).all(|pair| pair[0] != pair[1]), "{volumes:?}");
        assert!(instance.os_volume.iter().all(|os| volumes.contains(os)), "{instance:?}");
        volumes.iter().for_each(|id| assert_id(id));
        bill = bill + instance.price_per_hour;
        let _ = (bill.for_seconds(i64::MAX), bill.to_string());
        // What isn't marked with both words is nobody's; what is keeps its mark when marked again.
        if let Some((session, store)) = record::mark(&instance) {
            let nonce = record::nonce(&instance).unwrap_or_default();
            let tags = record::tags(&session, &store, nonce);
            let again = facts::Instance { tags, ..instance.clone() };
            assert_eq!(record::mark(&again), Some((session, store)));
        }
        let facts::Instance { hostname, description, r#type, image, location, status, ip, tags, .. } =
            instance;
        words.extend([hostname, description, r#type, image, location, status.to_string()]);
        words.extend(ip);
        words.extend(tags.into_iter().flat_map(|(key, value)| [key, value]));
    }
    (errors, words)
}

/// An id is one plain word: it stands in addresses, in file names and on terminals.
fn assert_id(id: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    assert!(!id.is_empty() && id.len() <= 100 && !id.starts_with('-') && id.bytes().all(plain), "{id:?}");
    let base = Url::parse("http://127.0.0.1/v1").expect("a constant");
    assert_eq!(http::below(&base, &["instances", id]).path(), format!("/v1/instances/{id}"));
}

/// The answer to `POST /instances` and to `POST /ssh-keys`.
pub(crate) fn created(data: &[u8]) -> Outcome {
    if let Some(id) = wire::id_in(data) {
        assert_id(&id);
        let quoted = serde_json::to_vec(&id).expect("a string is JSON");
        assert_eq!(wire::id_in(&quoted).as_deref(), Some(id.as_str()), "the same id, quoted");
        let object = json!({"id": id}).to_string();
        assert_eq!(wire::id_in(object.as_bytes()), Some(id), "the same id, in an object");
    }
    Outcome::default()
}

/// The answer to `PUT /instances`.
pub(crate) fn fate(data: &[u8]) -> Outcome {
    const ID: &str = "11111111-2222-3333-4444-555555555555";
    let Some(answer) = answer(data) else { return Outcome::default() };
    match wire::fate(&answer, ID) {
        Ok(None) => {
            // Nothing said, or nothing said against it.
            let told: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let mut items = told.as_array().into_iter().flatten();
            if let Some(item) = items.find(|item| item["instanceId"] == ID) {
                let reason = item["error"].as_str().unwrap_or_default();
                assert!(
                    item["status"] == "success" || item["status"] != "error" && reason.is_empty(),
                    "{item}"
                );
            }
            Outcome::default()
        }
        Ok(Some(refusal)) => {
            let gone = deleted_anyway(&refusal);
            let words = match gone {
                Some(Deleted::NotYet(words)) => words,
                _ => String::new(),
            };
            (vec![Error::new("cannot delete").why(http::readable(&refusal))], vec![words])
        }
        Err(trouble) => {
            assert!(!trouble.is_without_effect(), "{trouble:?}");
            (vec![worded(trouble, &MANNER)], Vec::new())
        }
    }
}

/// Any answer that isn't a success.
pub(crate) fn refusal(data: &[u8]) -> Outcome {
    let Some(said) = answer(data).and_then(said) else { return Outcome::default() };
    let status = said.status;
    let words = vec![said.message.clone(), said.code.clone().unwrap_or_default()];
    let trouble = sort(said);
    // Whatever a server in trouble says, a create may have been taken; sold out is the API's own word.
    if status >= 500 || status == 408 || (300..400).contains(&status) {
        assert!(!trouble.is_without_effect() || matches!(trouble, Trouble::NoCapacity(_)), "{trouble:?}");
    }
    if matches!(trouble, Trouble::NoCapacity(_)) {
        assert_eq!(status, 503);
    }
    (vec![worded(trouble, &MANNER)], words)
}

/// Types, stock, images, locations, keys, balance.
pub(crate) fn catalogue(data: &[u8]) -> Outcome {
    let (mut errors, mut words) = (Vec::new(), Vec::new());
    for offer in read::<Vec<wire::InstanceType>>(data, &mut errors).into_iter().flatten() {
        let facts::InstanceType { name, images, .. } = offer.into();
        words.push(name);
        words.extend(images);
    }
    for stock in read::<Vec<wire::Availability>>(data, &mut errors).into_iter().flatten() {
        let (location, types) = stock.into_stock();
        words.push(location);
        words.extend(types);
    }
    for image in read::<Vec<wire::Image>>(data, &mut errors).into_iter().flatten() {
        let facts::Image { id, slug } = image.into();
        words.extend([id, slug]);
    }
    let locations = read::<Vec<wire::Location>>(data, &mut errors).into_iter().flatten();
    words.extend(locations.map(|location| location.code.0));
    let keys = read::<Vec<wire::AccountKey>>(data, &mut errors).into_iter().flatten();
    for key in keys.filter_map(wire::AccountKey::into_facts) {
        assert_id(&key.id);
        assert_eq!(facts::PublicKey::parse(key.key.as_str()).as_ref(), Some(&key.key));
        words.extend([key.name, key.key.fingerprint()]);
    }
    if let Some(balance) = read::<wire::Balance>(data, &mut errors) {
        words.extend([balance.currency.0, balance.amount.to_string()]);
    }
    (errors, words)
}

/// `GET /volumes` and `GET /volumes/trash`.
pub(crate) fn volumes(data: &[u8]) -> Outcome {
    let (mut errors, mut words) = (Vec::new(), Vec::new());
    let list = read::<Vec<wire::Volume>>(data, &mut errors).into_iter().flatten();
    let list: Vec<_> = list.collect();
    let trashed = read::<Vec<wire::TrashedVolume>>(data, &mut errors).into_iter().flatten();
    let mut bill = facts::Money::default();
    for volume in list.into_iter().chain(trashed.map(|trashed| trashed.volume)).map(facts::Volume::from) {
        assert_id(&volume.id);
        volume.instance.iter().for_each(|id| assert_id(id));
        bill = bill + volume.price_per_hour;
        words.extend([volume.name, volume.status, bill.to_string()]);
        words.extend(volume.tags.into_iter().flat_map(|(key, value)| [key, value]));
    }
    (errors, words)
}
