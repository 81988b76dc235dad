//! The store: one folder of a Dropbox account, with its versions, manifests and records.
//!
//! Large bytes never pass through here: the server moves them itself, over links made here. Source of
//! every shape: the official Stone specification and the official SDKs.

mod consent;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod upload;
mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::HeaderName;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::http::{self, Answer, Call, Clock, Encoding, Login, Manner, Service, Trouble};
use crate::credentials::{Grant, Refresh, ShortLived, StoreCredentials};
use crate::digest::{ContentHash, sha256_hex};
use crate::error::{Error, ExitCode, Result};
use crate::facts;
use crate::plan::Action;
pub use consent::Consent;
pub use upload::Finished;
use wire::Trace;

const MANNER: Manner = Manner {
    name: "the store",
    credentials_hint: "check `DROPBOX_ACCESS_TOKEN`, or `DROPBOX_APP_KEY` and `DROPBOX_REFRESH_TOKEN`; the app needs \
                       the scopes `account_info.read`, `files.metadata.read`, `files.content.read` and \
                       `files.content.write`, and a login made after they were added",
    advice: wire::advice,
    sort: wire::sort,
};

/// How many entries one page of a listing may have; the service's own limit.
const PAGE: u32 = 2000;
/// How many pages a listing may have: a million files.
const MOST_PAGES: usize = 500;
/// How often a listing is begun when the service loses its place in it.
const LISTINGS: u32 = 3;
/// How long links live, in seconds; an upload link can't live longer.
const LINK_SECONDS: u32 = 14_400;
/// How long before its end a link is replaced, in seconds.
const LINK_EARLY: u32 = 600;
/// The largest body of one upload call; the service's limit is a little higher.
const UPLOAD_LIMIT: usize = 150_000_000;

/// A connection to the store's folder.
#[derive(Debug)]
pub struct StoreClient {
    service: Service,
    api: Url,
    content: Url,
    /// `/fastai/lesson3`, or empty for the account's root.
    root: String,
    /// How a token is had that may write files and nothing else.
    narrow: Result<http::Login, facts::LargeFiles>,
}

/// What one round of reads learned.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreLook {
    /// The folder.
    pub store: facts::Store,
    /// The session's record in it.
    pub record: RecordRead,
}

/// What reading the record gave.
#[derive(Clone, PartialEq, Eq)]
pub enum RecordRead {
    /// There is none, and there is no trace of one.
    Never,
    /// There was one.
    Deleted,
    /// It is there.
    Found {
        /// Its content, checked against the service's hash.
        bytes: Vec<u8>,
        /// Its revision, for `write_record`.
        rev: String,
        /// When the service took it, by the service's clock.
        modified: Timestamp,
        /// The service's time now.
        now: Timestamp,
    },
}

impl std::fmt::Debug for RecordRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Never => f.write_str("Never"),
            Self::Deleted => f.write_str("Deleted"),
            Self::Found { bytes, rev, modified, now } => {
                let (length, content) = (bytes.len(), ContentHash::of(bytes));
                write!(
                    f,
                    "Found {{ {length} bytes, {content:?}, rev {rev}, modified {modified}, now {now} }}"
                )
            }
        }
    }
}

/// How writing the record ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// The record is what was written.
    Done {
        /// Its new revision.
        rev: String,
        /// When the service took it.
        modified: Timestamp,
        /// The service's time now.
        now: Timestamp,
    },
    /// Somebody else wrote it first; nothing of ours is there.
    Conflict,
}

impl StoreClient {
    /// Returns a client for the folder `root` (`/fastai/lesson3`) that hasn't asked for anything yet.
    pub fn new(
        api: &str,
        content: &str,
        credentials: StoreCredentials,
        root: &str,
        clock: Clock,
    ) -> Result<Self> {
        let (api, content) = (http::base_url(api)?, http::base_url(content)?);
        let token_url = http::below(&api, &["oauth2", "token"]);
        let login = match &credentials.grant {
            Grant::AccessToken(token) => Login::Fixed(token.clone()),
            Grant::Refresh(refresh) => refreshing(&token_url, refresh, None),
        };
        let narrow = match &credentials.refresh {
            None => Err(facts::LargeFiles::NoRefreshToken),
            Some(_) if !credentials.app_folder => Err(facts::LargeFiles::NoAppFolder),
            Some(refresh) => Ok(refreshing(&token_url, refresh, Some("files.content.write"))),
        };
        let service = Service::new(MANNER, &[&api, &content], login, clock)?;
        Ok(Self { service, api, content, root: folder(root)?, narrow })
    }

    /// Reads the whole folder and the record: at most one token call, then one round of reads at once.
    ///
    /// A folder that doesn't exist yet is an empty one.
    pub async fn look(&self, record: &str) -> Result<StoreLook> {
        self.service.ready().await.map_err(|trouble| self.error("cannot read the store", trouble))?;
        let ((id, now), files, record) =
            tokio::try_join!(self.identity(), self.list(), self.read_record(record))?;
        let large_files = self.narrow.as_ref().err().copied().unwrap_or(facts::LargeFiles::Possible);
        Ok(StoreLook { store: facts::Store { id, now, files, large_files }, record })
    }

    /// Reads the record (a path below the folder).
    pub async fn read_record(&self, record: &str) -> Result<RecordRead> {
        // The two reads are made at once: written between them, it is read again.
        for _ in 0..LISTINGS {
            let (found, trace) = tokio::try_join!(self.download(record), self.trace(record))?;
            match (found, trace) {
                (Some(found), _) => return Ok(found.into_record()),
                (None, Trace::Never) => return Ok(RecordRead::Never),
                (None, Trace::Deleted) => return Ok(RecordRead::Deleted),
                (None, Trace::There(_)) => {}
            }
        }
        Err(Error::new(format!("cannot read the record `{record}`"))
            .why("the store lists it but doesn't give it out"))
    }

    /// Writes the record if it is still the revision `over`, or if there is none (`over` is none).
    ///
    /// After an unclear answer the record is read back: equal bytes are ours. Sending it again is then
    /// safe, since it can only take effect over the same revision. The bytes must differ from what is
    /// there: the service calls writing the same ones again a conflict.
    pub async fn write_record(&self, record: &str, bytes: &[u8], over: Option<&str>) -> Result<Written> {
        let what = || format!("cannot write the record `{record}`");
        let mode = over.map_or(json!({".tag": "add"}), |rev| json!({".tag": "update", "update": rev}));
        let call = self.upload(record, bytes, mode, true)?;
        let (mut tried, mut unclear) = (0, false);
        loop {
            let outcome = self.service.once(&call).await.and_then(|answer| written(&answer));
            let trouble = match outcome {
                Ok(done) => return Ok(done),
                Err(Trouble::Conflict(said)) if wire::is(&said, "path/conflict") => {
                    let settled = if unclear { self.settled(record, bytes, over).await? } else { None };
                    return Ok(settled.unwrap_or(Written::Conflict));
                }
                Err(trouble) => trouble,
            };
            if !trouble.is_without_effect() {
                unclear = true;
                if let Some(settled) = self.settled(record, bytes, over).await? {
                    return Ok(settled);
                }
            }
            tried += 1;
            self.service.pause(tried, trouble).await.map_err(|trouble| self.error(what(), trouble))?;
        }
    }

    /// Makes a link from which exactly this revision can be read for four hours, without a token.
    pub async fn download_link(&self, file: &facts::StoredFile) -> Result<ShortLived> {
        let what = || format!("cannot make a link to `{}`", file.path);
        let argument = json!({"path": format!("rev:{}", file.rev)});
        let call = self.rpc(&["files", "get_temporary_link"], &argument).with_secret_answer();
        let (answer, _): (wire::DownloadLink, _) =
            self.service.json(&call).await.map_err(|trouble| self.error(what(), trouble))?;
        if answer.metadata.content_hash.is_some_and(|content| content != file.content) {
            return Err(Error::new(what()).why("the store answered with another file"));
        }
        Ok(self.link(answer.link))
    }

    /// Makes a link to which one new file of at most 150 MB can be posted once within four hours.
    pub async fn upload_link(&self, _: &Action, path: &str) -> Result<ShortLived> {
        let commit = json!({
            "path": self.full(path)?, "mode": {".tag": "add"}, "autorename": false, "mute": true,
        });
        let argument = json!({"commit_info": commit, "duration": LINK_SECONDS});
        let call = self.rpc(&["files", "get_temporary_upload_link"], &argument).with_secret_answer();
        let (answer, _): (wire::UploadLink, _) = self
            .service
            .json(&call)
            .await
            .map_err(|trouble| self.error(format!("cannot make a link for `{path}`"), trouble))?;
        Ok(self.link(answer.link))
    }

    /// Reads back what the store holds at `path`; none when there is nothing.
    pub async fn metadata(&self, path: &str) -> Result<Option<facts::StoredFile>> {
        match self.look_up(path, false).await? {
            Trace::There(metadata) => Ok(Some(self.stored(*metadata)?)),
            Trace::Never | Trace::Deleted => Ok(None),
        }
    }

    /// Puts a small file where there is none; the same bytes there already are a success.
    pub async fn put(&self, _: &Action, path: &str, bytes: &[u8]) -> Result<facts::StoredFile> {
        let what = || format!("cannot store `{path}`");
        let call = self.upload(path, bytes, json!({".tag": "add"}), false)?;
        let outcome = self.service.json::<wire::FileMetadata>(&call).await;
        let (metadata, _) = outcome.map_err(|trouble| match trouble {
            Trouble::Conflict(said) if wire::is(&said, "path/conflict") => Error::of(ExitCode::Stale, what())
                .why("another file has this name")
                .hint("run the command again: it plans with what is there now"),
            trouble => self.error(what(), trouble),
        })?;
        let stored = self.stored(metadata)?;
        if stored.content == ContentHash::of(bytes) {
            Ok(stored)
        } else {
            Err(Error::new(what()).why("the store holds other bytes than were sent"))
        }
    }

    /// Deletes a file if it is still the revision that was listed; one that is gone already is gone.
    ///
    /// Soft: the service keeps what was deleted for a while, to be restored there.
    pub async fn delete(&self, _: &Action, file: &facts::StoredFile) -> Result<()> {
        let what = || format!("cannot delete `{}` from the store", file.path);
        let argument = json!({"path": self.full(&file.path)?, "parent_rev": file.rev});
        let call = self.rpc(&["files", "delete_v2"], &argument);
        match self.service.json::<Value>(&call).await {
            Ok(_) => {}
            // Also what an answer that got lost looks like when the call is made again.
            Err(Trouble::Conflict(said)) if wire::is(&said, "path_lookup/not_found") => {}
            Err(Trouble::Conflict(said)) if wire::is(&said, "path_write/conflict") => {
                return Err(Error::of(ExitCode::Stale, what())
                    .why("it isn't the file any more that was there when the plan was made")
                    .hint("run the command again: it plans with what is there now"));
            }
            Err(trouble) => return Err(self.error(what(), trouble)),
        }
        match self.metadata(&file.path).await? {
            Some(there) if there.rev == file.rev => {
                Err(Error::new(what()).why("the store says that it did, and still has it"))
            }
            _ => Ok(()),
        }
    }

    /// Reads a small file, checked against the store's hash; none when there is nothing.
    pub async fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.download(path).await?.map(|found| found.bytes.into()))
    }

    /// Returns how many bytes the account has left.
    pub async fn free_space(&self) -> Result<u64> {
        let call = self.rpc(&["users", "get_space_usage"], &Value::Null);
        let outcome = self.service.json::<wire::SpaceUsage>(&call).await;
        let (usage, _) =
            outcome.map_err(|trouble| self.error("cannot read how much space the store has", trouble))?;
        usage.free().ok_or_else(|| {
            Error::new("cannot read how much space the store has").why("the kind of account is unknown")
        })
    }

    /// Returns whose account it is, for people.
    pub async fn account(&self) -> Result<String> {
        let (account, _) = self.whose().await?;
        Ok(account.name.map_or(account.account_id, |name| name.display_name))
    }

    async fn whose(&self) -> Result<(wire::Account, Timestamp)> {
        let call = self.rpc(&["users", "get_current_account"], &Value::Null);
        let read = async {
            let (account, answer): (wire::Account, _) = self.service.json(&call).await?;
            Ok((account, answer.date()?))
        };
        read.await.map_err(|trouble| self.error("cannot read the store's account", trouble))
    }

    /// The hash that stands for account and folder, and the store's time.
    async fn identity(&self) -> Result<(String, Timestamp)> {
        let (account, now) = self.whose().await?;
        let account = account.account_id;
        let digest = sha256_hex(format!("{account}\n{}", facts::folded(&self.root)).as_bytes());
        Ok((digest[..16].to_owned(), now))
    }

    async fn list(&self) -> Result<Vec<facts::StoredFile>> {
        for _ in 0..LISTINGS {
            match self.list_once().await {
                Ok(files) => return files.into_values().map(|file| self.stored(file)).collect(),
                Err(Trouble::Conflict(said)) if wire::is(&said, "path/not_found") => return Ok(Vec::new()),
                Err(Trouble::Conflict(said)) if wire::is(&said, "reset") => {}
                Err(trouble) => return Err(self.error("cannot list the store", trouble)),
            }
        }
        Err(Error::new("cannot list the store")
            .why("the store lost its place in the listing again and again"))
    }

    /// Reads all pages; later entries stand for what changed while earlier pages were read.
    async fn list_once(&self) -> Result<BTreeMap<String, wire::FileMetadata>, Trouble> {
        let argument = json!({"path": self.root, "recursive": true, "limit": PAGE});
        let mut call = self.rpc(&["files", "list_folder"], &argument);
        let mut files = BTreeMap::new();
        for _ in 0..MOST_PAGES {
            let (page, _): (wire::Page, _) = self.service.json(&call).await?;
            for entry in page.entries {
                entry.take_part_in(&mut files)?;
            }
            if !page.has_more {
                return Ok(files);
            }
            call = self.rpc(&["files", "list_folder", "continue"], &json!({"cursor": page.cursor}));
        }
        Err(Trouble::Undecodable(format!("the listing has no end: there was more after {MOST_PAGES} pages")))
    }

    async fn trace(&self, path: &str) -> Result<Trace> {
        self.look_up(path, true).await
    }

    async fn look_up(&self, path: &str, include_deleted: bool) -> Result<Trace> {
        let argument = json!({"path": self.full(path)?, "include_deleted": include_deleted});
        let call = self.rpc(&["files", "get_metadata"], &argument);
        let outcome = self.service.patiently(&call, |answer| wire::trace(&answer)).await;
        match outcome {
            Ok(trace) => Ok(trace),
            Err(Trouble::Conflict(said)) if wire::is(&said, "path/not_found") => Ok(Trace::Never),
            Err(trouble) => Err(self.error(format!("cannot look for `{path}` in the store"), trouble)),
        }
    }

    async fn download(&self, path: &str) -> Result<Option<wire::Download>> {
        let argument = json!({"path": self.full(path)?});
        let call = Call::bare_post(self.content_route(&["files", "download"]))
            .header(HeaderName::from_static(wire::ARGUMENT), wire::header_json(&argument));
        match self.service.patiently(&call, wire::Download::read).await {
            Ok(found) => Ok(Some(found)),
            Err(Trouble::Conflict(said)) if wire::is(&said, "path/not_found") => Ok(None),
            Err(trouble) => Err(self.error(format!("cannot read `{path}` from the store"), trouble)),
        }
    }

    /// What became of a write whose answer was unclear; none when it has not taken effect.
    async fn settled(&self, record: &str, bytes: &[u8], over: Option<&str>) -> Result<Option<Written>> {
        Ok(match (self.read_record(record).await?, over) {
            (RecordRead::Found { bytes: there, rev, modified, now }, _) if there == bytes => {
                Some(Written::Done { rev, modified, now })
            }
            (RecordRead::Found { rev, .. }, Some(over)) if rev == over => None,
            (RecordRead::Never | RecordRead::Deleted, None) => None,
            _ => Some(Written::Conflict),
        })
    }

    /// One upload; `strict` makes even identical content a conflict.
    fn upload(&self, path: &str, bytes: &[u8], mode: Value, strict: bool) -> Result<Call> {
        if bytes.len() > UPLOAD_LIMIT {
            return Err(Error::new(format!("cannot store `{path}`")).why("it is larger than 150 MB"));
        }
        let argument = json!({
            "path": self.full(path)?, "mode": mode, "autorename": false, "mute": true,
            "strict_conflict": strict, "content_hash": ContentHash::of(bytes),
        });
        let url = self.content_route(&["files", "upload"]);
        Ok(Call::with_bytes(url, Bytes::copy_from_slice(bytes))
            .header(HeaderName::from_static(wire::ARGUMENT), wire::header_json(&argument)))
    }

    fn stored(&self, metadata: wire::FileMetadata) -> Result<facts::StoredFile> {
        metadata.into_stored(&self.root).ok_or_else(|| {
            Error::new("cannot read what the store holds").why("a file came without path or content hash")
        })
    }

    fn full(&self, path: &str) -> Result<String> {
        let odd = |part: &str| part.is_empty() || part == "." || part == "..";
        if path.split('/').any(odd) || path.contains('\\') || path.ends_with(char::is_whitespace) {
            return Err(Error::of(ExitCode::Usage, format!("`{path}` cannot be a path in the store")));
        }
        Ok(format!("{}/{path}", self.root))
    }

    fn link(&self, link: String) -> ShortLived {
        let life = Duration::from_secs((LINK_SECONDS - LINK_EARLY).into());
        ShortLived { value: link.into(), life: self.service.clock().real_time(life) }
    }

    fn rpc(&self, route: &[&str], argument: &Value) -> Call {
        Call::with_json(Method::POST, http::below(&http::below(&self.api, &["2"]), route), argument)
    }

    fn content_route(&self, route: &[&str]) -> Url {
        http::below(&http::below(&self.content, &["2"]), route)
    }

    fn error(&self, what: impl Into<String>, trouble: Trouble) -> Error {
        self.service.error(what, trouble)
    }
}

fn refreshing(token_url: &Url, refresh: &Refresh, scope: Option<&str>) -> Login {
    let mut fields = vec![
        ("grant_type", "refresh_token".into()),
        ("refresh_token", refresh.refresh_token.clone()),
        ("client_id", refresh.app_key.clone().into()),
    ];
    fields.extend(scope.map(|scope| ("scope", scope.into())));
    Login::Asked { url: token_url.clone(), encoding: Encoding::Form, fields }
}

fn written(answer: &Answer) -> Result<Written, Trouble> {
    let metadata: wire::FileMetadata = answer.json(false)?;
    Ok(Written::Done { rev: metadata.rev, modified: metadata.server_modified, now: answer.date()? })
}

/// The folder as the service wants it: no slash at the end, and nothing at all for the root.
fn folder(root: &str) -> Result<String> {
    let trimmed = root.trim_end_matches('/');
    let odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.ends_with(' ');
    if trimmed.is_empty() || trimmed.strip_prefix('/').is_some_and(|rest| !rest.split('/').any(odd)) {
        return Ok(trimmed.to_owned());
    }
    Err(Error::of(ExitCode::Usage, format!("`{root}` cannot be a folder of the store"))
        .hint("write it from the top, as in `/fastai/lesson3`"))
}

#[cfg(test)]
mod tests;
