//! The notebook's part of the plan: one that runs as the spec says is left alone, and kernels are never ended.

use super::{Blocked, Draft, Fresh, Kind, Note};
use crate::facts::{self, Kernel, Server};
use crate::spec;
use crate::world::Notebook;

impl<'a> Draft<'a> {
    pub(super) fn bring_notebook(&mut self, fresh: Fresh) {
        if fresh == Fresh::Unknown {
            self.plan.desired.notebook = self.plan.observed.notebook.clone();
            return;
        }
        let there = self.notebook().filter(|_| fresh == Fresh::No);
        let runs = there.filter(|notebook| notebook.running);
        if let Some(notebook) = runs {
            self.note(runs_as(notebook));
        }
        let wanted = self.request.spec.notebook.as_ref();
        self.plan.desired.notebook = wanted.map(as_wanted);
        match (wanted, runs) {
            // The image runs it, and knows best how.
            (_, Some(notebook)) if notebook.given => {
                self.plan.desired.notebook = self.plan.observed.notebook.clone();
            }
            (Some(_), Some(_)) if self.plan.desired.notebook == self.plan.observed.notebook => {}
            (Some(wanted), Some(notebook)) if self.may_end(notebook, true) => self.start(wanted, true),
            (None, Some(notebook)) if self.may_end(notebook, false) => drop(self.add(Kind::StopNotebook)),
            (_, Some(_)) | (None, None) => {}
            (Some(wanted), None) => {
                if let Some(why) = there.and_then(|notebook| notebook.why.clone()) {
                    self.note(Note::NotebookSilent { why });
                }
                self.start(wanted, false);
            }
        }
    }

    fn start(&mut self, wanted: &spec::Notebook, restarts: bool) {
        let spec::Notebook { port, kind: _, directory, packages } = wanted.clone();
        self.add(Kind::StartNotebook { port, directory, packages, restarts });
    }

    /// Idle kernels count too: whatever they were told so far lives in their memory alone.
    fn may_end(&mut self, notebook: &facts::Notebook, restarts: bool) -> bool {
        let mut kernels: Vec<String> = notebook.kernels.iter().map(named).collect();
        kernels.sort();
        let none = kernels.is_empty();
        if !none {
            self.plan.blocked.push(Blocked::NotebookInUse { kernels, restarts });
        }
        none
    }

    fn notebook(&self) -> Option<&'a facts::Notebook> {
        match &self.observed.server {
            Server::Seen(probe) => probe.notebook.as_ref(),
            Server::None | Server::Unreachable(_) => None,
        }
    }

    /// The notebook server as part of the world; what came with the image is none of the spec's that names none.
    pub(super) fn observed_notebook(&self) -> Option<Notebook> {
        let notebook = self.notebook().filter(|notebook| notebook.running)?;
        let ours = !notebook.given || self.request.spec.notebook.is_some();
        ours.then(|| Notebook {
            running: true,
            port: notebook.port,
            directory: notebook.directory.clone(),
            packages: notebook.packages.clone(),
        })
    }

    /// The server can't see what only a browser holds, so it is said, and stands against nothing.
    pub(super) fn note_unsaved(&mut self) {
        if let Some(notebook) = self.notebook().filter(|notebook| notebook.running) {
            self.note(Note::MayBeUnsaved { documents: notebook.documents.clone() });
        }
    }
}

fn as_wanted(wanted: &spec::Notebook) -> Notebook {
    let spec::Notebook { port, kind: _, directory, packages } = wanted.clone();
    Notebook { running: true, port, directory, packages }
}

fn runs_as(notebook: &facts::Notebook) -> Note {
    let facts::Notebook { version, port, given, kernels, terminals, .. } = notebook.clone();
    let mut busy: Vec<String> = kernels.iter().filter(|kernel| !kernel.idle).map(named).collect();
    busy.sort();
    Note::NotebookRuns { version, port, given, kernels: kernels.len(), busy, terminals }
}

fn named(kernel: &Kernel) -> String {
    kernel.document.clone().unwrap_or_else(|| "a kernel without a notebook".to_owned())
}
