//! Set-up: its steps, one by one, and the packages that a lock names.

use super::super::Run;
use crate::error::Result;
use crate::event::{Event, Sender, Stage};
use crate::plan::artifact_paths;
use crate::provider::server::{InstallRequest, SetUpRequest, StepRequest, Told};
use crate::spec::SetUp;

impl Run<'_, '_> {
    /// Makes sure that a step has run; Ctrl-C and a lost lease end it with its connection.
    pub(in crate::apply) async fn run_step(&mut self, position: usize) -> Result<()> {
        let Some(setup) = &self.context.spec.setup else { return Ok(()) };
        let ask = StepRequest {
            about: self.what_is_set_up(setup),
            steps: setup.run.clone(),
            position,
            inputs: setup.inputs.clone(),
        };
        let context = self.context;
        let mut connection = self.connect(false).await?;
        let mut told = printing(&context.events, self.action.id());
        let work = self.hold.during(connection.run_step(&ask, &mut told));
        let ran = context.interrupt.ends(work).await;
        connection.close().await;
        if !ran?? {
            self.stage(Stage::RanBefore);
        }
        Ok(())
    }

    /// Makes sure that the packages are those of the lock.
    pub(in crate::apply) async fn install_packages(&mut self, packages: &[String]) -> Result<()> {
        let Some(setup) = &self.context.spec.setup else { return Ok(()) };
        let ask = InstallRequest { about: self.what_is_set_up(setup), packages: packages.to_vec() };
        let context = self.context;
        let mut connection = self.connect(false).await?;
        let mut told = printing(&context.events, self.action.id());
        let work = self.hold.during(connection.install_packages(&ask, &mut told));
        let installed = context.interrupt.ends(work).await;
        connection.close().await;
        Ok(installed??)
    }

    fn what_is_set_up(&self, setup: &SetUp) -> SetUpRequest {
        let spec = self.context.spec;
        let limit = std::time::Duration::from_secs(setup.timeout.seconds().unsigned_abs());
        SetUpRequest {
            checkout: spec.repo.path.clone(),
            artifacts: artifact_paths(spec),
            disposable: spec.disposable.clone(),
            limit: self.providers().clock().real_time(limit).as_secs_f64(),
        }
    }
}

/// Passes on what a command of the user's prints.
fn printing(events: &Sender, id: usize) -> impl FnMut(Told) + Send + use<> {
    let events = events.clone();
    move |told| {
        if let Told::Said { line } = told {
            events.send(Event::Progress { id, stage: Stage::Output { line } });
        }
    }
}
