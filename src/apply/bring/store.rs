//! Storing what was made: object first, manifest second, both read back.

mod upload;

use jiff::SignedDuration;

use super::super::Run;
use super::telling;
use crate::error::Result;
use crate::event::Stage;
use crate::plan::{Place, UPLOAD_LIMIT, store_limit};
use crate::provider::server::{PackRequest, Packed};
use crate::record::Kept;
use crate::spec::Compress;
use crate::version::{file_name, free_name, versions};

/// How old an upload session may be that is gone on with; the store forgets it after seven days.
const SESSION: SignedDuration = SignedDuration::from_hours(7 * 24 - 6);

/// A file on its way into the store.
struct Outgoing<'a> {
    place: Place,
    /// Below the folder that stands for the home directory.
    path: String,
    /// What its versions are named for.
    file_name: &'a str,
    gzip: bool,
    packed: Packed,
}

impl Run<'_, '_> {
    /// Stores an artifact, unless its content is stored already.
    ///
    /// What was made ready for it stays after a failure, so that the next run goes on with it.
    pub(in crate::apply) async fn store(
        &mut self,
        artifact: &str,
        place: Place,
        path: &str,
        compress: Compress,
    ) -> Result<()> {
        // A lost connection shows again at once, and is an error then.
        if let Err(error) = self.shared.look_around(self.context, self.hold.record(), place).await {
            self.stage(Stage::Unexplained { why: error.to_string() });
        }
        let outgoing = self.pack(place, path, compress == Compress::Gzip).await?;
        let Packed { payload, size, .. } = outgoing.packed;
        let (version, new) = self.store_packed(&outgoing).await?;
        let host = self.shared.host(self.context, self.hold.record(), place).await?;
        host.discard_pack(&outgoing.packed).await?;
        self.stage(Stage::Stored { version: version.clone(), payload, new });
        self.note_artifact(artifact, place, Kept { version, payload, size });
        Ok(())
    }

    async fn pack<'p>(&mut self, place: Place, path: &'p str, gzip: bool) -> Result<Outgoing<'p>> {
        let context = self.context;
        let session = self.hold.record().session.clone();
        let large_files = self.shared.listing(context.providers, &session).await?.large_files();
        let ask = PackRequest {
            path: self.path_at(place, path),
            gzip,
            limit: store_limit(large_files),
            copied: UPLOAD_LIMIT,
        };
        let mut told = telling(&context.events, self.action.id());
        let Self { hold, shared, .. } = self;
        let host = shared.host(context, hold.record(), place).await?;
        let work = hold.during(host.pack(&ask, &mut told));
        let packed = context.interrupt.ends(work).await??;
        let Packed { payload, size, stored_size, .. } = packed;
        self.stage(Stage::Packed { payload, size, stored_size });
        Ok(Outgoing { place, path: ask.path, file_name: file_name(path), gzip, packed })
    }

    /// Returns the version's name, and whether its bytes had to be sent.
    async fn store_packed(&mut self, outgoing: &Outgoing<'_>) -> Result<(String, bool)> {
        let Packed { payload, size, stored, .. } = outgoing.packed;
        let known = versions(self.listing().await?.files(), outgoing.file_name);
        if let Some(version) = known.iter().rev().find(|version| version.payload == Some(payload)) {
            return Ok((version.name.clone(), false));
        }
        // An object whose manifest was never written: the upload of a run that was cut short.
        if let Some(version) = known.iter().rev().find(|version| version.file.content == stored) {
            self.describe(outgoing.place, &version.name, &version.file, payload, size).await?;
            return Ok((version.name.clone(), false));
        }
        let object = self.upload(outgoing).await?;
        self.describe(outgoing.place, &object.path, &object, payload, size).await?;
        Ok((object.path, true))
    }

    /// Returns a name that the store has no file of, for a version made now.
    async fn new_name(&mut self, outgoing: &Outgoing<'_>) -> Result<String> {
        let providers = self.context.providers;
        let listing = self.listing().await?;
        let date = listing.now(providers).strftime("%Y-%m-%d").to_string();
        Ok(free_name(listing.files(), &date, outgoing.file_name, outgoing.gzip))
    }

    async fn listing(&mut self) -> Result<&mut super::super::shared::Listing> {
        self.shared.listing(self.context.providers, &self.hold.record().session).await
    }
}
