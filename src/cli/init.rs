//! `dacapo init`: a first session.toml, from answers and from what there is.

mod agree;
mod answers;
mod ask;
mod key;
mod offer;

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::load::start;
use super::{Global, cannot_print, interrupts, is_terminal};
use crate::durable::{Draft, Kept};
use crate::error::{Error, ExitCode, Result};
use crate::report;
use crate::spec::{self, SCHEMA, SCHEMA_FILE, Sketch};
use answers::{Answered, Answering};
use key::NewKey;
use offer::Offer;

const EXAMPLES: &str = "Examples:
  dacapo init                      asks, with what there is as defaults
  dacapo init --yes                takes the defaults
  dacapo init --yes --type 1L40S.20V --artifact model=export.pkl --store dropbox:/fastai/lesson3
  dacapo init --yes --new-key      makes an ed25519 key pair too";

#[derive(Args, Debug, Clone)]
#[command(after_help = EXAMPLES)]
pub(super) struct Init {
    /// The session's name, and the server's host name
    #[arg(long)]
    name: Option<String>,
    /// An instance type; several, in order of preference, find more in stock (may be repeated)
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// A location code; any when none is named (may be repeated)
    #[arg(long = "location", value_name = "CODE", value_delimiter = ',')]
    locations: Vec<String>,
    /// The image's slug
    #[arg(long)]
    image: Option<String>,
    /// The public key's file; its private half logs in
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
    /// Make an ed25519 key pair: FILE of `--key` without its `.pub`, else ~/.ssh/id_ed25519
    #[arg(long)]
    new_key: bool,
    /// The git remote to bring to the server
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
    /// Its branch
    #[arg(long)]
    branch: Option<String>,
    /// Where it is checked out, below the home on the server
    #[arg(long)]
    path: Option<String>,
    /// A file of the checkout that is worth keeping (may be repeated)
    #[arg(long = "artifact", value_name = "NAME=PATH", value_parser = artifact)]
    artifacts: Vec<(String, String)>,
    /// The Dropbox folder for versions and the session's record, as dropbox:/folder, or `none`
    #[arg(long)]
    store: Option<String>,
    /// How long a machine may live: 90m, 8h, 1d12h
    #[arg(long)]
    deadline: Option<String>,
    /// The dearest machine that may be ordered, per hour
    #[arg(long, value_name = "AMOUNT")]
    max_price: Option<f64>,
    /// What a machine may cost in all
    #[arg(long, value_name = "AMOUNT")]
    max_cost: Option<f64>,
    /// Run JupyterLab on the server
    #[arg(long)]
    notebook: bool,
    /// Take the default for whatever no flag says, and ask nothing
    #[arg(long, short)]
    yes: bool,
    /// Don't ask the cloud what there is: type and image are taken as they are given
    #[arg(long)]
    offline: bool,
}

fn artifact(text: &str) -> std::result::Result<(String, String), String> {
    let words = "write NAME=PATH, such as model=export.pkl";
    let (name, path) = text.split_once('=').ok_or(words)?;
    if name.is_empty() || path.is_empty() { Err(words.into()) } else { Ok((name.into(), path.into())) }
}

pub(super) async fn run(global: &Global, asked: &Init) -> Result<ExitCode> {
    let interrupt = interrupts(global);
    let here = start(global)?;
    let path = here.join(global.file.as_deref().unwrap_or(Path::new("session.toml")));
    refuse_existing(global, &path)?;
    let offering = Offer::look(global, &path, asked.offline);
    let offer = tokio::select! {
        offer = offering => offer?,
        () = interrupt.requested() => return Err(interrupted()),
    };
    let answering = match (asked.yes, is_terminal()) {
        (true, _) => Answering::Defaults,
        (false, true) => Answering::Person,
        (false, false) => Answering::Nobody,
    };
    // Reading blocks, and nothing but an end of the process takes the terminal from it again.
    let (flags, offered) = (asked.clone(), offer.clone());
    let asking = tokio::task::spawn_blocking(move || answers::collect(flags, &offered, answering));
    let answered = tokio::select! {
        answered = asking => answered.map_err(|error| Error::new("cannot ask").because(&error))?,
        () = interrupt.requested() => Err(interrupted()),
    };
    if answering == Answering::Person {
        ask::give_back();
    }
    let Answered { sketch, key } = answered?;
    let text = checked(&sketch)?;
    agree::check(&sketch, &offer)?;
    if matches!(key, NewKey::None) {
        agree::key(&sketch, &offer)?;
    }
    let made = match key {
        NewKey::None => None,
        NewKey::Pair(public) => Some(key::make(&public, &offer.home, answering == Answering::Person)?),
        NewKey::Public(file, public) => key::write_public(&file, &public).map(|()| None)?,
    };
    write(&path, &text)?;
    let shown = path.strip_prefix(&here).unwrap_or(&path);
    told(global, shown, &sketch, made.as_deref(), &offer.prefix)
}

fn interrupted() -> Error {
    Error::of(ExitCode::Interrupted, "interrupted: nothing was written")
}

fn refuse_existing(global: &Global, path: &Path) -> Result<()> {
    if !global.set.is_empty() {
        return Err(Error::of(ExitCode::Usage, "`--set` overrides a session.toml, and there is none yet")
            .hint("`dacapo init --help` shows the flag for each answer"));
    }
    match std::fs::symlink_metadata(path) {
        Ok(_) => Err(there_already(path)),
        Err(_) => Ok(()),
    }
}

fn there_already(path: &Path) -> Error {
    Error::of(ExitCode::Usage, format!("`{}` is there already", path.display()))
        .why("a session file is never written over")
        .hint("change it in your editor, remove it first, or name another with `--file`")
}

/// Returns the text of the session file, which is read back as any other would be.
fn checked(sketch: &Sketch) -> Result<String> {
    let text = sketch.to_text();
    spec::parse(&text, &[]).map(|_| text).map_err(|mistakes| {
        let hint = mistakes.iter().find_map(|mistake| mistake.hint.clone());
        let error = Error::of(ExitCode::Usage, "these answers make no session; nothing was written");
        let error = mistakes
            .into_iter()
            .fold(error, |error, mistake| error.why(format!("{}: {}", mistake.message, mistake.label)));
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

/// Writes the session file and, where there is none yet, the schema that its first line names.
fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |path: &Path, error: &io::Error| {
        Error::new(format!("cannot write `{}`", path.display())).because(error)
    };
    let place = |path: &Path, text: &str| {
        let draft = Draft::write(Kept::Spec, path, text.as_bytes())?;
        // It is committed with the code and read by everybody.
        draft.allow(std::fs::Permissions::from_mode(0o644))?;
        draft.place()
    };
    let schema: PathBuf = path.with_file_name(SCHEMA_FILE);
    match place(&schema, SCHEMA) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&schema, &error)),
        _ => {}
    }
    place(path, text).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => there_already(path),
        _ => failed(path, &error),
    })
}

fn told(global: &Global, path: &Path, sketch: &Sketch, key: Option<&Path>, prefix: &str) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let told = if global.json {
        let key = key.map(|key| key.display().to_string());
        let written =
            serde_json::json!({"path": path.display().to_string(), "session": sketch.name, "key": key});
        writeln!(out, "{}", serde_json::json!({"version": 1, "written": written}))
    } else if global.quiet {
        Ok(())
    } else {
        report::begun(&mut out, report::Begun { path, session: &sketch.name, key, prefix })
    };
    told.map(|()| ExitCode::Ok).map_err(cannot_print)
}
