//! Transfers to and from a store, here a few lines of HTTP on loopback.
//!
//! What the two sides say to each other; how the helper fares with a real store is in `tests/helper/`.

use std::sync::{Arc, Mutex};

use secrecy::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::digest::ContentHash;
use crate::provider::server::{PackRequest, Packed, PullRequest, Pulled, Told};

/// How fast the clock of pauses runs here.
const SPEED: f64 = 1000.0;

/// One scripted answer: raw bytes, after which the connection is closed.
type Answer = Vec<u8>;

/// A store that gives its answers in order, the last one again and again, and keeps what it was sent.
struct Store {
    link: SecretString,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Store {
    async fn new(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link =
            format!("http://{}/apitul/1/very-secret-part?x=also-secret-too", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        tokio::spawn(async move {
            for number in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                kept.lock().unwrap().push(request);
                let answer = answers.get(number).or(answers.last()).unwrap();
                stream.write_all(answer).await.unwrap();
            }
        });
        Self { link: link.into(), requests }
    }

    fn request(&self, number: usize) -> Vec<u8> {
        self.requests.lock().unwrap()[number].clone()
    }
}

async fn read_request(stream: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    loop {
        let mut buffer = [0; 65536];
        let count = stream.read(&mut buffer).await.unwrap();
        request.extend_from_slice(&buffer[..count]);
        let Some(end) = request.windows(4).position(|part| part == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        if request.len() >= end + 4 + length {
            return request;
        }
    }
}

fn answer(status: &str, length: usize, body: &[u8]) -> Answer {
    let mut answer =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").into_bytes();
    answer.extend_from_slice(body);
    answer
}

fn ok(body: &[u8]) -> Answer {
    answer("200 OK", body.len(), body)
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    Program::new("gzip").arg("-nc").arg(file.path()).output().unwrap().stdout
}

fn pull(stored: &[u8]) -> PullRequest {
    PullRequest {
        path: "lesson3/export.pkl".into(),
        stored: ContentHash::of(stored),
        stored_size: stored.len() as u64,
        gzip: false,
        payload: None,
        replaces: None,
    }
}

async fn pulled(home: &Home, link: &SecretString, ask: &PullRequest) -> Result<Pulled> {
    let result = home.ask::<Pulled>(&Ask::Pull { ask, secret: link, speed: SPEED }).await;
    let left: Vec<_> = [".dacapo", "lesson3"]
        .iter()
        .filter_map(|folder| std::fs::read_dir(home.path(folder)).ok())
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "lock" && name != "export.pkl")
        .collect();
    assert_eq!(left, [""; 0], "nothing half may stay");
    if let Err(error) = &result {
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    result
}

#[tokio::test]
async fn plain_and_packed_bytes_arrive_as_they_were() {
    let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let packed = gzipped(&bytes);
    for (stored, gzip) in [(&bytes, false), (&packed, true)] {
        let home = Home::new();
        let store = Store::new(vec![ok(stored)]).await;
        let ask = PullRequest { gzip, payload: Some(ContentHash::of(&bytes)), ..pull(stored) };
        let expected = Pulled { payload: ContentHash::of(&bytes), size: bytes.len() as u64 };
        assert_eq!(pulled(&home, &store.link, &ask).await.unwrap(), expected);
        assert!(home.read("lesson3/export.pkl") == bytes);
        // Done already is done: the store isn't asked again.
        assert_eq!(pulled(&home, &store.link, &ask).await.unwrap(), expected);
        assert_eq!(store.requests.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn progress_is_told_up_to_the_end() {
    let home = Home::new();
    let store = Store::new(vec![ok(b"twelve bytes")]).await;
    let ask = pull(b"twelve bytes");
    let ask = Ask::Pull { ask: &ask, secret: &store.link, speed: SPEED };
    let mut seen = Vec::new();
    let exchange = Exchange { what: "cannot do it", limit: Duration::from_secs(60) };
    let started = Started::own(home.command().spawn().unwrap());
    let result = exchange.converse::<Pulled>(started, &ask, &mut |told| seen.push(told), None).await;
    result.unwrap();
    assert_eq!(seen.last(), Some(&Told::Moved { bytes: 12, total: Some(12) }));
}

#[tokio::test]
async fn a_cut_transfer_is_mended_and_the_wait_is_told() {
    let home = Home::new();
    let store = Store::new(vec![answer("200 OK", 12, b"twel"), ok(b"twelve bytes")]).await;
    let ask = pull(b"twelve bytes");
    let ask = Ask::Pull { ask: &ask, secret: &store.link, speed: SPEED };
    let mut waits = Vec::new();
    let exchange = Exchange { what: "cannot do it", limit: Duration::from_secs(60) };
    let started = Started::own(home.command().spawn().unwrap());
    let mut told = |told| {
        if let Told::Waiting { why, .. } = told {
            waits.push(why);
        }
    };
    exchange.converse::<Pulled>(started, &ask, &mut told, None).await.unwrap();
    assert_eq!(home.read("lesson3/export.pkl"), b"twelve bytes");
    assert_eq!(waits, ["the connection ended early"]);
}

#[tokio::test]
async fn wrong_bytes_never_reach_their_place() {
    let other = gzipped(b"other");
    let packed = gzipped(b"payload");
    let cases: Vec<(Answer, &[u8], bool, Kind)> = vec![
        (ok(b"twelve bytez"), b"twelve bytes", false, Kind::Mismatch),
        (ok(b"twelve bytes and more"), b"twelve bytes", false, Kind::Mismatch),
        (answer("200 OK", 12, b"twel"), b"twelve bytes", false, Kind::Network),
        (answer("302 Found\r\nLocation: http://127.0.0.1:1/", 0, b""), b"twelve bytes", false, Kind::Http),
        (ok(&other), &other, true, Kind::Mismatch),
        (ok(b"no gzip at all"), b"no gzip at all", true, Kind::NotGzip),
        (ok(&packed[..packed.len() - 3]), &packed[..packed.len() - 3], true, Kind::NotGzip),
    ];
    for (answer, stored, gzip, expected) in cases {
        let home = Home::new();
        home.write("lesson3/export.pkl", "old");
        let store = Store::new(vec![answer]).await;
        let payload = Some(ContentHash::of(b"payload")).filter(|_| gzip);
        let replaces = Some(ContentHash::of(b"old"));
        let ask = PullRequest { gzip, payload, replaces, ..pull(stored) };
        assert_eq!(kind(pulled(&home, &store.link, &ask).await), expected);
        assert_eq!(home.read("lesson3/export.pkl"), b"old");
    }
}

#[tokio::test]
async fn only_the_bytes_that_were_planned_with_are_replaced() {
    let cases: [(Option<&str>, Option<&str>, bool); 7] = [
        (None, None, true),
        (Some(""), None, true),
        (Some("old"), Some("old"), true),
        (Some("work"), None, false),
        (Some("work"), Some("old"), false),
        (None, Some("old"), false),
        (Some("new"), Some("old"), true),
    ];
    for (there, replaces, allowed) in cases {
        let home = Home::new();
        if let Some(there) = there {
            home.write("lesson3/export.pkl", there);
        }
        let store = Store::new(vec![ok(b"new")]).await;
        let replaces = replaces.map(|text| ContentHash::of(text.as_bytes()));
        let ask = PullRequest { replaces, payload: Some(ContentHash::of(b"new")), ..pull(b"new") };
        let result = pulled(&home, &store.link, &ask).await;
        assert_eq!(result.is_ok(), allowed, "{there:?} {result:?}");
        if allowed {
            assert_eq!(home.read("lesson3/export.pkl"), b"new");
        } else {
            assert_eq!(kind(result), Kind::Changed);
            assert_eq!(home.path("lesson3/export.pkl").exists(), there.is_some());
            assert_eq!(there.map(str::as_bytes), there.map(|_| home.read("lesson3/export.pkl")).as_deref());
        }
    }
}

/// Answers a download only after `meanwhile` has happened.
async fn store_with(meanwhile: impl FnOnce() + Send + 'static) -> SecretString {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let link = format!("http://{}/secret", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        meanwhile();
        stream.write_all(&ok(b"new")).await.unwrap();
    });
    link.into()
}

#[tokio::test]
async fn bytes_written_while_the_new_ones_travel_are_kept() {
    for there in [None, Some("old")] {
        let home = Home::new();
        let place = home.path("lesson3/export.pkl");
        if let Some(there) = there {
            home.write("lesson3/export.pkl", there);
        }
        let link = store_with(move || std::fs::write(place, "just trained").unwrap()).await;
        let replaces = there.map(|text| ContentHash::of(text.as_bytes()));
        let ask = PullRequest { replaces, ..pull(b"new") };
        assert_eq!(kind(pulled(&home, &link, &ask).await), Kind::Changed);
        assert_eq!(home.read("lesson3/export.pkl"), b"just trained");
    }
}

#[tokio::test]
async fn a_link_in_the_way_is_not_followed() {
    let home = Home::new();
    home.write("elsewhere", "precious");
    std::fs::create_dir(home.path("lesson3")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", home.path("lesson3/export.pkl")).unwrap();
    let store = Store::new(vec![ok(b"new")]).await;
    let ask = PullRequest { replaces: Some(ContentHash::of(b"precious")), ..pull(b"new") };
    assert_eq!(kind(pulled(&home, &store.link, &ask).await), Kind::Occupied);
    assert_eq!(home.read("elsewhere"), b"precious");
}

#[tokio::test]
async fn links_to_the_outside_need_https() {
    let home = Home::new();
    let link = "http://192.0.2.1/secret".to_owned().into();
    assert_eq!(kind(pulled(&home, &link, &pull(b"new")).await), Kind::BadRequest);
}

// Storing.

fn push<'a>(packed: &'a Packed, link: &'a SecretString) -> Ask<'a> {
    Ask::Push {
        path: "lesson3/export.pkl",
        temp: packed.temp.as_deref(),
        stored: packed.stored,
        stored_size: packed.stored_size,
        secret: link,
        speed: SPEED,
    }
}

async fn pack(home: &Home, gzip: bool, limit: u64) -> Result<Packed> {
    home.ask(&Ask::Pack(&PackRequest { path: "lesson3/export.pkl".into(), gzip, limit, copied: limit })).await
}

#[tokio::test]
async fn packing_is_deterministic_and_unpacks_to_the_same_bytes() {
    let home = Home::new();
    let bytes = b"the same bytes again and again ".repeat(1000);
    let path = home.write("lesson3/export.pkl", &bytes);
    let packed = pack(&home, true, 1_000_000).await.unwrap();
    assert_eq!((packed.payload, packed.size), (ContentHash::of(&bytes), bytes.len() as u64));
    let stored = home.read(&format!(".dacapo/{}", packed.temp.as_deref().unwrap()));
    assert_eq!((packed.stored, packed.stored_size), (ContentHash::of(&stored), stored.len() as u64));
    let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    std::fs::File::open(&path).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(pack(&home, true, 1_000_000).await.unwrap(), packed);
    let store = Store::new(vec![ok(&stored)]).await;
    let other = Home::new();
    let ask = PullRequest { gzip: true, payload: Some(packed.payload), ..pull(&stored) };
    pulled(&other, &store.link, &ask).await.unwrap();
    assert_eq!(other.read("lesson3/export.pkl"), bytes);
}

#[tokio::test]
async fn too_much_is_refused_and_leaves_no_copy() {
    let home = Home::new();
    let mut state = 88_172_645_463_325_252_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(100_000)
    .collect();
    home.write("lesson3/export.pkl", &noise);
    for gzip in [false, true] {
        assert_eq!(kind(pack(&home, gzip, 20_000).await), Kind::TooLarge);
        assert_eq!(std::fs::read_dir(home.path(".dacapo")).unwrap().count(), 1, "only the lock");
    }
    std::fs::remove_file(home.path("lesson3/export.pkl")).unwrap();
    assert_eq!(kind(pack(&home, true, 20_000).await), Kind::Missing);
}

#[tokio::test]
async fn what_was_packed_is_sent_though_the_file_moves_on() {
    let home = Home::new();
    home.write("lesson3/export.pkl", "version 1");
    let packed = pack(&home, false, 1000).await.unwrap();
    home.write("lesson3/export.pkl", "version 2");
    let reply = format!("{{\"content-hash\":\"{}\"}}", packed.stored);
    let store = Store::new(vec![ok(reply.as_bytes())]).await;
    let content: ContentHash = home.ask(&push(&packed, &store.link)).await.unwrap();
    assert_eq!(content, ContentHash::of(b"version 1"));
    let request = String::from_utf8(store.request(0)).unwrap();
    assert!(
        request.starts_with("POST /apitul/1/very-secret-part?x=also-secret-too HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(request.contains("Content-Type: application/octet-stream\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\nversion 1"), "{request}");
    for _ in 0..2 {
        home.ask::<()>(&Ask::DiscardPack { temp: packed.temp.as_deref(), stored: packed.stored })
            .await
            .unwrap();
    }
    assert!(!home.path(".dacapo").join(packed.temp.as_deref().unwrap()).exists());
}

#[tokio::test]
async fn an_upload_counts_only_with_the_stores_own_hash() {
    let home = Home::new();
    home.write("lesson3/export.pkl", "version 1");
    let packed = pack(&home, false, 1000).await.unwrap();
    let wrong = format!("{{\"content-hash\":\"{}\"}}", ContentHash::of(b"else"));
    let cases: Vec<(Answer, Kind)> = vec![
        (ok(wrong.as_bytes()), Kind::Mismatch),
        (ok(b"{}"), Kind::Unclear),
        (ok(b"<html>"), Kind::Unclear),
        (b"".to_vec(), Kind::Unclear),
        (
            answer("409 Conflict", 60, b"link /apitul/1/very-secret-part?x=also-secret-too is unknown"),
            Kind::Http,
        ),
        (answer("410 Gone", 8, b"consumed"), Kind::Http),
    ];
    for (answer, expected) in cases {
        let store = Store::new(vec![answer]).await;
        let error = home.ask::<ContentHash>(&push(&packed, &store.link)).await.unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert_eq!(error.trouble, Trouble::Said(expected), "{error}");
    }
}

#[tokio::test]
async fn discarding_touches_nothing_but_packed_copies() {
    let home = Home::new();
    home.write("lesson3/export.pkl", "precious");
    for temp in ["../lesson3/export.pkl", "marker", "", "pack-../../lesson3/export.pkl"] {
        assert_eq!(
            kind(home.ask::<()>(&Ask::DiscardPack { temp: Some(temp), stored: ContentHash::of(b"") }).await),
            Kind::BadRequest,
            "{temp}"
        );
    }
}
