//! The sandbox's process: one world per folder, four listeners on loopback, and its end.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request as HttpRequest, State};
use axum::http::Response;
use axum::http::request::Parts;
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::admin_routes::{self, Changes};
use super::attach::living;
use super::clock::Clock;
use super::cloud::Effect;
use super::faults::{self, Faults, Lines, Plan, Scissors};
use super::journal::{Journal, Request};
use super::sent::{Landing, Sent};
use super::server::SshFaults;
use super::ssh_side::{SshNeeds, SshSide};
use super::state::{Vault, World, cannot_use, prepare, write_whole};
use super::store::{Place, Places};
use super::wire::{Call, LARGEST_BODY, Reply, form};
use super::{Options, Ready};
use crate::error::{Error, Result};

/// How long a new process waits for one that is just ending.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// How long answers under way may take once the world is to end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// A running world, as its listeners see it.
pub struct Host {
    pub(super) clock: Clock,
    pub(super) journal: Journal,
    pub(super) ssh: SshSide,
    pub(super) faults: Faults,
    places: Places,
    kept: Arc<Mutex<Kept>>,
    last_used: Mutex<Instant>,
    stop: watch::Sender<bool>,
    ready_file: PathBuf,
}

/// The world and its file, changed together.
struct Kept {
    world: World,
    vault: Vault,
}

/// The services that listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The cloud's API.
    Cloud,
    /// Dropbox's API host.
    DropboxApi,
    /// Dropbox's content host.
    DropboxContent,
    /// The sandbox's own routes.
    Admin,
}

/// A listener and the URL it answers under.
struct Door {
    listener: TcpListener,
    url: String,
}

/// Serves the world kept in `dir` until it is stopped, told to end by a signal, or idle for too long.
///
/// Calls `on_ready` once everything listens. Fails when another process serves the same folder.
pub async fn serve_with<F: Future<Output = Result<SshSide>>>(
    dir: &Path,
    options: Options,
    start_ssh: impl FnOnce(SshNeeds) -> F,
    on_ready: impl FnOnce(&Ready),
) -> Result<()> {
    let dir = std::path::absolute(dir).map_err(|error| cannot_use(dir, &error))?;
    prepare(&dir)?;
    let _lock = lock(&dir).await?;
    let ready_file = dir.join("ready.json");
    forget(&ready_file)?;

    let plan = options.faults.as_deref().map(Faults::read).transpose()?;
    let [cloud, api, content, admin] = [open().await?, open().await?, open().await?, open().await?];
    let (vault, mut world) = Vault::open(&dir, options.start.unwrap_or_else(Timestamp::now))?;
    world.store.connect(&dir, &content.url)?;
    let clock = Clock::starting(world.clock, options.clock_speed);
    let journal = Journal::open(&dir.join("requests.jsonl"))?;
    let kept = Arc::new(Mutex::new(Kept { world, vault }));
    let ssh = start_ssh(needs(&dir, &options, &kept, &journal, &clock)?).await?;

    let (stop, stopped) = watch::channel(false);
    let last_used = Mutex::new(Instant::now());
    let (faults, places) = (Faults::default(), Places::default());
    let ready_path = ready_file.clone();
    let host =
        Arc::new(Host { clock, journal, ssh, faults, places, kept, last_used, stop, ready_file: ready_path });
    let urls = [&cloud, &api, &content, &admin].map(|door| door.url.clone());
    let mut serving = JoinSet::new();
    for (service, door) in [
        (Service::Cloud, cloud),
        (Service::DropboxApi, api),
        (Service::DropboxContent, content),
        (Service::Admin, admin),
    ] {
        let link = options.link.filter(|_| service == Service::DropboxContent);
        let lines = Lines::of(Arc::clone(&host), service, door.listener, link)
            .map_err(|error| Error::new("cannot listen on `127.0.0.1`").because(&error))?;
        serving.spawn(listen(Arc::clone(&host), service, lines, stopped.clone()));
    }
    host.fail(plan.unwrap_or_default(), true);
    let ready = host.ready(urls);
    let text = serde_json::to_vec(&ready)
        .map_err(|error| Error::new("cannot describe the sandbox").because(&error))?;
    write_whole(&ready_file, &text)?;
    on_ready(&ready);

    host.run_until_stopped(options.idle, stopped).await?;
    forget(&ready_file)?;
    // Connections that are merely kept open must not keep the world open.
    let _ = tokio::time::timeout(LAST_ANSWERS, async { while serving.join_next().await.is_some() {} }).await;
    host.last_word()
}

impl Host {
    /// Does something with the world at the present moment, makes it durable, and carries out what follows.
    pub(super) fn with_world<T>(&self, act: impl FnOnce(&mut World, Timestamp) -> T) -> Result<T> {
        let (value, effects) = {
            let mut kept = lock_kept(&self.kept);
            let now = self.clock.now();
            let Kept { world, vault } = &mut *kept;
            world.cloud.advance(now);
            let value = act(world, now);
            world.reserve(now, self.clock.speed());
            vault.save(world)?;
            (value, world.cloud.take_effects())
        };
        effects.iter().for_each(|effect| self.carry_out(effect));
        Ok(value)
    }

    /// Changes the world behind the services' backs.
    pub(super) fn change(&self, changes: Changes) -> Result<()> {
        self.with_world(|world, now| {
            world.store.set(&changes.dropbox);
            world.cloud.set(changes.cloud, now);
        })
    }

    /// Puts a fault plan into force, beside the one before or, with `replace`, instead of it.
    pub(super) fn fail(&self, plan: Plan, replace: bool) {
        if let Some(faults) = plan.ssh.or_else(|| replace.then(SshFaults::default)) {
            (self.ssh.faults)(faults);
        }
        self.faults.install(plan.rules, replace, self.clock.now());
    }

    /// Returns the fault plan and how it went so far.
    pub(super) fn told(&self) -> Value {
        let mut told = self.faults.told();
        let holds = (self.ssh.holds)();
        if !holds.is_empty() {
            told["holds"] = Value::Array(holds);
        }
        told
    }

    /// Asks the process to end.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Returns whether the process is about to end.
    pub(super) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    fn carry_out(&self, effect: &Effect) {
        match effect {
            Effect::Disconnect(instance) => (self.ssh.disconnect)(instance),
            Effect::DestroyDisk(volume) => (self.ssh.destroy_disk)(volume),
            Effect::CopyDisk { from, to } => (self.ssh.copy_disk)(from, to),
        }
    }

    /// Waits until the process is told to end.
    pub(super) async fn stopped(&self) {
        // The sender is ours: there is always one.
        let _ = self.stop.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Lets one request have its effect and returns the answer.
    pub(super) fn perform(&self, service: Service, call: &Call) -> Reply {
        *self.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let reply = match service {
            Service::Cloud => self.with_world(|world, now| world.cloud.answer(call, now)),
            Service::DropboxApi => self.with_world(|world, now| world.store.answer_api(call, now)),
            Service::DropboxContent => {
                let landed = call.body.settle().unwrap_or(true);
                let own = Place::of(call).filter(|_| !landed).map(|place| self.places.take(place));
                if let Some(own) = &own {
                    let path = lock_kept(&self.kept).world.store.ahead(own.place());
                    if path.is_some_and(|path| own.put_down(call, path)) {
                        call.body.note_put_down();
                    }
                }
                self.with_world(|world, now| world.store.answer_content(call, now))
            }
            Service::Admin => return admin_routes::answer(self, call),
        };
        reply.unwrap_or_else(|error| Reply::text(500, error.to_string()))
    }

    /// Returns where the bytes of a call may go while they come.
    ///
    /// A fault may keep a call from its effect, or put it off: as long as there are any, calls are received first.
    fn landing(&self, service: Service, parts: &Parts, announced: usize) -> Option<Landing> {
        if service != Service::DropboxContent || announced > LARGEST_BODY || !self.faults.are_none() {
            return None;
        }
        let place = Place::announced(parts.uri.path(), &parts.headers, announced)?;
        let own = self.places.take_free(place)?;
        let path = lock_kept(&self.kept).world.store.ahead(own.place())?;
        own.land(path)
    }

    /// Notes one request in the journal, with the fault that struck it; nothing of the sandbox's own routes.
    pub(super) fn note(&self, service: Service, call: &Call, status: u16, struck: Option<String>) {
        if service != Service::Admin {
            self.journal.note(Request { struck, ..noted(service, call, status, self.clock.now()) });
        }
    }

    /// Lets time pass in the world until somebody or something ends it.
    async fn run_until_stopped(&self, idle: Duration, mut stopped: watch::Receiver<bool>) -> Result<()> {
        let signals = |error: std::io::Error| Error::new("cannot listen for signals").because(&error);
        let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        while !*stopped.borrow_and_update() {
            tokio::select! {
                _ = stopped.changed() => {}
                _ = terminate.recv() => self.stop(),
                _ = interrupt.recv() => self.stop(),
                _ = second.tick() => {
                    // Machines stop on time even when nobody asks about them.
                    self.with_world(|_, _| ())?;
                    // Somebody who removed the folder wants no world that outlives it.
                    if self.idle_for() >= idle || !self.ready_file.exists() {
                        self.stop();
                    }
                }
            }
        }
        Ok(())
    }

    fn idle_for(&self) -> Duration {
        let mut last_used = self.last_used.lock().unwrap_or_else(PoisonError::into_inner);
        if (self.ssh.connections)() > 0 {
            *last_used = Instant::now();
        }
        last_used.elapsed()
    }

    /// Writes down where the clock stands, so that it goes on from there.
    fn last_word(&self) -> Result<()> {
        let mut kept = lock_kept(&self.kept);
        let Kept { world, vault } = &mut *kept;
        world.clock = self.clock.now();
        vault.save(world)
    }

    fn ready(&self, [cloud, dropbox_api, dropbox_content, admin]: [String; 4]) -> Ready {
        let kept = lock_kept(&self.kept);
        let (world, places) = (&kept.world, self.ssh.places.clone());
        Ready {
            cloud: format!("{cloud}/v1"),
            dropbox_api,
            dropbox_content,
            client_id: world.cloud.tokens.client_id.clone(),
            client_secret: world.cloud.tokens.client_secret.clone(),
            dropbox_token: world.store.tokens.lasting.clone(),
            dropbox_refresh_token: world.store.tokens.refresh_token.clone(),
            dropbox_app_key: world.store.tokens.app_key.clone(),
            user: places.user,
            ssh: places.ssh,
            proxy: places.proxy,
            git: places.git,
            admin,
            admin_key: world.admin_key.clone(),
            home: places.home,
            agent: places.agent,
            known_hosts: places.known_hosts,
            gateway: places.gateway,
            clock_speed: self.clock.speed(),
            pid: std::process::id(),
        }
    }
}

async fn listen(host: Arc<Host>, service: Service, lines: Lines, mut stopped: watch::Receiver<bool>) {
    let handle = move |State(host): State<Arc<Host>>, ConnectInfo(line): ConnectInfo<Scissors>, request| {
        handle(host, service, line, request)
    };
    let service = Router::new().fallback(handle).with_state(host);
    let service = service.into_make_service_with_connect_info::<Scissors>();
    let end = async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    // Nobody is left to tell when accepting fails; the process ends through its other ways.
    let _ = axum::serve(lines, service).with_graceful_shutdown(end).await;
}

async fn handle(host: Arc<Host>, service: Service, line: Scissors, request: HttpRequest) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let announced = parts.headers.get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
    let announced = announced.unwrap_or(0);
    let body = match host.landing(service, &parts, announced) {
        Some(landing) => Sent::land(body, landing).await.ok_or((500, "The body broke off")),
        None => Sent::receive(body, announced, LARGEST_BODY, service == Service::DropboxContent)
            .await
            .ok_or((413, "Request entity too large")),
    };
    let body = match body {
        Ok(body) => body,
        Err((status, words)) => return Reply::text(status, words).into_response(),
    };
    let query = form(parts.uri.query().unwrap_or_default());
    let path = parts.uri.path().to_owned();
    let call = Call { method: parts.method, path, query, headers: parts.headers, body };
    faults::answer(host, service, call, line).await
}

fn needs(
    dir: &Path,
    options: &Options,
    kept: &Arc<Mutex<Kept>>,
    journal: &Journal,
    clock: &Clock,
) -> Result<SshNeeds> {
    let exe = match &options.exe {
        Some(exe) => exe.clone(),
        None => std::env::current_exe()
            .map_err(|error| Error::new("cannot find my own program").because(&error))?,
    };
    let (kept, now) = (Arc::clone(kept), clock.clone());
    let lookup = Arc::new(move |ip: &str| {
        let cloud = &mut lock_kept(&kept).world.cloud;
        cloud.advance(now.now());
        cloud.access(ip)
    });
    let sshd = options.sshd.clone();
    Ok(SshNeeds { dir: dir.to_owned(), exe, lookup, journal: journal.clone(), clock: clock.clone(), sshd })
}

/// Returns what the journal keeps of a request.
fn noted(service: Service, call: &Call, status: u16, at: Timestamp) -> Request {
    let headers = call.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let value = if name == "authorization" { scheme(&value) } else { value };
        (name.to_string(), value)
    });
    let token_call = call.path.ends_with("/oauth2/token");
    let query: Vec<String> = call.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Request {
        service: service.name().to_owned(),
        method: call.method.to_string(),
        path: call.path.clone(),
        query: query.join("&"),
        status,
        at,
        headers: headers.collect::<BTreeMap<_, _>>(),
        body: if token_call { without_secrets(&call.body) } else { Request::kept(&call.body) },
        struck: None,
    }
}

/// Returns what may be kept of an `Authorization`.
fn scheme(authorization: &str) -> String {
    format!("{} ****", authorization.split(' ').next().unwrap_or_default())
}

/// Hides the secrets of the one kind of call that has to carry them; anywhere else they are to be seen.
fn without_secrets(body: &[u8]) -> String {
    const SECRET: [&str; 4] = ["client_secret", "refresh_token", "code", "code_verifier"];
    if let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) {
        for (_, value) in fields.iter_mut().filter(|(name, _)| SECRET.contains(&name.as_str())) {
            *value = Value::from("****");
        }
        return Value::Object(fields).to_string();
    }
    let fields = form(&String::from_utf8_lossy(body)).into_iter().map(|(name, value)| {
        let hidden = SECRET.contains(&name.as_str());
        format!("{name}={}", if hidden { "****" } else { &value })
    });
    fields.collect::<Vec<_>>().join("&")
}

/// Takes the folder's lock, waiting a little for a process that is just ending, but not for a living one:
/// whoever waited for that would bring the world back right after it was told to stop.
async fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let options = File::options().create(true).truncate(false).write(true).open(&path);
    let file = options.map_err(|error| cannot_use(&path, &error))?;
    let since = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(cannot_use(&path, &error)),
            Err(TryLockError::WouldBlock)
                if since.elapsed() < LOCK_PATIENCE && living(dir).await.is_none() =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(TryLockError::WouldBlock) => {
                let error = Error::new(format!("cannot serve the sandbox in `{}`", dir.display()));
                let error = error.why("another process serves it already");
                return Err(error.hint("use that one, or end it with `dacapo sandbox stop`"));
            }
        }
    }
}

async fn open() -> Result<Door> {
    let failed = |error: std::io::Error| Error::new("cannot listen on `127.0.0.1`").because(&error);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
    let url = format!("http://{}", listener.local_addr().map_err(failed)?);
    Ok(Door { listener, url })
}

fn forget(path: &PathBuf) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(cannot_use(path, &error)),
        _ => Ok(()),
    }
}

fn lock_kept(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    // A panic in one answer leaves the world as far as it got; the next save writes all of it.
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// Returns its name in the journal and in fault plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::DropboxApi => "dropbox_api",
            Self::DropboxContent => "dropbox_content",
            Self::Admin => "admin",
        }
    }
}
