//! Manifests: what stands beside a version and says how it came to be.

use super::super::Run;
use crate::digest::ContentHash;
use crate::error::{Error, Result};
use crate::event::Stage;
use crate::facts::StoredFile;
use crate::provider::server::{Connection, SurroundingsRequest};
use crate::version::{Manifest, manifest_name};

impl Run<'_, '_> {
    /// Asks the server what artifacts are made in, once per run; without an answer they are stored all the
    /// same.
    ///
    /// The question is a fresh one: since the plan, and since the code was brought, there may be new commits.
    pub(super) async fn look_around(&mut self, connection: &mut Connection) {
        if self.surroundings.is_some() {
            return;
        }
        let spec = self.context.spec;
        let artifacts = spec.artifacts.values().map(|artifact| artifact.path.clone()).collect();
        let ask = SurroundingsRequest { checkout: spec.repo.path.clone(), artifacts };
        match connection.surroundings(&ask).await {
            Ok(surroundings) => *self.surroundings = Some(surroundings),
            Err(error) => self.stage(Stage::Unexplained { why: Error::from(error).to_string() }),
        }
    }

    /// Writes the manifest of an object that holds what was made on the server.
    pub(super) async fn describe(
        &self,
        version: &str,
        object: &StoredFile,
        payload: ContentHash,
        size: u64,
    ) -> Result<()> {
        let asked = self.hold.record().machine.as_ref().and_then(|machine| machine.asked.as_ref());
        let surroundings = self.surroundings.as_ref();
        let manifest = Manifest {
            commit: surroundings.and_then(|around| around.commit.clone()),
            dirty: surroundings.and_then(|around| around.dirty),
            instance_type: asked.map(|asked| asked.r#type.clone()),
            image: asked.map(|asked| asked.image.clone()),
            environment: surroundings.map(|around| around.environment.clone()),
            ..self.about(object, payload, size)
        };
        self.put_manifest(version, &manifest).await
    }

    /// Writes the manifest of a packed upload by hand whose content shows only now: what made it isn't known.
    pub(super) async fn describe_upload(
        &self,
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

    async fn put_manifest(&self, version: &str, manifest: &Manifest) -> Result<()> {
        let text = serde_json::to_vec_pretty(manifest).expect("a manifest has string keys only");
        let name = manifest_name(version, &manifest.payload, &manifest.stored);
        self.providers().store()?.put(self.action, &name, &text).await.map(drop)
    }
}
