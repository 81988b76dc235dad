//! The browser: which one, and how it gets an address that nobody else on the laptop is to read.
//!
//! Arguments show in the process list, so it is given an address that is good once and leads to the real one.

use std::ffi::OsString;
use std::io;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::cli::random_word;
use crate::credentials::SECRET_VARIABLES;
use crate::report::{self, Way};

/// How long the browser may take to come for the address.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts the browser with an address; says so where none can be started, and goes on.
pub(super) fn open(url: String, prefix: String) {
    tokio::spawn(async move {
        if let Err(why) = start(url).await {
            // A closed stderr leaves nobody to tell.
            let _ = report::way(&mut io::stderr().lock(), &Way::NoBrowser(&why), &prefix);
        }
    });
}

async fn start(url: String) -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    let word = random_word();
    tokio::spawn(tokio::time::timeout(PATIENCE, lead_on(listener, word.clone(), url)));
    let once = format!("http://127.0.0.1:{port}/{word}");
    let mut tried = Vec::new();
    for words in candidates() {
        let name = words.first().map_or_else(String::new, |word| word.to_string_lossy().into_owned());
        match run(&words, &once).await {
            Ok(()) => return Ok(()),
            Err(why) => tried.push(format!("`{name}` {why}")),
        }
    }
    Err(if tried.is_empty() { "none is known here".to_owned() } else { tried.join("; ") })
}

/// Returns what may start a browser, in the order in which it is tried.
fn candidates() -> Vec<Vec<OsString>> {
    let chosen = std::env::var("BROWSER").unwrap_or_default();
    let chosen: Vec<Vec<OsString>> = chosen
        .split(':')
        .map(|one| one.split_whitespace().map(OsString::from).collect())
        .filter(|words: &Vec<OsString>| !words.is_empty())
        .collect();
    if !chosen.is_empty() {
        return chosen;
    }
    // `wslview` is there on WSL alone, `open` means a browser on macOS alone.
    let system = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    ["wslview", system].map(|name| vec![name.into()]).into()
}

/// Starts one; a browser that stays in the foreground has been started all the same.
async fn run(words: &[OsString], url: &str) -> Result<(), String> {
    let (program, arguments) = words.split_first().ok_or("says nothing")?;
    let placed = arguments.iter().any(|word| word == "%s");
    let arguments = arguments.iter().map(|word| if word == "%s" { url.into() } else { word.clone() });
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    for name in SECRET_VARIABLES {
        command.env_remove(name);
    }
    if !placed {
        command.arg(url);
    }
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "isn't there".to_owned(),
        _ => format!("can't be started: {error}"),
    })?;
    match tokio::time::timeout(Duration::from_secs(10), child.wait()).await {
        Ok(Ok(status)) if !status.success() => Err(format!("ended with {status}")),
        _ => Ok(()),
    }
}

/// Answers the one who comes with the right word by sending him on, once.
async fn lead_on(listener: TcpListener, word: String, url: String) {
    let wanted = format!("GET /{word} ");
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = Vec::new();
        let reading = async {
            while request.len() < wanted.len() {
                let mut piece = [0; 512];
                match stream.read(&mut piece).await {
                    Ok(count @ 1..) => request.extend_from_slice(&piece[..count]),
                    _ => break,
                }
            }
        };
        // Whoever says nothing must not keep the browser from its turn.
        drop(tokio::time::timeout(Duration::from_secs(2), reading).await);
        let right = request.starts_with(wanted.as_bytes());
        let answer = if right {
            format!(
                "HTTP/1.1 302 Found\r\nLocation: {url}\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-store\r\n"
            )
        } else {
            "HTTP/1.1 404 Not Found\r\n".to_owned()
        };
        let answer = answer + "Content-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.ok();
        stream.shutdown().await.ok();
        if right {
            return;
        }
    }
}
