//! Bringing the repo: cloned, or fast-forwarded.

use super::super::Run;
use crate::error::Result;
use crate::event::Stage;
use crate::provider::repo::{host_of, identity, known_hosts};
use crate::provider::server::{Brought, CloneRequest, FastForwardRequest};

impl Run<'_, '_> {
    pub(in crate::apply) async fn clone_repo(&mut self, commit: &str) -> Result<()> {
        let spec = self.context.spec;
        let (user_name, user_email) = identity(self.context.spec_directory, &self.providers().settings.git);
        let ask = CloneRequest {
            url: spec.repo.url.clone(),
            branch: spec.repo.branch.clone(),
            commit: Some(commit.to_owned()),
            path: spec.repo.path.clone(),
            known_hosts: self.git_host_keys().await?,
            user_name,
            user_email,
        };
        let mut connection = self.connect(true).await?;
        let brought = connection.clone(&ask).await;
        connection.close().await;
        let brought = brought?;
        self.note_code(brought).await
    }

    pub(in crate::apply) async fn fast_forward(&mut self, to: &str) -> Result<()> {
        let spec = self.context.spec;
        let ask = FastForwardRequest {
            path: spec.repo.path.clone(),
            branch: spec.repo.branch.clone(),
            to: to.to_owned(),
            known_hosts: self.git_host_keys().await?,
        };
        let mut connection = self.connect(true).await?;
        let brought = connection.fast_forward(&ask).await;
        connection.close().await;
        let brought = brought?;
        self.note_code(brought).await
    }

    pub(super) async fn note_code(&mut self, brought: Brought) -> Result<()> {
        let Brought { branch, commit } = brought;
        let shown = branch.clone().unwrap_or_default();
        self.stage(Stage::AtCommit { branch: shown, commit: commit.clone() });
        let mut record = self.hold.record().clone();
        if let Some(machine) = &mut record.machine {
            machine.base.branch = branch;
            machine.base.commit = Some(commit);
        }
        self.hold.write(self.context.providers, record).await
    }

    /// The git host's keys as the laptop knows them: the server trusts no other.
    pub(super) async fn git_host_keys(&self) -> Result<Vec<String>> {
        let settings = &self.providers().settings;
        match host_of(&self.context.spec.repo.url) {
            Some((host, port)) => {
                known_hosts(&host, port, &settings.git, settings.ssh.known_hosts.as_deref()).await
            }
            None => Ok(Vec::new()),
        }
    }
}
