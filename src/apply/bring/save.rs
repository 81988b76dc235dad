//! Pushing what the remote lacks to a branch of its own, and asking the remote whether it has it.

use jiff::Timestamp;

use super::super::Run;
use crate::error::{Error, Result};
use crate::event::Stage;
use crate::provider::server::{Brought, CommitRequest, SaveRequest};

impl Run<'_, '_> {
    pub(in crate::apply) async fn save_branch(
        &mut self,
        snapshot: &Option<String>,
        tips: &[(String, String)],
        tags: &[(String, String)],
    ) -> Result<()> {
        let spec = self.context.spec;
        let (now, _) = self.providers().cloud.instances().await?;
        let branch = branch_name(&spec.name, now);
        let ask = SaveRequest {
            url: spec.repo.url.clone(),
            path: spec.repo.path.clone(),
            branch: branch.clone(),
            snapshot: snapshot.clone(),
            tips: tips.to_vec(),
            tags: tags.to_vec(),
            artifacts: spec.artifacts.values().map(|artifact| artifact.path.clone()).collect(),
            named: spec.repo.save.clone(),
            known_hosts: self.git_host_keys().await?,
        };
        self.hold.renew(self.context.providers).await?;
        let mut connection = self.connect(true).await?;
        let saved = connection.save(&ask).await;
        connection.close().await;
        let commit = saved?;
        self.read_back(&branch, commit.as_deref(), tags).await?;
        self.stage(Stage::Saved { branch, commit });
        Ok(())
    }

    pub(in crate::apply) async fn commit(
        &mut self,
        branch: &str,
        message: &str,
        files: &[(String, String, Option<u64>)],
    ) -> Result<()> {
        let spec = self.context.spec;
        let ask = CommitRequest {
            url: spec.repo.url.clone(),
            path: spec.repo.path.clone(),
            branch: branch.to_owned(),
            message: message.to_owned(),
            files: files.iter().map(|(path, ..)| path.clone()).collect(),
            artifacts: spec.artifacts.values().map(|artifact| artifact.path.clone()).collect(),
            named: spec.repo.save.clone(),
            known_hosts: self.git_host_keys().await?,
        };
        self.hold.renew(self.context.providers).await?;
        let mut connection = self.connect(true).await?;
        let saved = connection.commit(&ask).await;
        connection.close().await;
        let saved = saved?;
        self.read_back(branch, Some(&saved.commit), &[]).await?;
        self.note_code(Brought { branch: Some(branch.to_owned()), ..saved }).await
    }

    /// What the server says of its push is its word; what counts is the remote's.
    async fn read_back(&self, branch: &str, commit: Option<&str>, tags: &[(String, String)]) -> Result<()> {
        let (refs, there) = self.providers().remote.listing().await?;
        let has_branch = commit
            .is_none_or(|commit| refs.get(&format!("refs/heads/{branch}")).is_some_and(|it| it == commit));
        let has = |(name, object): &(String, String)| {
            there.get(&format!("refs/tags/{branch}/{name}")).is_some_and(|it| it == object)
        };
        if has_branch && tags.iter().all(has) {
            return Ok(());
        }
        Err(Error::new(format!("the remote doesn't have `{branch}` as it was pushed"))
            .why(format!("the server says that it pushed it to `{}`", self.context.spec.repo.url))
            .hint("run the same command again; until the remote has it, the server stays"))
    }
}

fn branch_name(session: &str, now: Timestamp) -> String {
    format!("dacapo/{session}/{}", now.strftime("%Y%m%dT%H%M%SZ"))
}
