//! A whole session in the embedded world, from the library: plan, apply, plan again, down.
//!
//! `cargo build` first: ssh enters the world through the `dacapo` program that lies beside this one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dacapo::apply::{Context, Interrupt, apply, take_lease};
use dacapo::error::{Error, Result};
use dacapo::provider::Providers;
use dacapo::sandbox::{Admin, Options, Ready, attach};
use dacapo::spec::{Override, State};
use dacapo::{cli, event, observe, plan, report, spec};

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = rehearse().await else { return ExitCode::SUCCESS };
    let _ = report::error(&mut std::io::stderr(), &error);
    ExitCode::FAILURE
}

async fn rehearse() -> Result<()> {
    let folder = tempfile::tempdir().map_err(|error| Error::new("cannot make a folder").because(&error))?;
    let world = attach(&folder.path().join("world"), &program()?, &Options::default()).await?;
    let done = session(&world, folder.path()).await;
    Admin::of(&world)?.stop().await.and(done)
}

async fn session(world: &Ready, folder: &Path) -> Result<()> {
    for state in [State::Running, State::Running, State::Absent] {
        let spec = spec::parse(include_str!("../session.toml"), &[Override::state(state)])
            .map_err(|mut mistakes| Error::from(mistakes.remove(0)))?;
        cli::seed(world, &spec, folder).await?;
        let providers = Providers::open(cli::sandboxed(world)?, &spec)?;
        let (observed, held) =
            observe::observe(&providers, &spec, folder, observe::Reading::Remembered).await?;
        let request = plan::Request::of(&spec);
        let plan = plan::plan(request, &observed)?;
        report::plan(&mut std::io::stdout(), &plan, "dacapo --sandbox")
            .map_err(|error| Error::new("stdout").because(&error))?;
        if plan.is_empty() {
            continue;
        }
        let mut hold = take_lease(&providers, held).await?;
        let context = Context {
            providers: &providers,
            spec: &spec,
            spec_directory: folder,
            discards: &[],
            currency: &plan.money.currency,
            random: &random,
            events: event::Sender::channel().0,
            interrupt: Interrupt::default(),
        };
        let outcome = apply(&plan, &context, &mut hold).await;
        hold.release(&providers).await?;
        outcome.error.map_or(Ok(()), Err)?;
    }
    Ok(())
}

fn random() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    hex::encode(bytes)
}

/// Returns the `dacapo` beside this example's folder.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|error| Error::new("cannot find myself").because(&error))?;
    let dacapo = own.ancestors().nth(2).unwrap_or(Path::new("")).join("dacapo");
    let missing =
        || Error::new(format!("there is no `{}`", dacapo.display())).hint("run `cargo build` first");
    dacapo.is_file().then(|| dacapo.clone()).ok_or_else(missing)
}
