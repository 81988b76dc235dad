//! The way to a new machine: its host key, kept as a startup script until it has booted, and the first login.
//!
//! Nothing is sent to a server that shows another key than the one that was made for it.

use std::time::Duration;

use super::super::Run;
use super::POLL;
use crate::error::{Error, ExitCode, Result};
use crate::event::Stage;
use crate::facts::{Instance, PublicKey, Status};
use crate::provider::server::{self, Connection, HostKey, SshError, Trouble};
use crate::record::{self, Record, Rented};

/// How long sshd may take once the machine has its address.
const SSHD: Duration = Duration::from_secs(15 * 60);
/// How long it may refuse the login key until the image has put it in its place.
const KEY: Duration = Duration::from_secs(2 * 60);
/// How long the startup script may take to set the host key once sshd answers.
const SCRIPT: Duration = Duration::from_secs(5 * 60);

impl Run<'_, '_> {
    /// Waits until the login works, pins the host key, and notes that a login was completed.
    pub(in crate::apply) async fn ready(&mut self) -> Result<()> {
        let id = self.rented()?.id.clone();
        let status = self.await_built(&id).await?;
        if matches!(status, Status::Failed(_) | Status::Discontinued) {
            return Err(Error::of(ExitCode::NoCapacity, format!("the machine ended as `{status}`"))
                .hint("run the same command again: it removes the machine and tries the next"));
        }
        self.be_alone(&id).await?;
        let mut waited = Duration::ZERO;
        let mut shown = String::new();
        let (instance, mut connection) = loop {
            let instance = self.instance(&id).await?;
            match self.enter(self.rented()?, &instance).await {
                Ok(connection) => break (instance, connection),
                // While a machine boots, its sshd refuses, hangs up, doesn't know the key yet or shows another.
                Err(SshError { trouble, error })
                    if self.patience(trouble).is_some_and(|most| waited < most) =>
                {
                    if shown != error.to_string() {
                        shown = error.to_string();
                        self.stage(Stage::Connecting { why: shown.clone() });
                    }
                }
                Err(error) => return Err(error.into()),
            }
            self.wait(POLL).await?;
            waited += POLL;
        };
        let host_key = connection.host_key().to_owned();
        if self.rented()?.login && self.rented()?.host_key.is_some() {
            // It has been greeted before; greeting it again could hide files made since.
            connection.close().await;
            return Ok(());
        }
        // An adopted machine or a kept disk was greeted before: another greeting would hide what is on it.
        let greeted = self.rented()?.may_hold_work();
        let hello = if greeted { None } else { Some(connection.hello().await) };
        connection.close().await;
        let hello = hello.transpose()?;
        // The machine has copied it. Removed before the login is noted, it is looked for again after a crash.
        self.remove_scripts().await?;
        let foreseen = self.rented()?.known_keys().contains(&host_key);
        if let Some(key) = PublicKey::parse(&host_key) {
            self.stage(Stage::HostKey { fingerprint: key.fingerprint(), foreseen });
        }
        let mut record = self.hold.record().clone();
        if let Some(machine) = &mut record.machine {
            machine.host_key = Some(host_key);
            machine.host_keys = Vec::new();
            machine.login = true;
            machine.os_volume = instance.os_volume.or(machine.os_volume.take());
        }
        self.hold.write(self.context.providers, record).await?;
        if let Some(hello) = hello {
            self.stage(Stage::LoggedIn { python: hello.python, git: hello.git, gpu: hello.gpu });
        }
        Ok(())
    }

    /// Logs in: strictly, wherever it is known which key the server may show.
    async fn enter(&self, rented: &Rented, instance: &Instance) -> server::Result<Connection> {
        let connect = async |rented: &Rented| {
            self.providers().connect(self.context.spec, rented, instance, false).await
        };
        let (latest, earlier) = match rented.known_keys().split_last() {
            Some((latest, earlier)) if rented.host_key.is_none() => (latest, earlier),
            _ => return connect(rented).await,
        };
        for key in std::iter::once(latest).chain(earlier) {
            match connect(&Rented { host_key: Some(key.clone()), ..rented.clone() }).await {
                Err(SshError { trouble: Trouble::HostKey, .. }) => {}
                entered => return entered,
            }
        }
        Err(SshError { trouble: Trouble::HostKey, error: other_key(rented, instance) })
    }

    /// While a machine boots, its sshd refuses connections, hangs up, doesn't know the login key yet, and
    /// shows the image's own host key until the startup script has run.
    fn patience(&self, trouble: Trouble) -> Option<Duration> {
        let by_script = |rented: &Rented| {
            rented.host_key.is_none() && rented.booted.is_none() && !rented.host_keys.is_empty()
        };
        match trouble {
            Trouble::Unreachable | Trouble::Lost => Some(SSHD),
            Trouble::LoginRefused => Some(KEY),
            Trouble::HostKey if self.rented().is_ok_and(by_script) => Some(SCRIPT),
            _ => None,
        }
    }

    /// Keeps the script that sets the host key in the account, until the machine has booted.
    pub(super) async fn add_script(&mut self, key: &HostKey) -> Result<String> {
        let record = self.hold.record();
        let name = record::script_name(&record.session, &record.store, key.public());
        match self.providers().cloud.add_script(self.action, &name, &key.script()).await {
            Ok(id) => Ok(id),
            Err(error) => {
                // Nothing was ordered, and nothing will be.
                self.close_intent().await?;
                Err(error)
            }
        }
    }

    /// Removes every startup script of this session: machines have copied theirs, or were never made.
    pub(super) async fn remove_scripts(&mut self) -> Result<()> {
        let Record { session, store, .. } = self.hold.record();
        let mut listed = self.providers().cloud.scripts(&record::script_prefix(session, store)).await?;
        listed.retain(|script| record::owns_script(session, store, &script.name));
        if listed.is_empty() {
            return Ok(());
        }
        // Still ours, so that none of those listed before is of somebody else's order.
        self.hold.renew(self.context.providers).await?;
        for script in &listed {
            self.providers().cloud.remove_script(self.action, script).await?;
        }
        Ok(())
    }
}

/// Words why nothing goes to a server that shows another host key on the first contact.
fn other_key(rented: &Rented, instance: &Instance) -> Error {
    let ip = instance.ip.as_deref().unwrap_or("unknown");
    let made: Vec<String> = rented
        .known_keys()
        .iter()
        .filter_map(|key| PublicKey::parse(key))
        .map(|key| key.fingerprint())
        .collect();
    let error = Error::new(format!("the server at `{ip}` doesn't show the host key that it was given"))
        .why(format!("it was given {}", made.join(" or ")));
    let hint = "nothing was sent to it; somebody may be listening in between, or its image ";
    match &rented.booted {
        Some(disk) => error.why(format!("it is the key of the kept disk `{}`", disk.volume)).hint(format!(
            "{hint}made a new key; look at it over the cloud's console, or `dacapo down --keep-disk`"
        )),
        None => error.why("the startup script that sets the key has not run there").hint(format!(
            "{hint}doesn't run startup scripts; `dacapo down` ends the machine: it holds nothing"
        )),
    }
}
