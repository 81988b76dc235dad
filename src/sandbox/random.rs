//! Names nobody can guess: ids, tokens and keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Returns `count` random bytes.
pub fn bytes(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// Returns `digits` random lower-case hexadecimal digits.
pub fn hex(digits: usize) -> String {
    let mut text = ::hex::encode(bytes(digits.div_ceil(2)));
    text.truncate(digits);
    text
}

/// Returns `length` random characters of the URL-safe base64 alphabet.
pub fn word(length: usize) -> String {
    let mut text = URL_SAFE_NO_PAD.encode(bytes(length));
    text.truncate(length);
    text
}

/// Returns a random (version 4) UUID.
pub fn uuid() -> String {
    uuid_from(&hex(32))
}

/// Shapes 32 hexadecimal digits as a version 4 UUID.
pub fn uuid_from(digits: &str) -> String {
    let (a, b, c, d, e) = (&digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..32]);
    format!("{a}-{b}-4{c}-a{d}-{e}")
}

/// Returns a number from 0 to `most`.
pub fn up_to(most: u8) -> usize {
    usize::from(bytes(1)[0] % (most + 1))
}
