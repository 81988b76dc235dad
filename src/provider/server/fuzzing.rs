//! What the server says, and what ssh says of it.

use super::*;
use crate::facts;
use crate::provider::http::fuzzing::Outcome;

/// The nonce that the corpus is written with.
const NONCE: &str = "0123456789abcdef0123456789abcdef";

/// The helper's lines: only a last line with our nonce counts.
pub(crate) fn reply(data: &[u8]) -> Outcome {
    let what = "cannot look at the server";
    let heard = exchange::heard(data, NONCE);
    if heard.is_some() {
        let text = String::from_utf8_lossy(data);
        assert!(text.contains(NONCE) || text.contains('\\'), "an answer without our nonce counted: {text}");
    }
    let mut errors = Vec::new();
    match heard {
        Some(Ok(value)) => {
            let mut read = |error: Option<SshError>| errors.extend(error.map(Error::from));
            let exchange = Exchange { what, limit: SHORT };
            read(exchange.decode::<facts::Probe>(value.clone()).err());
            read(exchange.decode::<facts::Surroundings>(value.clone()).err());
            read(exchange.decode::<Hello>(value.clone()).err());
            read(exchange.decode::<Brought>(value.clone()).err());
            read(exchange.decode::<Packed>(value.clone()).err());
            read(exchange.decode::<Pulled>(value.clone()).err());
            read(exchange.decode::<Option<u8>>(value).err());
        }
        Some(Err((kind, why))) => errors.push(SshError::said(what, kind, why).into()),
        None => {}
    }
    (errors, Vec::new())
}

/// The probe that the helper's lines end in.
pub(crate) fn probe(data: &[u8]) -> Option<facts::Probe> {
    serde_json::from_value(exchange::heard(data, NONCE)?.ok()?).ok()
}

/// ssh's words on a connection that didn't come about, and a known_hosts file that it wrote.
pub(crate) fn ssh(data: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(data) else { return Outcome::default() };
    (login::fuzzing::refusals(text).into_iter().map(Error::from).collect(), Vec::new())
}
