//! `dacapo notebook`: the way to the notebook server, kept open until Ctrl-C.
//!
//! The laptop's end is a listener of our own, so its port stays the same while the connection behind it goes
//! and comes back.

mod browser;

use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use super::load::Loaded;
use super::worlds::Worlds;
use super::{Global, cannot_print, interrupts};
use crate::error::{Error, ExitCode, Result};
use crate::observe::given_notebook;
use crate::provider::server::{Connection, Forward, NotebookAddress};
use crate::report::{self, Way};
use crate::spec::Spec;

/// How often is looked whether the connection lives.
const LOOK: Duration = Duration::from_secs(1);
/// How long is waited before the second attempt to connect again; twice as long before each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long the browser may have to wait for the connection to come back.
const PATIENCE: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "Examples:
  dacapo notebook              prints the address; open until Ctrl-C
  dacapo notebook --open       in the browser ($BROWSER, else the system's own)
  dacapo notebook --port 8899  on this port of the laptop";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Notebook {
    /// Open the address in the browser ($BROWSER, else the system's own)
    #[arg(long)]
    open: bool,
    /// Listen on this port of the laptop; a free one where it isn't given
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

/// A connection that leads to the notebook server.
struct Line {
    connection: Connection,
    forward: Forward,
    address: Option<NotebookAddress>,
}

pub(super) async fn run(global: &Global, asked: &Notebook) -> Result<ExitCode> {
    let loaded = Loaded::read(global, None)?;
    let spec = &loaded.spec;
    let worlds = Worlds::open(global, &loaded).await?;
    if spec.notebook.is_none() {
        return Err(Error::of(ExitCode::Usage, format!("`{}` has no notebook", spec.name))
            .why("there is no `[notebook]` in session.toml")
            .hint(format!("write `[notebook]` below the other sections, and run `{} up`", worlds.prefix)));
    }
    let interrupt = interrupts(global);
    let listener = listen(asked.port).await?;
    let port = local_port(&listener)?;
    let line = tokio::select! {
        line = connect(&worlds, spec) => line?,
        () = interrupt.requested() => return Ok(ExitCode::Interrupted),
    };
    let Some(address) = line.address.clone() else {
        line.connection.close().await;
        return Err(Error::of(
            ExitCode::Remote(255),
            format!("the notebook server of `{}` doesn't run", spec.name),
        )
        .hint(format!("`{} up` starts it", worlds.prefix)));
    };
    let (lead, leads) = watch::channel(Some(line.forward.socket().to_owned()));
    tokio::spawn(accept(listener, leads));
    told(&worlds, &Way::Open(port));
    print(global, spec, &address, port)?;
    if asked.open {
        browser::open(url(&address, port), worlds.prefix.clone());
    }
    let way = Kept { global, worlds: &worlds, spec, port, lead: &lead };
    tokio::select! {
        ended = way.keep(line, address) => ended,
        () = interrupt.requested() => Ok(ExitCode::Ok),
    }
}

/// The way that is kept open.
struct Kept<'a> {
    global: &'a Global,
    worlds: &'a Worlds,
    spec: &'a Spec,
    port: u16,
    /// Where the listener's connections lead to; nowhere while there is no connection.
    lead: &'a watch::Sender<Option<PathBuf>>,
}

impl Kept<'_> {
    /// Connects again whenever the connection is gone; ends with an error once there is no server any more.
    async fn keep(&self, mut line: Line, mut address: NotebookAddress) -> Result<ExitCode> {
        loop {
            while line.connection.lives().await {
                tokio::time::sleep(LOOK).await;
            }
            self.lead.send_replace(None);
            line.connection.close().await;
            line = self.connect_again().await?;
            self.lead.send_replace(Some(line.forward.socket().to_owned()));
            self.told(&Way::Again);
            match &line.address {
                // One that was started anew has another token.
                Some(now) if *now != address => {
                    print(self.global, self.spec, now, self.port)?;
                    address = now.clone();
                }
                Some(_) => {}
                None => self.told(&Way::Stopped),
            }
        }
    }

    async fn connect_again(&self) -> Result<Line> {
        let mut pause = FIRST_PAUSE;
        self.told(&Way::Gone);
        loop {
            match connect(self.worlds, self.spec).await {
                Ok(line) => return Ok(line),
                // What the cloud and the record say clearly is no trouble of the network's.
                Err(error) if matches!(error.kind, ExitCode::Remote(_)) => return Err(error),
                Err(error) => {
                    let why = error.to_string();
                    self.told(&Way::StillGone { why: &why, seconds: pause.as_secs() });
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn told(&self, way: &Way<'_>) {
        told(self.worlds, way);
    }
}

async fn connect(worlds: &Worlds, spec: &Spec) -> Result<Line> {
    let (rented, instance) = worlds.server(spec).await?;
    let mut connection = worlds.providers.connect(spec, &rented, &instance, false).await?;
    let given = given_notebook(spec, &instance);
    let address = connection.notebook_address(given.as_ref()).await;
    let port = match &address {
        Ok(Some(address)) => address.port,
        _ => spec.notebook.as_ref().map_or(0, |notebook| notebook.port),
    };
    let forward = connection.forward(port).await;
    match (address, forward) {
        (Ok(address), Ok(forward)) => Ok(Line { connection, forward, address }),
        (Err(error), _) | (_, Err(error)) => {
            connection.close().await;
            Err(error.into())
        }
    }
}

async fn listen(port: Option<u16>) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0))).await.map_err(|error| {
        let what = match port {
            Some(port) => format!("cannot listen on port {port} of this laptop"),
            None => "cannot listen on this laptop's loopback".to_owned(),
        };
        Error::new(what).because(&error).hint("name another port, or leave `--port` out to take a free one")
    })
}

fn local_port(listener: &TcpListener) -> Result<u16> {
    let address = listener.local_addr();
    address
        .map(|address| address.port())
        .map_err(|error| Error::new("cannot tell the port that was taken").because(&error))
}

/// Takes every connection that the browser makes and leads it to the notebook server.
async fn accept(listener: TcpListener, leads: watch::Receiver<Option<PathBuf>>) {
    loop {
        // Running out of descriptors is the usual reason not to get one; others may finish meanwhile.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        tokio::spawn(lead(stream, leads.clone()));
    }
}

/// Leads one connection there; while the way is gone, it waits a little for it.
async fn lead(mut near: TcpStream, mut leads: watch::Receiver<Option<PathBuf>>) {
    near.set_nodelay(true).ok();
    let far = async {
        loop {
            let socket = leads.wait_for(Option::is_some).await.ok()?.clone()?;
            match UnixStream::connect(&socket).await {
                Ok(far) => return Some(far),
                // It has just gone.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    if let Ok(Some(mut far)) = tokio::time::timeout(PATIENCE, far).await {
        // Either side closing ends it; there is nobody to tell.
        tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
    }
}

fn url(address: &NotebookAddress, port: u16) -> String {
    // Whatever the token is made of, it stays one value.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let token: String = address
        .token
        .expose()
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("http://127.0.0.1:{port}/lab?token={token}")
}

fn print(global: &Global, spec: &Spec, address: &NotebookAddress, port: u16) -> Result<()> {
    let mut out = io::stdout().lock();
    let url = url(address, port);
    let told = if global.json {
        let value = serde_json::json!({"version": 1, "session": spec.name, "port": port, "url": url});
        writeln!(out, "{value}").and_then(|()| out.flush())
    } else {
        report::notebook(&mut out, &url)
    };
    told.map_err(cannot_print)
}

fn told(worlds: &Worlds, way: &Way<'_>) {
    // A closed stderr leaves nobody to tell, and the way stays open.
    let _ = report::way(&mut io::stderr().lock(), way, &worlds.prefix);
}
