//! What shells and `man` learn about the command line: completions and pages.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use super::load::Loaded;
use super::page::sessions_here;
use super::worlds::Surroundings;
use super::{Arguments, Global, cannot_print};
use crate::error::{Error, ExitCode, Result};

/// The variable by which a shell asks for completions.
const ASKED: &str = "DACAPO_COMPLETE";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }
}

/// Answers a shell that asks how a command line could go on; false where none asks.
pub(super) fn complete() -> bool {
    let here = std::env::current_dir().ok();
    // Nobody is there to read of a failure: the shell completes nothing.
    CompleteEnv::with_factory(Arguments::command)
        .var(ASKED)
        .try_complete(std::env::args_os(), here.as_deref())
        .unwrap_or(true)
}

/// Prints what has the shell ask dacapo itself, so that completions know this folder's session.
pub(super) fn completions(shell: Shell) -> Result<ExitCode> {
    let shells = Shells::builtins();
    let completer = shells.completer(shell.name()).expect("it is one of those built in");
    let mut script = Vec::new();
    completer
        .write_registration(ASKED, "dacapo", "dacapo", "dacapo", &mut script)
        .and_then(|()| io::stdout().lock().write_all(&script))
        .map(|()| ExitCode::Ok)
        .map_err(cannot_print)
}

/// Offers the artifacts of the session.toml that stands here or above.
pub(super) fn artifacts() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let global = Global::default();
        let spec = Loaded::read(&global, None).map(|loaded| loaded.spec);
        spec.map_or_else(
            |_| Vec::new(),
            |spec| spec.artifacts.into_keys().map(CompletionCandidate::new).collect(),
        )
    })
}

/// Offers the sessions that had a run on this laptop, and the one of the session.toml that stands here or above.
pub(super) fn sessions() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let here = Loaded::read(&Global::default(), None).ok().map(|loaded| loaded.spec.name);
        let kept = Surroundings::of_the_process().ok().map(|around| sessions_here(&around.state()));
        let names: BTreeSet<String> = here.into_iter().chain(kept.into_iter().flatten()).collect();
        names.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// Prints the manual's first page, or writes all of them to a folder.
pub(super) fn man(folder: Option<&Path>) -> Result<ExitCode> {
    let command = Arguments::command();
    let Some(folder) = folder else {
        let mut page = Vec::new();
        return clap_mangen::Man::new(command)
            .render(&mut page)
            .and_then(|()| io::stdout().lock().write_all(&page))
            .map(|()| ExitCode::Ok)
            .map_err(cannot_print);
    };
    clap_mangen::generate_to(command, folder).map(|()| ExitCode::Ok).map_err(|error| {
        Error::new(format!("cannot write the pages to `{}`", folder.display()))
            .because(&error)
            .hint("it must be a folder that is there")
    })
}

/// Where the manual's pages go.
#[derive(clap::Args, Debug)]
pub(super) struct Man {
    /// Write a page per command to this folder, instead of printing the first one
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(super) dir: Option<PathBuf>,
}
