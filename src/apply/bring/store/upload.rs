//! Getting a file's bytes into the store, in one call or in many, and making a version of them.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::{Outgoing, Run, SESSION, telling};
use crate::digest::ContentHash;
use crate::error::{Error, ExitCode, Result};
use crate::event::Stage;
use crate::facts::StoredFile;
use crate::plan::UPLOAD_LIMIT;
use crate::provider::server::{Kind, LargePush, Packed, Support, Trouble, UploadSession};
use crate::provider::store::Finished;

/// How often an upload is begun anew before the next run has to.
const TRIES: u32 = 3;
/// The pause before the second try; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(4);

impl Run<'_, '_> {
    /// Sends the bytes and returns the new version's object as the store has it.
    pub(super) async fn upload(&mut self, outgoing: &Outgoing<'_>) -> Result<StoredFile> {
        self.check_space(&outgoing.packed).await?;
        let is_small = outgoing.packed.stored_size <= UPLOAD_LIMIT && outgoing.packed.temp.is_some();
        let object =
            if is_small { self.upload_by_link(outgoing).await? } else { self.upload_large(outgoing).await? };
        self.shared.add(object.clone());
        Ok(object)
    }

    /// Refuses what can't fit before a byte is moved.
    async fn check_space(&mut self, packed: &Packed) -> Result<()> {
        let free = self.shared.free_space(self.context.providers, packed.stored_size).await?;
        if packed.stored_size <= free {
            return Ok(());
        }
        Err(Error::new("the store is too full for a new version")
            .why(format!("{} bytes are wanted and {free} are free", packed.stored_size))
            .hint("make room in the Dropbox, then run the command again; nothing was overwritten"))
    }

    /// Sends a small file in one call, over a link that is good for this one name and call.
    async fn upload_by_link(&mut self, outgoing: &Outgoing<'_>) -> Result<StoredFile> {
        let packed = &outgoing.packed;
        let context = self.context;
        let store = context.providers.store()?;
        for tried in 1.. {
            let version = self.new_name(outgoing).await?;
            let link = store.upload_link(self.action, &version).await?.value;
            let mut told = telling(&context.events, self.action.id());
            let Self { hold, shared, .. } = self;
            let host = shared.host(context, hold.record(), outgoing.place).await?;
            let push = host.push(&outgoing.path, packed, &link, &mut told, *context.providers.clock());
            let sent = context.interrupt.ends(hold.during(push)).await?;
            // A lost reply says nothing: whether the commit happened is the store's word.
            let trouble = match (store.metadata(&version).await?, sent) {
                (Some(object), _) if object.content == packed.stored => return Ok(object),
                (Some(object), Ok(_)) => return Err(not_as_sent(&version, packed.stored, Some(&object))),
                // Somebody else took the name meanwhile.
                (Some(_), Err(error)) => {
                    self.shared.forget_listing();
                    error
                }
                (None, Ok(_)) => return Err(not_as_sent(&version, packed.stored, None)),
                (None, Err(error)) => error,
            };
            let passing =
                matches!(trouble.trouble, Trouble::Said(Kind::Http | Kind::Network | Kind::Unclear));
            if !passing || tried == TRIES {
                return Err(trouble.into());
            }
            // The answer over a link doesn't tell a full store from any other refusal.
            self.shared.forget_space();
            self.check_space(packed).await?;
            self.pause(tried, trouble.into()).await?;
        }
        unreachable!("the last try returns")
    }

    /// Sends a large file in a session, where need be over several runs, and finishes it.
    async fn upload_large(&mut self, outgoing: &Outgoing<'_>) -> Result<StoredFile> {
        let providers = self.context.providers;
        let now = self.listing().await?.now(providers);
        let mut session = outgoing.packed.session.clone().filter(|session| now - session.started < SESSION);
        for _ in 0..TRIES {
            let current = match session.take() {
                Some(session) => session,
                None => self.begin_session().await?,
            };
            if !self.fill_session(outgoing, &current).await? {
                continue;
            }
            if let Some(object) = self.finish_session(outgoing, &current).await? {
                return Ok(object);
            }
        }
        Err(Error::new("the store loses the upload again and again")
            .why(format!("{TRIES} upload sessions were begun, and none could be finished"))
            .hint("the file is untouched; run the same command again later"))
    }

    async fn begin_session(&self) -> Result<UploadSession> {
        let (id, started) = self.providers().store()?.start_session(self.action).await?;
        Ok(UploadSession { id, started })
    }

    /// Sends what the session doesn't have; false when the store doesn't know the session any more.
    async fn fill_session(&mut self, outgoing: &Outgoing<'_>, session: &UploadSession) -> Result<bool> {
        let context = self.context;
        let store = context.providers.store()?;
        let mint = || store.write_token().boxed();
        let mut told = telling(&context.events, self.action.id());
        let secret = store.write_token().await?;
        let support = Support { secret, mint: &mint, told: &mut told, clock: *context.providers.clock() };
        let Outgoing { place, path, packed, .. } = outgoing;
        let push = LargePush { path, packed, session, content_url: store.content_url() };
        let Self { hold, shared, .. } = self;
        let host = shared.host(context, hold.record(), *place).await?;
        let sent = context.interrupt.ends(hold.during(host.push_large(push, support)));
        match sent.await? {
            Ok(_) => Ok(true),
            Err(error) if error.trouble == Trouble::Said(Kind::SessionGone) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a version of a full session; none when the session is of no use any more.
    async fn finish_session(
        &mut self,
        outgoing: &Outgoing<'_>,
        session: &UploadSession,
    ) -> Result<Option<StoredFile>> {
        let context = self.context;
        let store = context.providers.store()?;
        let Packed { stored, stored_size, .. } = outgoing.packed;
        for _ in 0..TRIES {
            let version = self.new_name(outgoing).await?;
            let (events, id) = (context.events.clone(), self.action.id());
            let mut waiting = move |why: String, wait: Duration| {
                events.stage(id, Stage::Waiting { why, seconds: wait.as_secs() });
            };
            let finish =
                store.finish_session(self.action, &version, &session.id, stored_size, stored, &mut waiting);
            match context.interrupt.ends(self.hold.during(finish)).await?? {
                Finished::Done(object) => return Ok(Some(object)),
                Finished::Gone => return Ok(None),
                Finished::Taken => self.shared.forget_listing(),
            }
        }
        Err(Error::of(ExitCode::Stale, "every name for the new version is taken while it is made")
            .why("somebody else stores versions of the same file at the same time")
            .hint("run the same command again: the bytes needn't be sent again"))
    }

    /// Waits before an upload is begun anew.
    async fn pause(&self, tried: u32, error: Error) -> Result<()> {
        let pause = FIRST_PAUSE * 2_u32.pow(tried - 1);
        let why = error.why.first().cloned().unwrap_or(error.what);
        self.stage(Stage::Waiting { why, seconds: pause.as_secs() });
        self.wait(pause).await
    }
}

fn not_as_sent(version: &str, sent: ContentHash, found: Option<&StoredFile>) -> Error {
    let found = found.map_or("nothing".to_owned(), |object| format!("content:{}", object.content.short()));
    Error::new(format!("version `{version}` is not in the store as it was sent"))
        .why(format!("sent content:{}, found {found}", sent.short()))
        .hint("the file is untouched; run the same command again")
}
