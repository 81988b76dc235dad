//! Opens the worlds that the command line means: the real services, or the embedded ones.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::Global;
use super::load::{Loaded, sandbox_directory};
use crate::credentials::{self, CloudCredentials, Grant, Refresh, StoreCredentials};
use crate::digest::sha256_hex;
use crate::error::{Error, ExitCode, Result};
use crate::facts::{Instance, Status};
use crate::provider::cloud::CloudClient;
use crate::provider::http::Clock;
use crate::provider::repo::GitEnvironment;
use crate::provider::server::Limits;
use crate::provider::store::RecordRead;
use crate::provider::{Laptop, Providers, Settings, Ssh};
use crate::record::{Record, Rented};
use crate::report;
use crate::sandbox::{self, Ready};
use crate::spec::Spec;

/// The worlds of one run.
pub(super) struct Worlds {
    pub(super) providers: Providers,
    /// What to type before a command's name: `dacapo` or `dacapo --sandbox`.
    pub(super) prefix: String,
}

impl Worlds {
    pub(super) async fn open(global: &Global, loaded: &Loaded) -> Result<Self> {
        let (settings, prefix) = match sandbox_directory(global, &loaded.directory) {
            Some(directory) => {
                #[cfg(debug_assertions)]
                plan_crash();
                let ready = rehearsed(&directory, loaded).await?;
                banner(global, &loaded.directory, &directory);
                (at_laptop(sandboxed(&ready)?)?, prefix(global))
            }
            None => (real(loaded)?, "dacapo".to_owned()),
        };
        Ok(Self { providers: Providers::open(settings, &loaded.spec)?, prefix })
    }

    /// Returns the server that `run` means, as the record and the cloud know it.
    pub(super) async fn server(&self, spec: &Spec) -> Result<(Rented, Instance)> {
        self.living(spec).await.map(|(_, rented, instance)| (rented, instance))
    }

    /// Returns the server with its session's record.
    pub(super) async fn living(&self, spec: &Spec) -> Result<(Record, Rented, Instance)> {
        let nobody = || {
            Error::of(ExitCode::Remote(255), format!("`{}` has no server", spec.name))
                .why("no machine of this session that was ever ready is running")
                .hint("`dacapo up` creates it")
        };
        let RecordRead::Found { bytes, .. } = self.providers.memory.read(&spec.name).await? else {
            return Err(nobody());
        };
        let record = Record::parse(&bytes)
            .map_err(|why| Error::new(format!("cannot read the record of `{}`", spec.name)).why(why))?;
        let rented = record.machine.clone().filter(|machine| machine.login).ok_or_else(nobody)?;
        if rented.ending.is_some() {
            // A receipt says that the machine may go: work made now could go with it unseen.
            let what = format!("the server of `{}` is about to be deleted", spec.name);
            return Err(Error::of(ExitCode::Remote(255), what)
                .why("a `down` proved that nothing on it is lost, and was cut short or is under way")
                .hint(format!("`{0} up` keeps it after all, `{0} down` ends it", self.prefix)));
        }
        let instance = self.providers.cloud.instance(&rented.id).await?.ok_or_else(nobody)?;
        match instance.status {
            Status::Running => Ok((record, rented, instance)),
            Status::Discontinued => Err(nobody()),
            status => {
                Err(Error::of(ExitCode::Remote(255), format!("the server of `{}` is {status}", spec.name))
                    .why("commands run only while it is running")
                    .hint("`dacapo up` makes it ready"))
            }
        }
    }
}

/// What is known before there is a session: of which cloud to ask, and who asks.
pub(super) struct Beginning {
    /// None where nobody is to be asked.
    pub(super) cloud: Option<CloudClient>,
    pub(super) agent: Option<PathBuf>,
    /// The home directory that `~` in the spec will stand for.
    pub(super) home: PathBuf,
    /// Whether there are credentials for a store.
    pub(super) stores: bool,
    /// Where this laptop keeps what isn't in a store.
    pub(super) state: PathBuf,
    /// What to type before a command's name.
    pub(super) prefix: String,
}

impl Beginning {
    /// Opens what a session in `directory` would ask.
    pub(super) async fn open(global: &Global, directory: &Path, offline: bool) -> Result<Self> {
        if let Some(dir) = sandbox_directory(global, directory) {
            let ready = sandbox::attach(&dir, &own_executable()?, &sandbox::Options::default()).await?;
            banner(global, directory, &dir);
            let Settings { cloud, clock, ssh, state, .. } = at_laptop(sandboxed(&ready)?)?;
            let cloud =
                (!offline).then(|| CloudClient::new(&cloud.base_url.clone(), cloud, clock)).transpose()?;
            let (agent, home, prefix) = (ssh.agent, ssh.home, prefix(global));
            return Ok(Self { cloud, agent, home, stores: true, state, prefix });
        }
        let around = Surroundings::of_the_process()?;
        let state = around.state();
        let Surroundings { environment, home } = around;
        let cloud = if offline {
            None
        } else {
            let found = credentials::cloud(&environment, &home).map_err(|error| {
                let hint = error.hint.clone().map_or(String::new(), |hint| format!("{hint}; "));
                error.hint(format!("{hint}`--offline` asks nobody, and takes type and image as given"))
            })?;
            Some(CloudClient::new(&found.base_url.clone(), found, Clock::real())?)
        };
        let agent = agent_socket(&environment);
        let stores = credentials::store(&environment, &home).is_ok();
        Ok(Self { cloud, agent, home, stores, state, prefix: "dacapo".to_owned() })
    }
}

/// Where the environment says that the agent listens.
pub(super) fn agent_socket(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    environment.get("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Returns the folder that a variable names, where that counts from the root.
fn folder(environment: &BTreeMap<String, String>, variable: &str, otherwise: PathBuf) -> PathBuf {
    let named = environment.get(variable).filter(|path| path.starts_with('/'));
    named.map_or(otherwise, PathBuf::from)
}

/// Says where the commands of a rehearsal really run.
fn banner(global: &Global, beside: &Path, directory: &Path) {
    if !global.json && !global.quiet {
        let shown = directory.strip_prefix(beside).unwrap_or(directory);
        // A closed stderr leaves nobody to tell.
        let _ = report::sandbox_banner(&mut std::io::stderr().lock(), &shown.display().to_string());
    }
}

/// Returns what to type before a command's name to rehearse in the same world.
fn prefix(global: &Global) -> String {
    let named = global.sandbox.as_deref().filter(|named| !named.is_empty());
    named.map_or("dacapo --sandbox".to_owned(), |dir| format!("dacapo --sandbox={dir}"))
}

/// The user's environment and home directory, as the process was given them.
pub(super) struct Surroundings {
    pub(super) environment: BTreeMap<String, String>,
    pub(super) home: PathBuf,
}

impl Surroundings {
    pub(super) fn of_the_process() -> Result<Self> {
        // What isn't text is nothing that is looked for here.
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let environment: BTreeMap<String, String> = std::env::vars_os().filter_map(text).collect();
        let home = environment.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let home = home.ok_or_else(|| {
            Error::of(ExitCode::Usage, "the environment doesn't say where the home directory is")
                .hint("set HOME")
        })?;
        Ok(Self { environment, home })
    }

    /// Where this laptop keeps what isn't in a store.
    pub(super) fn state(&self) -> PathBuf {
        folder(&self.environment, "XDG_STATE_HOME", self.home.join(".local/state")).join("dacapo")
    }
}

fn real(loaded: &Loaded) -> Result<Settings> {
    let spec = &loaded.spec;
    let around = Surroundings::of_the_process()?;
    let state = around.state();
    let Surroundings { environment, home } = around;
    let below = |variable: &str, otherwise: &str| folder(&environment, variable, home.join(otherwise));
    let agent = agent_socket(&environment);
    Ok(Settings {
        cloud: credentials::cloud(&environment, &home)?,
        store: spec.store.as_ref().map(|_| credentials::store(&environment, &home)).transpose()?,
        clock: Clock::real(),
        git: GitEnvironment {
            variables: Vec::new(),
            ssh_command: None,
            agent: agent.clone(),
            cache: below("XDG_CACHE_HOME", ".cache").join("dacapo/git"),
            isolated: false,
        },
        ssh: Ssh {
            user: "root".to_owned(),
            agent,
            proxy: None,
            known_hosts: None,
            key: beside(loaded),
            home: home.clone(),
            limits: Limits::real(),
        },
        laptop: laptop(&environment),
        state,
    })
}

/// Returns the file of a public key that isn't named from the home directory: it counts from the spec's.
fn beside(loaded: &Loaded) -> Option<PathBuf> {
    let named = &loaded.spec.instance.ssh_key;
    (!named.starts_with("~/")).then(|| loaded.directory.join(named))
}

/// Tells laptops apart by what survives the loss of every file of ours.
fn laptop(environment: &BTreeMap<String, String>) -> Laptop {
    let user =
        environment.get("USER").or_else(|| environment.get("LOGNAME")).map_or("someone", String::as_str);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .or_else(|| environment.get("HOSTNAME").cloned())
        .unwrap_or_else(|| "this laptop".to_owned());
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let id = sha256_hex(format!("{user}\n{host}\n{}", machine.trim()).as_bytes())[..16].to_owned();
    // It goes into the record, which takes no odd characters.
    Laptop { owner: report::printable(&format!("{user}@{host}")), id }
}

/// Returns the settings that lead into an embedded world.
///
/// Nothing is read from the user's environment or home.
pub fn sandboxed(ready: &Ready) -> Result<Settings> {
    let home = ready.home.clone();
    let shown = home.to_string_lossy().into_owned();
    let secret = |text: &str| SecretString::from(text.to_owned());
    Ok(Settings {
        cloud: CloudCredentials {
            client_id: ready.client_id.clone(),
            client_secret: secret(&ready.client_secret),
            base_url: ready.cloud.clone(),
        },
        store: Some(StoreCredentials {
            grant: Grant::AccessToken(secret(&ready.dropbox_token)),
            refresh: Some(Refresh {
                app_key: ready.dropbox_app_key.clone(),
                refresh_token: secret(&ready.dropbox_refresh_token),
            }),
            app_folder: true,
            api_url: ready.dropbox_api.clone(),
            content_url: ready.dropbox_content.clone(),
        }),
        clock: Clock::scaled(ready.clock_speed),
        git: GitEnvironment {
            variables: vec![("HOME".to_owned(), shown.clone())],
            ssh_command: Some(format!("ssh -F {}", quoted(&ready.ssh))),
            agent: Some(ready.agent.clone()),
            cache: home.join(".cache/dacapo/git"),
            isolated: true,
        },
        ssh: Ssh {
            user: ready.user.clone(),
            agent: Some(ready.agent.clone()),
            proxy: Some(ready.proxy.clone()),
            known_hosts: Some(ready.known_hosts.clone()),
            key: Some(home.join(".ssh/id_ed25519.pub")),
            home: home.clone(),
            limits: Limits::rehearsed(),
        },
        laptop: Laptop { owner: "you@sandbox".to_owned(), id: sha256_hex(shown.as_bytes())[..16].to_owned() },
        state: home.join(".local/state/dacapo"),
    })
}

/// Rehearses from another laptop of the same user where `DACAPO_SANDBOX_LAPTOP` names one: it has its own locks,
/// caches and records, and the same key.
fn at_laptop(settings: Settings) -> Result<Settings> {
    let Ok(name) = std::env::var("DACAPO_SANDBOX_LAPTOP") else { return Ok(settings) };
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name == "home" || !name.bytes().all(is_plain) {
        return Err(Error::of(ExitCode::Usage, format!("`{}` names no laptop", report::printable(&name)))
            .hint("`DACAPO_SANDBOX_LAPTOP` takes lower-case letters, digits and `-`, and not `home`"));
    }
    let home = settings.ssh.home.with_file_name(&name);
    let id = sha256_hex(home.to_string_lossy().as_bytes())[..16].to_owned();
    Ok(Settings {
        git: GitEnvironment { cache: home.join(".cache/dacapo/git"), ..settings.git },
        laptop: Laptop { owner: format!("you@{name}"), id },
        state: home.join(".local/state/dacapo"),
        ..settings
    })
}

/// Returns a path as one word of the shell that git hands its ssh command to.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// Starts or joins the embedded world and makes sure that it answers for what the spec names.
async fn rehearsed(directory: &Path, loaded: &Loaded) -> Result<Ready> {
    let ready = sandbox::attach(directory, &own_executable()?, &sandbox::Options::default()).await?;
    super::rehearse::seed(&ready, &loaded.spec, &loaded.directory).await?;
    Ok(ready)
}

/// Does what the crash tests ask for: `DACAPO_CRASH=LOG [KIND MOMENT SKIP]`.
#[cfg(debug_assertions)]
fn plan_crash() {
    use crate::durable::crash::{self, Plan};
    let Ok(text) = std::env::var("DACAPO_CRASH") else { return };
    let words: Vec<&str> = text.split(' ').collect();
    if let [log, point @ ..] = words.as_slice() {
        let (point, skip) = match point {
            [kind, moment, skip] => (Some(format!("{kind} {moment}")), skip.parse().unwrap_or_default()),
            _ => (None, 0),
        };
        crash::plan(Plan { log: log.into(), point, skip });
    }
}

/// Returns the path of this program, for the processes it starts.
pub(super) fn own_executable() -> Result<PathBuf> {
    std::env::current_exe().map_err(|error| Error::new("cannot tell where this program lies").because(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Lease;

    #[test]
    fn whatever_the_user_is_called_the_record_can_be_read_again() {
        let environment =
            BTreeMap::from([("USER".to_owned(), "mal\u{1b}[2J\n\u{202e}\"\\\u{7f}lory".to_owned())]);
        let Laptop { owner, id } = laptop(&environment);
        let lease = Some(Lease { owner, laptop: id, writes: 1 });
        let record = Record { lease, ..Record::start("lesson3", "local", None) };
        assert_eq!(Record::parse(&record.to_json()), Ok(record));
    }
}
