//! Storing what the server made: object first, manifest second, both read back.

use super::super::Run;
use crate::digest::ContentHash;
use crate::error::{Error, Result};
use crate::event::{Event, Stage};
use crate::facts::StoredFile;
use crate::plan::UPLOAD_LIMIT;
use crate::provider::server::{Connection, PackRequest, Packed};
use crate::record::Kept;
use crate::spec::Compress;
use crate::version::{file_name, free_name, versions};

impl Run<'_, '_> {
    /// Stores an artifact: object first, manifest second, both read back.
    pub(in crate::apply) async fn store(
        &mut self,
        artifact: &str,
        path: &str,
        compress: Compress,
    ) -> Result<()> {
        let mut connection = self.connect(false).await?;
        self.look_around(&mut connection).await;
        let gzip = compress == Compress::Gzip;
        let ask = PackRequest { path: self.under_checkout(path), gzip, limit: UPLOAD_LIMIT };
        let packed = connection.pack(&ask).await?;
        self.stage(Stage::Packed {
            payload: packed.payload,
            size: packed.size,
            stored_size: packed.stored_size,
        });
        let stored = self.store_packed(&mut connection, path, gzip, &packed).await;
        // The packed copy is ours; leaving it would only cost disk that goes with the machine.
        let tidied = connection.discard_pack(&packed).await;
        connection.close().await;
        let (version, new) = stored?;
        tidied?;
        self.stage(Stage::Stored { version: version.clone(), payload: packed.payload, new });
        self.note_artifact(artifact, Kept { version, payload: packed.payload, size: packed.size }).await
    }

    /// Returns the version's name, and whether its bytes had to be sent.
    async fn store_packed(
        &mut self,
        connection: &mut Connection,
        path: &str,
        gzip: bool,
        packed: &Packed,
    ) -> Result<(String, bool)> {
        let look = self.providers().memory.look(&self.hold.record().session).await?;
        let name = file_name(path);
        let known = versions(&look.store.files, name);
        if let Some(version) = known.iter().rev().find(|version| version.payload == Some(packed.payload)) {
            return Ok((version.name.clone(), false));
        }
        // An object whose manifest was never written: the upload of a run that was cut short.
        if let Some(version) = known.iter().rev().find(|version| version.file.content == packed.stored) {
            self.describe(&version.name, &version.file, packed.payload, packed.size).await?;
            return Ok((version.name.clone(), false));
        }
        let date = look.store.now.strftime("%Y-%m-%d").to_string();
        let version = free_name(&look.store.files, &date, name, gzip);
        let object = self.upload(connection, &version, packed).await?;
        self.describe(&version, &object, packed.payload, packed.size).await?;
        Ok((version, true))
    }

    async fn upload(
        &mut self,
        connection: &mut Connection,
        version: &str,
        packed: &Packed,
    ) -> Result<StoredFile> {
        let link = self.providers().store()?.upload_link(self.action, version).await?;
        self.hold.renew(self.context.providers).await?;
        let (events, id) = (self.context.events.clone(), self.action.id());
        let mut progress =
            |done, total| events.send(Event::Progress { id, stage: Stage::Bytes { done, total } });
        let sent = connection.push(packed, &link, &mut progress).await;
        // A lost reply says nothing: whether the commit happened is the store's word.
        let object = self.providers().store()?.metadata(version).await?;
        match (object, sent) {
            (Some(object), _) if object.content == packed.stored => Ok(object),
            (_, Err(error)) => Err(error.into()),
            (found, Ok(_)) => Err(not_as_sent(version, packed.stored, found.map(|object| object.content))),
        }
    }
}

fn not_as_sent(version: &str, sent: ContentHash, found: Option<ContentHash>) -> Error {
    let found = found.map_or("nothing".to_owned(), |hash| format!("content:{}", hash.short()));
    Error::new(format!("version `{version}` is not in the store as it was sent"))
        .why(format!("sent content:{}, found {found}", sent.short()))
        .hint("the file on the server is untouched; run the same command again")
}
