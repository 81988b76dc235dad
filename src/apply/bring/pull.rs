//! Bringing a stored version to where it belongs.

use futures_util::FutureExt as _;

use super::super::Run;
use super::telling;
use crate::error::Result;
use crate::event::Stage;
use crate::plan::Kind;
use crate::provider::server::{PullRequest, Support};
use crate::record::Kept;

impl Run<'_, '_> {
    /// Brings a stored version: by a link pinned to its revision, verified at both ends.
    pub(in crate::apply) async fn pull(&mut self) -> Result<()> {
        let Kind::Pull { artifact, place, path, version, object, packed, content, replaces } =
            self.action.kind()
        else {
            return Ok(());
        };
        let ask = PullRequest {
            path: self.path_at(*place, path),
            stored: object.content,
            stored_size: object.size,
            gzip: *packed,
            payload: *content,
            replaces: *replaces,
        };
        let (context, store) = (self.context, self.context.providers.store()?);
        let mint = || store.download_link(object).boxed();
        let mut told = telling(&context.events, self.action.id());
        let secret = store.download_link(object).await?;
        let clock = *context.providers.clock();
        let support = Support { secret, mint: &mint, told: &mut told, clock };
        let Self { hold, shared, .. } = self;
        let host = shared.host(context, hold.record(), *place).await?;
        if replaces.is_some() {
            // Right before something is overwritten, the lease must still be ours.
            hold.renew(context.providers).await?;
        }
        let work = hold.during(host.pull(&ask, support));
        let pulled = context.interrupt.ends(work).await??;
        if content.is_none() {
            self.describe_upload(version, object, pulled.payload, pulled.size).await?;
        }
        let (payload, size) = (pulled.payload, pulled.size);
        self.stage(Stage::Pulled { version: version.clone(), payload, size });
        self.note_artifact(artifact, *place, Kept { version: version.clone(), payload, size });
        Ok(())
    }
}
