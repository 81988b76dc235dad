//! What fuzzing needs of HTTP: answers written as text, and what is shown of a trouble.

use super::answer::{http_date, retry_after};
use super::*;

/// What a decoder refused, as a user would see it, and the words that it promises to be printable.
pub(crate) type Outcome = (Vec<Error>, Vec<String>);

/// A service that sorts by status alone.
const MANNER: Manner =
    Manner { name: "the service", credentials_hint: "log in", advice: |_| None, sort: Trouble::by_status };

/// Reads an answer: a status, then `name: value` lines, an empty line, the body.
pub(crate) fn answer(data: &[u8]) -> Option<Answer> {
    let end = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((data, &[][..]), |end| (&data[..end], &data[end + 2..]));
    let mut lines = head.split(|byte| *byte == b'\n');
    let status = reqwest::StatusCode::from_bytes(lines.next()?).ok()?;
    let mut headers = reqwest::header::HeaderMap::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        headers.insert(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
    }
    Some(Answer { status, headers, body: Bytes::copy_from_slice(body) })
}

/// Returns what is said in an answer that isn't a success.
pub(crate) fn said(answer: Answer) -> Option<Said> {
    (!answer.status.is_success()).then(|| Said::from_answer("the cloud", answer))
}

/// Asserts what holds of any trouble, and words it.
pub(crate) fn worded(trouble: Trouble, manner: &Manner) -> Error {
    assert!(wait(1, &trouble).is_none_or(|wait| wait <= LONGEST_WAIT), "{trouble:?}");
    assert_eq!(wait(TRIES, &trouble), None, "tried often enough");
    let secret: SecretString = "s3cr3t".into();
    let hidden = trouble.clone().without(std::iter::once(&secret));
    assert!(!format!("{hidden:?}").contains("s3cr3t"), "{hidden:?}");
    let error = trouble.into_error("cannot read it".into(), manner);
    let longest = error.why.iter().map(String::len).max().unwrap_or_default();
    assert!(longest < 4_000, "{longest} bytes of {:.200}", error.to_string());
    error
}

/// `Date`, `Retry-After`, and a token.
pub(crate) fn answer_parts(data: &[u8]) -> Outcome {
    let Some(answer) = answer(data) else { return Default::default() };
    let mut errors = Vec::new();
    let after = retry_after(&answer.headers);
    if let (Some(after), Ok(now)) = (after, answer.date()) {
        assert!(after >= Duration::ZERO);
        let _ = now.checked_add(after);
    }
    match answer.date() {
        Ok(date) => assert!(http_date(answer.headers["date"].as_bytes()) == Some(date)),
        Err(trouble) => errors.push(worded(trouble, &MANNER)),
    }
    match Token::read(&answer) {
        Ok(token) => {
            // However long it lives, its freshness can be told.
            token.is_fresh(&Clock::scaled(1e6));
        }
        Err(trouble) => {
            // The answer to a login is never quoted.
            let words = format!("{trouble:?}");
            let body = String::from_utf8_lossy(&answer.body);
            assert!(body.trim().len() < 40 || !words.contains(body.trim()), "{words}");
            errors.push(worded(trouble, &MANNER));
        }
    }
    (errors, Vec::new())
}
