//! The only way out of a rehearsed laptop or server: a host name and a port, to an instance or the git host.
//!
//! Every ssh of the sandbox has `dacapo sandbox gateway HOST PORT` as its `ProxyCommand`; that command
//! ([`pipe`]) says a key and where it wants to go, and from then on carries bytes. Whatever the host is
//! called, nothing is resolved and nothing is dialled but this listener on loopback.

mod link;
mod pipe;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::AbortHandle;

use super::clock::Clock;
use super::repo::GitHost;
use super::server::{Plan, Servers, SshFaults, files};
use crate::error::{Error, Result};
pub use pipe::pipe;

/// The file in the sandbox's directory that says where the gateway listens; mode 0600.
const FILE: &str = "gateway.json";

/// How long a caller may take to say where it wants to go.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest greeting: a key, the longest host name there is, a port.
const LONGEST_GREETING: usize = 512;

/// What the file says.
#[derive(Serialize, Deserialize)]
struct Contact {
    address: String,
    key: String,
}

/// Everything that can be reached.
#[derive(Clone)]
pub struct Router {
    /// The instances, by their addresses in 127.77.0.0/16.
    pub servers: Servers,
    /// The git host, by every name a repository was seeded for.
    pub git: GitHost,
    /// What is to go wrong on the way to instances.
    pub faults: Plan,
    /// The sandbox's time, by which it goes wrong.
    pub clock: Clock,
}

/// Where a connection goes.
#[derive(Debug)]
enum Route {
    /// To an instance, meeting these faults.
    Instance(Ipv4Addr, Arc<SshFaults>),
    Git(String),
}

impl Router {
    /// Returns where a host name and port lead, or why nowhere, in the words of OpenSSH.
    fn route(&self, host: &str, port: u16) -> Result<Route, String> {
        if self.git.knows(host) {
            return Ok(Route::Git(host.to_owned()));
        }
        let refused = || Err(format!("ssh: connect to host {host} port {port}: Connection refused"));
        match host.parse() {
            Ok(IpAddr::V4(address)) if port == 22 && self.servers.listens(address) => {
                let faults = self.faults.meet();
                if faults.refuse { refused() } else { Ok(Route::Instance(address, faults)) }
            }
            Ok(IpAddr::V4(address)) if is_instance(address) => refused(),
            Ok(_) => Err(format!("ssh: connect to host {host} port {port}: Network is unreachable")),
            Err(_) => Err(format!("ssh: Could not resolve hostname {host}: the sandbox has no such host")),
        }
    }

    async fn follow(&self, route: Route, stream: TcpStream) -> Result<()> {
        match route {
            Route::Instance(address, faults) => self.follow_to_instance(address, &faults, stream).await,
            Route::Git(host) => self.git.serve(stream, &host).await,
        }
    }

    async fn follow_to_instance(
        &self,
        address: Ipv4Addr,
        faults: &SshFaults,
        stream: TcpStream,
    ) -> Result<()> {
        let (near, far) = UnixStream::pair()
            .map_err(|error| Error::new("cannot lay a line to an instance").because(&error))?;
        let (served, ()) = tokio::join!(
            self.servers.serve(far, address, faults),
            link::carry(stream, near, faults, self.faults.watch(), &self.clock)
        );
        served
    }
}

/// Returns whether an address is one the sandbox gives to instances: loopback, so that even a
/// connection past the gateway stays on this machine.
fn is_instance(address: Ipv4Addr) -> bool {
    matches!(address.octets(), [127, 77, _, _])
}

/// The listener; dropping it stops accepting, connections already made go on.
pub struct Gateway {
    port: u16,
    accepting: AbortHandle,
}

impl Gateway {
    /// Returns the port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Listens on a free port of 127.0.0.1 and writes down where, with a fresh key, below `directory`.
pub async fn listen(directory: &Path, router: Router) -> Result<Gateway> {
    let wording = |error: std::io::Error| Error::new("cannot open the sandbox's gateway").because(&error);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(wording)?;
    let port = listener.local_addr().map_err(wording)?.port();
    let contact = Contact { address: format!("127.0.0.1:{port}"), key: fresh_key()? };
    let text = serde_json::to_vec(&contact).expect("two strings are JSON");
    files::write_private(&directory.join(FILE), &text)?;
    let accepting = tokio::spawn(accept(listener, contact.key, router)).abort_handle();
    Ok(Gateway { port, accepting })
}

fn fresh_key() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::new("cannot make a key").because(&error))?;
    Ok(hex::encode(bytes))
}

async fn accept(listener: TcpListener, key: String, router: Router) {
    loop {
        // Running out of descriptors is the usual reason not to get one; others may finish meanwhile.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (key, router) = (key.clone(), router.clone());
        tokio::spawn(async move { receive(stream, &key, &router).await });
    }
}

/// Reads the greeting, answers it, and hands the connection on.
async fn receive(mut stream: TcpStream, key: &str, router: &Router) {
    let Ok(Some(greeting)) = tokio::time::timeout(PATIENCE, greeting(&mut stream)).await else { return };
    let decision = parse(&greeting, key).and_then(|(host, port)| router.route(host, port));
    let answer = match &decision {
        Ok(_) => "+ok\n".to_owned(),
        Err(reason) => format!("-{reason}\n"),
    };
    if stream.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    if let Ok(route) = decision {
        // Latency matters more than packets here. A failure closes the connection, which says it all.
        stream.set_nodelay(true).ok();
        router.follow(route, stream).await.ok();
    }
}

/// Reads one line, a byte at a time: what comes after it belongs to somebody else.
async fn greeting(stream: &mut TcpStream) -> Option<String> {
    let mut line = Vec::new();
    while line.len() < LONGEST_GREETING {
        match stream.read_u8().await.ok()? {
            b'\n' => return String::from_utf8(line).ok(),
            byte => line.push(byte),
        }
    }
    None
}

/// Returns host and port of `DACAPO-GATEWAY <key> <host> <port>`.
fn parse<'a>(greeting: &'a str, key: &str) -> Result<(&'a str, u16), String> {
    let words: Vec<_> = greeting.split(' ').collect();
    let ["DACAPO-GATEWAY", given, host, port] = words[..] else { return Err("not a greeting".to_owned()) };
    if given != key {
        return Err("wrong key".to_owned());
    }
    let port = port.parse().map_err(|_| format!("`{port}` is no port"))?;
    Ok((host, port))
}

#[cfg(test)]
mod tests;
