//! The notebook server: started, or ended.

use super::super::Run;
use super::super::shared::running;
use super::telling;
use crate::error::Result;
use crate::event::Stage;
use crate::observe::given_notebook;
use crate::plan::Kind;
use crate::provider::server::NotebookRequest;

impl Run<'_, '_> {
    /// Makes sure that the notebook server runs, and that it answers to its token.
    pub(in crate::apply) async fn start_notebook(&mut self) -> Result<()> {
        let Kind::StartNotebook { port, directory, packages, .. } = self.action.kind() else {
            return Ok(());
        };
        let context = self.context;
        let (_, instance) = running(context, self.hold.record()).await?;
        let ask = NotebookRequest {
            checkout: context.spec.repo.path.clone(),
            port: *port,
            directory: directory.clone(),
            packages: packages.clone(),
            given: given_notebook(context.spec, &instance),
        };
        let mut connection = self.connect(false).await?;
        let mut told = telling(&context.events, self.action.id());
        let work = self.hold.during(connection.start_notebook(&ask, &mut told));
        let started = context.interrupt.ends(work).await;
        connection.close().await;
        let notebook = started??;
        let (version, port, given) = (notebook.version, notebook.port, notebook.given);
        self.stage(Stage::NotebookRuns { version, port, given });
        Ok(())
    }

    /// Ends the notebook server that was started by us.
    pub(in crate::apply) async fn stop_notebook(&mut self) -> Result<()> {
        let mut connection = self.connect(false).await?;
        let stopped = connection.stop_notebook().await;
        connection.close().await;
        Ok(stopped?)
    }
}
