//! What a plan says once the world has changed behind its back: in the store, then in the cloud.
//!
//! `cargo build` first: the world and its session are made by the `dacapo` that lies beside this program.

use std::io::{Write as _, stdout};
use std::path::Path;
use std::process::{Command, ExitCode};

use dacapo::error::{Error, Result};
use dacapo::provider::Providers;
use dacapo::sandbox::{Admin, Ready, living};
use dacapo::{cli, observe, plan, report, spec};
use serde_json::json;

const SPEC: &str = include_str!("../session.toml");

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = drift().await else { return ExitCode::SUCCESS };
    let _ = report::error(&mut std::io::stderr(), &error);
    ExitCode::FAILURE
}

async fn drift() -> Result<()> {
    let failed = |error| Error::new("cannot set the scene").because(&error).hint("run `cargo build` first");
    let folder = tempfile::tempdir().map_err(failed)?;
    std::fs::write(folder.path().join("session.toml"), SPEC).map_err(failed)?;
    let dacapo = std::env::current_exe().map_err(failed)?.with_file_name("../dacapo");
    let up = ["--sandbox", "up", "--yes"];
    let up = Command::new(dacapo).args(up).current_dir(&folder).output().map_err(failed)?;
    let Some(world) = living(&folder.path().join(".dacapo/sandbox")).await else {
        return Err(Error::new("there is no world").why(String::from_utf8_lossy(&up.stderr)));
    };
    let admin = Admin::of(&world)?;
    let done = behind_its_back(&world, &admin, folder.path()).await;
    admin.stop().await.and(done)
}

async fn behind_its_back(world: &Ready, admin: &Admin, folder: &Path) -> Result<()> {
    let now = serde_json::from_value(admin.bill().await?["now"].clone()).expect("a world has a time");
    admin.seed_store("/fastai/lesson3/2026-11-21_export.pkl", b"somebody else's model", now).await?;
    let machine = look("A newer model was put into the store.", world, folder).await?;
    admin.set(&json!({"cloud": {"status": {machine: "offline"}}})).await?;
    look("The machine was shut down in the cloud's console.", world, folder).await.map(drop)
}

/// Plans, shows the plan, and returns the machine's id.
async fn look(what: &str, world: &Ready, folder: &Path) -> Result<String> {
    let spec = spec::parse(SPEC, &[]).map_err(|mut mistakes| Error::from(mistakes.remove(0)))?;
    let providers = Providers::open(cli::sandboxed(world)?, &spec)?;
    let (observed, _) = observe::observe(&providers, &spec, folder, observe::Reading::Remembered).await?;
    let plan = plan::plan(plan::Request::of(&spec), &observed)?;
    let shown = writeln!(stdout(), "\n== {what}")
        .and_then(|()| report::plan(&mut stdout(), &plan, "dacapo --sandbox"));
    shown.map_err(|error| Error::new("cannot write to the standard output").because(&error))?;
    Ok(observed.instance().map(|instance| instance.id.clone()).unwrap_or_default())
}
