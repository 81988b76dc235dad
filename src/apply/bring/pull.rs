//! Bringing a stored version to the server.

use super::super::Run;
use crate::error::Result;
use crate::event::{Event, Stage};
use crate::plan::Kind;
use crate::provider::server::PullRequest;
use crate::record::Kept;

impl Run<'_, '_> {
    /// Brings a stored version: by a link pinned to its revision, verified at both ends.
    pub(in crate::apply) async fn pull(&mut self) -> Result<()> {
        let Kind::Pull { artifact, path, version, object, packed, content, replaces } = self.action.kind()
        else {
            return Ok(());
        };
        let store = self.providers().store()?;
        let ask = PullRequest {
            path: self.under_checkout(path),
            link: store.download_link(object).await?,
            stored: object.content,
            stored_size: object.size,
            gzip: *packed,
            payload: *content,
            replaces: *replaces,
        };
        self.hold.renew(self.context.providers).await?;
        let mut connection = self.connect(false).await?;
        let (events, id) = (self.context.events.clone(), self.action.id());
        let mut progress =
            |done, total| events.send(Event::Progress { id, stage: Stage::Bytes { done, total } });
        let pulled = connection.pull(&ask, &mut progress).await;
        connection.close().await;
        let pulled = pulled?;
        if content.is_none() {
            self.describe_upload(version, object, pulled.payload, pulled.size).await?;
        }
        let (payload, size) = (pulled.payload, pulled.size);
        self.stage(Stage::Pulled { version: version.clone(), payload, size });
        self.note_artifact(artifact, Kept { version: version.clone(), payload, size }).await
    }
}
