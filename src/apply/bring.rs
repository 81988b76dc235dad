//! Bringing code and artifacts to the server and storing what it made.

use super::Run;
use crate::digest::ContentHash;
use crate::error::{Error, ExitCode, Result};
use crate::event::{Event, Stage};
use crate::facts::{Instance, Status, StoredFile};
use crate::plan::{Kind, UPLOAD_LIMIT};
use crate::provider::repo::{host_of, identity, known_hosts};
use crate::provider::server::{
    Brought, CloneRequest, Connection, FastForwardRequest, PackRequest, Packed, PullRequest,
};
use crate::record::Kept;
use crate::spec::Compress;
use crate::version::{Manifest, file_name, free_name, manifest_name, versions};

impl Run<'_, '_> {
    pub(super) async fn clone_repo(&mut self, commit: &str) -> Result<()> {
        let spec = self.context.spec;
        let (user_name, user_email) = identity(self.context.spec_directory, &self.providers().settings.git);
        let ask = CloneRequest {
            url: spec.repo.url.clone(),
            branch: spec.repo.branch.clone(),
            commit: Some(commit.to_owned()),
            path: spec.repo.path.clone(),
            known_hosts: self.git_host_keys().await?,
            user_name,
            user_email,
        };
        let mut connection = self.connect(true).await?;
        let brought = connection.clone(&ask).await;
        connection.close().await;
        let brought = brought?;
        self.note_code(brought).await
    }

    pub(super) async fn fast_forward(&mut self, to: &str) -> Result<()> {
        let spec = self.context.spec;
        let ask = FastForwardRequest {
            path: spec.repo.path.clone(),
            branch: spec.repo.branch.clone(),
            to: to.to_owned(),
            known_hosts: self.git_host_keys().await?,
        };
        let mut connection = self.connect(true).await?;
        let brought = connection.fast_forward(&ask).await;
        connection.close().await;
        let brought = brought?;
        self.note_code(brought).await
    }

    async fn note_code(&mut self, brought: Brought) -> Result<()> {
        let Brought { branch, commit } = brought;
        let shown = branch.clone().unwrap_or_default();
        self.stage(Stage::AtCommit { branch: shown, commit: commit.clone() });
        let mut record = self.hold.record().clone();
        if let Some(machine) = &mut record.machine {
            machine.base.branch = branch;
            machine.base.commit = Some(commit);
        }
        self.hold.write(self.context.providers, record).await
    }

    /// The git host's keys as the laptop knows them: the server trusts no other.
    async fn git_host_keys(&self) -> Result<Vec<String>> {
        let settings = &self.providers().settings;
        match host_of(&self.context.spec.repo.url) {
            Some((host, port)) => {
                known_hosts(&host, port, &settings.git, settings.ssh.known_hosts.as_deref()).await
            }
            None => Ok(Vec::new()),
        }
    }

    /// Brings a stored version: by a link pinned to its revision, verified at both ends.
    pub(super) async fn pull(&mut self) -> Result<()> {
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
            self.describe(version, object, pulled.payload, pulled.size).await?;
        }
        let (payload, size) = (pulled.payload, pulled.size);
        self.stage(Stage::Pulled { version: version.clone(), payload, size });
        self.note_artifact(artifact, Kept { version: version.clone(), payload, size }).await
    }

    /// Stores an artifact: object first, manifest second, both read back.
    pub(super) async fn store(&mut self, artifact: &str, path: &str, compress: Compress) -> Result<()> {
        let mut connection = self.connect(false).await?;
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

    /// Writes the manifest that tells the payload of a stored object.
    async fn describe(
        &self,
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
        self.providers().store()?.put(self.action, &name, &text).await.map(drop)
    }

    async fn note_artifact(&mut self, artifact: &str, kept: Kept) -> Result<()> {
        let mut record = self.hold.record().clone();
        if let Some(machine) = &mut record.machine {
            machine.base.artifacts.insert(artifact.to_owned(), kept);
        }
        self.hold.write(self.context.providers, record).await
    }

    /// Marks that set-up has ended: what is newer from now on is work.
    pub(super) async fn finish_set_up(&mut self) -> Result<()> {
        let mut connection = self.connect(false).await?;
        let marked = connection.finish_set_up().await;
        connection.close().await;
        Ok(marked?)
    }

    fn under_checkout(&self, path: &str) -> String {
        format!("{}/{path}", self.context.spec.repo.path)
    }

    async fn connect(&self, forward_agent: bool) -> Result<Connection> {
        let rented = self.rented()?;
        let instance: Instance = self
            .providers()
            .cloud
            .instance(&rented.id)
            .await?
            .filter(|instance| instance.status == Status::Running)
            .ok_or_else(|| {
                Error::of(ExitCode::Stale, format!("machine `{}` doesn't run any more", rented.id))
                    .hint("`dacapo plan` shows what is left")
            })?;
        Ok(self.providers().connect(self.context.spec, rented, &instance, forward_agent).await?)
    }
}

fn not_as_sent(version: &str, sent: ContentHash, found: Option<ContentHash>) -> Error {
    let found = found.map_or("nothing".to_owned(), |hash| format!("content:{}", hash.short()));
    Error::new(format!("version `{version}` is not in the store as it was sent"))
        .why(format!("sent content:{}, found {found}", sent.short()))
        .hint("the file on the server is untouched; run the same command again")
}
