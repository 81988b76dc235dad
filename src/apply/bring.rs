//! Bringing code and artifacts to where they belong and storing what was made.

mod code;
mod describe;
mod notebook;
mod pull;
mod save;
mod set_up;
mod store;

use super::Run;
use super::shared::connect;
use crate::error::Result;
use crate::event::{Event, Sender, Stage};
use crate::plan::Place;
use crate::provider::server::{Connection, Told};
use crate::record::Kept;

impl Run<'_, '_> {
    /// Notes what lies on the server now; the laptop's files are no part of the record.
    fn note_artifact(&mut self, artifact: &str, place: Place, kept: Kept) {
        let mut record = self.hold.record().clone();
        if let Some(machine) = record.machine.as_mut().filter(|_| place == Place::Server) {
            machine.base.artifacts.insert(artifact.to_owned(), kept);
            self.hold.note(record);
        }
    }

    /// Marks that set-up has ended: what is newer from now on is work.
    pub(super) async fn finish_set_up(&mut self) -> Result<()> {
        let mut connection = self.connect(false).await?;
        let marked = connection.finish_set_up().await;
        connection.close().await;
        marked?;
        let mut record = self.hold.record().clone();
        if let Some(machine) = &mut record.machine {
            machine.brought = Some(machine.base.clone());
        }
        self.hold.note(record);
        Ok(())
    }

    /// Where an artifact lies below the folder that stands for the home directory.
    fn path_at(&self, place: Place, path: &str) -> String {
        match place {
            Place::Server => format!("{}/{path}", self.context.spec.repo.path),
            Place::Laptop => path.to_owned(),
        }
    }

    async fn connect(&self, forward_agent: bool) -> Result<Connection> {
        connect(self.context, self.hold.record(), forward_agent).await
    }
}

/// Passes on what a transfer says.
fn telling(events: &Sender, id: usize) -> impl FnMut(Told) + Send + use<> {
    let events = events.clone();
    move |told| {
        let stage = match told {
            Told::Moved { bytes, total } => Stage::Bytes { done: bytes, total },
            Told::Resumed { bytes } => Stage::Resumed { bytes },
            Told::Waiting { why, seconds } => Stage::Waiting { why, seconds },
            Told::Said { line } => Stage::Said { line },
        };
        events.send(Event::Progress { id, stage });
    }
}
