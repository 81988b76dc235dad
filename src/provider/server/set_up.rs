//! Set-up on the server: its steps, and the packages that a lock names.

use std::time::Duration;

use super::exchange::Exchange;
use super::transfer::Told;
use super::wire::{Ask, InstallRequest, SetUpRequest, StepRequest};
use super::{Connection, Result};

/// What the helper needs beside the command: it looks at every file before and after it.
const LOOKS: Duration = Duration::from_secs(30 * 60);

impl Connection {
    /// Makes sure that a step of set-up has run; false where it had, with these inputs.
    ///
    /// It ends with this connection: what was begun and not ended runs again.
    pub async fn run_step(&mut self, ask: &StepRequest, told: &mut (dyn FnMut(Told) + Send)) -> Result<bool> {
        let command = ask.steps.get(ask.position).map_or("", String::as_str);
        let what = format!("cannot run step {} of set-up, `{command}`", ask.position + 1);
        let started = self.start(&what).await?;
        let exchange = Exchange { what: &what, limit: limit(&ask.about) };
        exchange.converse(started, &Ask::RunStep(ask), told, None).await
    }

    /// Makes sure that the packages are there as a lock has them, and no others.
    pub async fn install_packages(
        &mut self,
        ask: &InstallRequest,
        told: &mut (dyn FnMut(Told) + Send),
    ) -> Result<()> {
        let what = "cannot install the packages that session.lock names";
        let started = self.start(what).await?;
        let exchange = Exchange { what, limit: limit(&ask.about) };
        exchange.converse(started, &Ask::InstallPackages(ask), told, None).await
    }
}

/// The helper ends its command in time by itself, and tells its last words; this is for one that doesn't.
fn limit(about: &SetUpRequest) -> Duration {
    Duration::from_secs_f64(about.limit) + LOOKS
}
