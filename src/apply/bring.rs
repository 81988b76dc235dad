//! Bringing code and artifacts to the server and storing what it made.

mod code;
mod describe;
mod pull;
mod store;

use super::Run;
use crate::error::{Error, ExitCode, Result};
use crate::facts::{Instance, Status};
use crate::provider::server::Connection;
use crate::record::Kept;

impl Run<'_, '_> {
    async fn note_artifact(&mut self, artifact: &str, kept: Kept) -> Result<()> {
        let mut record = self.hold.record().clone();
        if let Some(machine) = &mut record.machine {
            machine.base.artifacts.insert(artifact.to_owned(), kept);
        }
        self.hold.write(self.context.providers, record).await
    }

    /// Marks that set-up has ended: what is newer from now on is work.
    pub(super) async fn finish_set_up(&mut self) -> Result<()> {
        let mut connection = self.connect(false).await?;
        let marked = connection.finish_set_up().await;
        connection.close().await;
        Ok(marked?)
    }

    fn under_checkout(&self, path: &str) -> String {
        format!("{}/{path}", self.context.spec.repo.path)
    }

    async fn connect(&self, forward_agent: bool) -> Result<Connection> {
        let rented = self.rented()?;
        let instance: Instance = self
            .providers()
            .cloud
            .instance(&rented.id)
            .await?
            .filter(|instance| instance.status == Status::Running)
            .ok_or_else(|| {
                Error::of(ExitCode::Stale, format!("machine `{}` doesn't run any more", rented.id))
                    .hint("`dacapo plan` shows what is left")
            })?;
        Ok(self.providers().connect(self.context.spec, rented, &instance, forward_agent).await?)
    }
}
