//! A small server that answers as told and remembers what it was asked, and what it shows of us.

use std::sync::{Arc, Mutex as StdMutex};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::*;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

/// What the server does.
pub(crate) enum Reply {
    Answer(Response),
    /// The connection stays open and nothing comes.
    Silence,
}

pub(crate) fn say(status: u16, body: &Value) -> Reply {
    Reply::Answer((StatusCode::from_u16(status).unwrap(), axum::Json(body.clone())).into_response())
}

pub(crate) fn say_text(status: u16, body: &str) -> Reply {
    Reply::Answer((StatusCode::from_u16(status).unwrap(), body.to_owned()).into_response())
}

/// A 2xx whose body breaks off.
pub(crate) fn say_cut(status: u16, body: &'static str) -> Reply {
    let parts = [Ok(body), Err(std::io::Error::other("cut"))];
    let body = Body::from_stream(futures_util::stream::iter(parts));
    Reply::Answer((StatusCode::from_u16(status).unwrap(), body).into_response())
}

pub(crate) fn with_header(reply: Reply, name: &'static str, value: &str) -> Reply {
    let Reply::Answer(mut answer) = reply else { panic!("silence has no headers") };
    answer.headers_mut().insert(name, value.parse().unwrap());
    Reply::Answer(answer)
}

/// A server on loopback; it ends with the test's runtime.
pub(crate) struct Fake {
    pub(crate) url: String,
    seen: Arc<StdMutex<Vec<Seen>>>,
}

impl Fake {
    /// `reply` gets the request and how many like it (same method and path) came before.
    pub(crate) async fn start(reply: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let seen = Arc::new(StdMutex::new(Vec::<Seen>::new()));
        let (log, reply) = (seen.clone(), Arc::new(reply));
        let handle = move |request: Request| async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let line = format!("{} {}", parts.method, parts.uri);
            let one = Seen { line, headers: parts.headers, body };
            let before = {
                let mut log = log.lock().unwrap();
                log.push(one.clone());
                log.iter().filter(|other| other.line == one.line).count() - 1
            };
            match reply(&one, before) {
                Reply::Answer(answer) => answer,
                Reply::Silence => std::future::pending().await,
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, axum::Router::new().fallback(handle)).into_future());
        Self { url, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests began with `line`.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.seen().iter().filter(|seen| seen.line.starts_with(line)).count()
    }
}

const MANNER: Manner =
    Manner { name: "the test", credentials_hint: "log in", advice: |_| None, sort: Trouble::by_status };

fn service(fake: &Fake, login: Login) -> (Service, Url) {
    let base = base_url(&fake.url).unwrap();
    (Service::new(MANNER, &[&base], login, Clock::scaled(1e6)).unwrap(), base)
}

fn fixed() -> Login {
    Login::Fixed("t0ken".into())
}

fn asked(fake: &Fake) -> Login {
    let fields = vec![("client_id", "id".into()), ("client_secret", "s3cr3t".into())];
    Login::Asked {
        url: format!("{}/oauth2/token", fake.url).parse().unwrap(),
        encoding: Encoding::Json,
        fields,
    }
}

/// A token that outlives the test, also on a clock a million times as fast.
fn token(number: usize) -> Reply {
    living(number, 3_600_000_000_000)
}

fn living(number: usize, seconds: u64) -> Reply {
    say(200, &json!({"access_token": format!("t0ken-{number}"), "expires_in": seconds}))
}

#[tokio::test]
async fn reads_are_tried_again_until_they_come_whole() {
    let fake = Fake::start(|_, before| match before {
        0 => say_text(500, "oops"),
        1 => say_cut(200, "[1,"),
        2 => with_header(say(429, &json!({})), "retry-after", "7"),
        3 => say_text(200, "[1,2"),
        _ => say(200, &json!([1, 2])),
    })
    .await;
    let (service, base) = service(&fake, fixed());
    let (read, _) = service.json::<Vec<u32>>(&Call::get(below(&base, &["list"]))).await.unwrap();
    assert_eq!((read, fake.count("GET /list")), (vec![1, 2], 5));
}

#[tokio::test]
async fn reads_give_up_after_five_tries_and_at_once_on_a_shape_that_will_not_change() {
    let fake = Fake::start(|seen, _| match seen.line.as_str() {
        "GET /broken" => say(503, &json!({"code": "service_unavailable", "message": "restarting"})),
        _ => say(200, &json!({"not": "a list"})),
    })
    .await;
    let (service, base) = service(&fake, fixed());
    let trouble = service.json::<Vec<u32>>(&Call::get(below(&base, &["broken"]))).await.unwrap_err();
    let error = service.error("cannot read", trouble);
    assert_eq!(error.why, ["the test answered 503 `service_unavailable`: restarting"]);
    assert_eq!(fake.count("GET /broken"), 5);
    let trouble = service.json::<Vec<u32>>(&Call::get(below(&base, &["odd"]))).await.unwrap_err();
    let text = service.error("cannot read", trouble).to_string();
    assert!(text.contains("expected `Vec<u32>`, got `{\"not\":\"a list\"}`"), "{text}");
    assert_eq!(fake.count("GET /odd"), 1);
}

#[test]
fn the_wait_asked_for_is_kept_within_bounds() {
    let asked = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("date", "Sun, 06 Nov 2026 08:49:37 GMT".parse().unwrap());
        headers.insert("retry-after", value.parse().unwrap());
        let answer = Answer { status: StatusCode::TOO_MANY_REQUESTS, headers, body: Bytes::new() };
        Said::from_answer("the test", answer).after
    };
    assert_eq!(asked("15"), Some(Duration::from_secs(15)));
    assert_eq!(asked("99999999"), Some(Duration::from_secs(99_999_999)));
    assert_eq!(asked("soon"), None);
    assert_eq!(asked("-3"), None);
    for tried in 1..40 {
        let plain = 2_u32.saturating_pow(tried - 1).min(30);
        let pause = back_off(tried).as_secs_f64();
        assert!((0.5..=1.5).contains(&(pause / f64::from(plain))), "{tried}: {pause}");
    }
}

#[test]
fn an_absurd_wait_is_cut_to_five_minutes() {
    let trouble = |after| Trouble::Unknown { what: "busy".into(), after };
    let seconds = Duration::from_secs;
    assert_eq!(wait(1, &trouble(Some(seconds(99_999)))), Some(seconds(300)));
    assert_eq!(wait(4, &trouble(Some(seconds(7)))), Some(seconds(7)));
    assert_eq!(wait(5, &trouble(Some(seconds(7)))), None);
}

#[tokio::test]
async fn calls_made_at_once_share_one_login() {
    let fake = Fake::start(|seen, before| match seen.line.as_str() {
        "POST /oauth2/token" => token(before),
        _ => say(200, &json!(seen.header("authorization"))),
    })
    .await;
    let (service, base) = service(&fake, asked(&fake));
    let call = Call::get(below(&base, &["who"]));
    let (a, b, c) = tokio::join!(
        service.json::<String>(&call),
        service.json::<String>(&call),
        service.json::<String>(&call)
    );
    for answer in [a, b, c] {
        assert_eq!(answer.unwrap().0, "Bearer t0ken-0");
    }
    assert_eq!(fake.count("POST /oauth2/token"), 1);
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_and_a_refused_one_ends_it() {
    let fake = Fake::start(|seen, before| match seen.line.as_str() {
        "POST /oauth2/token" => token(before),
        "GET /mine" if seen.header("authorization") == "Bearer t0ken-1" => say(200, &json!("yes")),
        _ => say(401, &json!({"code": "unauthorized_request", "message": "no"})),
    })
    .await;
    let (service, base) = service(&fake, asked(&fake));
    service.json::<String>(&Call::get(below(&base, &["mine"]))).await.unwrap();
    assert_eq!((fake.count("GET /mine"), fake.count("POST /oauth2/token")), (2, 2));
    let trouble = service.json::<String>(&Call::get(below(&base, &["theirs"]))).await.unwrap_err();
    let error = service.error("cannot read", trouble);
    assert_eq!((error.kind, error.hint.as_deref()), (ExitCode::Credentials, Some("log in")));
    assert_eq!((fake.count("GET /theirs"), fake.count("POST /oauth2/token")), (2, 3));
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_by_the_services_clock() {
    let fake = Fake::start(|seen, before| match seen.line.as_str() {
        "POST /oauth2/token" => living(before, 3600),
        _ => say(200, &json!(1)),
    })
    .await;
    // On this clock an hour is over in less time than one call takes.
    let base = base_url(&fake.url).unwrap();
    let service = Service::new(MANNER, &[&base], asked(&fake), Clock::scaled(1e9)).unwrap();
    for _ in 0..3 {
        service.json::<u32>(&Call::get(below(&base, &["x"]))).await.unwrap();
    }
    assert_eq!(fake.count("POST /oauth2/token"), 3);
}

#[tokio::test]
async fn refused_credentials_are_said_once_without_the_secret() {
    let fake = Fake::start(|_, _| {
        let message = "Invalid client id or client secret s3cr3t";
        say(401, &json!({"code": "unauthorized_request", "message": message}))
    })
    .await;
    let (service, base) = service(&fake, asked(&fake));
    let trouble = service.json::<u32>(&Call::get(base)).await.unwrap_err();
    let error = service.error("cannot read", trouble);
    assert_eq!(error.kind, ExitCode::Credentials);
    assert!(!error.to_string().contains("s3cr3t") && error.to_string().contains("****"), "{error}");
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_login_that_cannot_be_read_shows_nothing_of_it() {
    let fake = Fake::start(|_, _| say(200, &json!({"acess_token": "t0ken-x"}))).await;
    let (service, base) = service(&fake, asked(&fake));
    let trouble = service.once(&Call::bare_post(base)).await.unwrap_err();
    assert!(trouble.is_without_effect());
    let error = service.error("cannot write", trouble);
    assert!(!error.to_string().contains("t0ken-x") && error.to_string().contains("TokenAnswer"), "{error}");
}

#[tokio::test]
async fn redirects_are_not_followed_nor_tried_again() {
    let fake = Fake::start(|_, _| with_header(say_text(307, ""), "location", "http://127.0.0.1:1/")).await;
    let (service, base) = service(&fake, fixed());
    let trouble = service.json::<u32>(&Call::get(base.clone())).await.unwrap_err();
    assert!(matches!(trouble, Trouble::Redirected(_)) && !trouble.is_without_effect(), "{trouble:?}");
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn silence_and_a_broken_answer_leave_the_outcome_unknown_but_no_connection_does_not() {
    let fake = Fake::start(|seen, _| match seen.line.as_str() {
        "POST /silent" => Reply::Silence,
        "POST /cut" => say_cut(200, "\"id"),
        _ => say_text(408, ""),
    })
    .await;
    let (service, base) = service(&fake, fixed());
    let service = service.with_call_timeout(&[&base], Duration::from_millis(300));
    for path in ["silent", "cut", "late"] {
        let trouble = service.once(&Call::bare_post(below(&base, &[path]))).await.err().unwrap();
        assert!(matches!(trouble, Trouble::Unknown { .. }), "{path}: {trouble:?}");
        assert!(!trouble.is_without_effect());
    }
    assert_eq!(fake.seen().len(), 3, "nothing is sent twice");
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let closed = base_url(&format!("http://{closed}")).unwrap();
    let trouble = service.once(&Call::bare_post(closed)).await.err().unwrap();
    assert!(matches!(trouble, Trouble::Unreachable(_)), "{trouble:?}");
}

#[tokio::test]
async fn a_body_without_end_is_not_read_to_the_end() {
    let fake = Fake::start(|_, _| {
        let chunk = Bytes::from(vec![b' '; 1 << 20]);
        let parts = std::iter::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
        Reply::Answer(Response::new(Body::from_stream(futures_util::stream::iter(parts))))
    })
    .await;
    let (service, base) = service(&fake, fixed());
    let trouble = service.once(&Call::get(base)).await.err().unwrap();
    assert!(format!("{trouble:?}").contains("more than 16 MiB"), "{trouble:?}");
}

#[test]
fn only_https_leaves_the_machine() {
    for good in
        ["https://api.verda.com/v1", "http://127.0.0.1:80/v1", "http://[::1]:80", "http://localhost:1"]
    {
        base_url(good).expect(good);
    }
    for bad in [
        "http://api.verda.com/v1",
        "http://127.0.0.1.example.com",
        "https://me:pass@host/",
        "https://host/?token=x",
        "ftp://127.0.0.1/",
        "nonsense",
    ] {
        let error = base_url(bad).expect_err(bad);
        assert!(!format!("{error:?}").contains("pass@"), "{error:?}");
    }
    let (here, there) = (base_url("http://127.0.0.1:1").unwrap(), base_url("https://example.com").unwrap());
    Service::new(MANNER, &[&here, &there], fixed(), Clock::real()).unwrap_err();
    Service::new(MANNER, &[&there], fixed(), Clock::real()).unwrap();
}

#[test]
fn path_segments_are_quoted() {
    let base = base_url("https://host/v1/").unwrap();
    assert_eq!(below(&base, &["instances", "a/../b?c"]).as_str(), "https://host/v1/instances/a%2F..%2Fb%3Fc");
}

#[test]
fn messages_are_short_and_printable() {
    assert_eq!(readable("a\u{1b}[31mb\r\n c\u{202e}d"), "a[31mb cd");
    assert_eq!(readable(&"x".repeat(1000)).chars().count(), 201);
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let fake = Fake::start(|_, _| token(0)).await;
    let (service, base) = service(&fake, asked(&fake));
    service.ready().await.unwrap();
    let answer = service.once(&Call::get(base)).await.unwrap();
    let text = format!("{service:?} {answer:?} {:?} {:?}", asked(&fake), fixed());
    assert!(!text.contains("s3cr3t") && !text.contains("t0ken"), "{text}");
}
