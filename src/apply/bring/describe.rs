//! Manifests: what stands beside a version and says how it came to be.

use super::super::Run;
use crate::digest::ContentHash;
use crate::error::Result;
use crate::facts::StoredFile;
use crate::plan::Place;
use crate::version::{Manifest, manifest_name};

impl Run<'_, '_> {
    /// Writes the manifest of an object that holds what was made at `place`.
    ///
    /// Where nobody can tell in what it was made, that is left out: it is stored all the same.
    pub(super) async fn describe(
        &mut self,
        place: Place,
        version: &str,
        object: &StoredFile,
        payload: ContentHash,
        size: u64,
    ) -> Result<()> {
        let asked = self.hold.record().machine.as_ref().and_then(|machine| machine.asked.as_ref());
        let asked = asked.filter(|_| place == Place::Server);
        let around = self.shared.surroundings(place);
        let manifest = Manifest {
            commit: around.and_then(|around| around.commit.clone()),
            dirty: around.and_then(|around| around.dirty),
            instance_type: asked.map(|asked| asked.r#type.clone()),
            image: asked.map(|asked| asked.image.clone()),
            environment: around.map(|around| around.environment.clone()),
            ..self.about(object, payload, size)
        };
        self.put_manifest(version, &manifest).await
    }

    /// Writes the manifest of a packed upload by hand whose content shows only now: what made it isn't known.
    pub(super) async fn describe_upload(
        &mut self,
        version: &str,
        object: &StoredFile,
        payload: ContentHash,
        size: u64,
    ) -> Result<()> {
        let manifest = Manifest { by_hand: true, ..self.about(object, payload, size) };
        self.put_manifest(version, &manifest).await
    }

    /// What a manifest says of any object.
    fn about(&self, object: &StoredFile, payload: ContentHash, size: u64) -> Manifest {
        Manifest {
            version: Manifest::FORMAT,
            payload,
            size,
            stored: object.content,
            stored_at: Some(object.modified),
            compression: if object.content == payload { "none" } else { "gzip" }.to_owned(),
            commit: None,
            dirty: None,
            instance_type: None,
            image: None,
            environment: None,
            session: self.hold.record().session.clone(),
            by_hand: false,
        }
    }

    async fn put_manifest(&mut self, version: &str, manifest: &Manifest) -> Result<()> {
        let text = serde_json::to_vec_pretty(manifest).expect("a manifest has string keys only");
        let name = manifest_name(version, &manifest.payload, &manifest.stored);
        let written = self.providers().store()?.put(self.action, &name, &text).await?;
        self.shared.add(written);
        Ok(())
    }
}
