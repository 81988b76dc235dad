//! Manifests: what stands beside a version and says how it came to be.

use super::super::Run;
use crate::digest::ContentHash;
use crate::error::Result;
use crate::facts::StoredFile;
use crate::version::{Manifest, manifest_name};

impl Run<'_, '_> {
    /// Writes the manifest that tells the payload of a stored object.
    pub(super) async fn describe(
        &mut self,
        version: &str,
        object: &StoredFile,
        payload: ContentHash,
        size: u64,
    ) -> Result<()> {
        let record = self.hold.record();
        let machine = record.machine.as_ref();
        let manifest = Manifest {
            version: Manifest::FORMAT,
            payload,
            size,
            stored: object.content,
            compression: if object.content == payload { "none" } else { "gzip" }.to_owned(),
            commit: machine.and_then(|machine| machine.base.commit.clone()),
            instance_type: machine
                .and_then(|machine| machine.asked.as_ref())
                .map(|asked| asked.r#type.clone()),
            session: record.session.clone(),
        };
        let text = serde_json::to_vec_pretty(&manifest).expect("a manifest has string keys only");
        let name = manifest_name(version, &payload, &object.content);
        let written = self.providers().store()?.put(self.action, &name, &text).await?;
        self.shared.add(written);
        Ok(())
    }
}
