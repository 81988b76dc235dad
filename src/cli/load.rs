//! Finds and reads session.toml and session.lock.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::Global;
use crate::durable::{Draft, Kept};
use crate::error::{Error, ExitCode, Result};
use crate::lock::{Lock, lock_path};
use crate::spec::{self, Diagnostic, Origin, Override, Spec, State};

/// A session file, read.
pub(super) struct Loaded {
    pub(super) spec: Spec,
    /// Where it was found.
    pub(super) path: PathBuf,
    /// The directory it lies in, absolute.
    pub(super) directory: PathBuf,
    pub(super) lock: Option<Lock>,
    pub(super) lock_path: PathBuf,
}

impl Loaded {
    /// Reads the session file that the command line names or that is found by searching upwards.
    pub(super) fn read(global: &Global, state: Option<State>) -> Result<Self> {
        let start = start(global)?;
        let path = find(global, &start)?;
        let bytes = read(&path)?;
        let overrides = overrides(global, state)?;
        let shown = path.strip_prefix(&start).unwrap_or(&path).display().to_string();
        let refused = |text: &str, mistakes: &[Diagnostic]| {
            let mut error =
                Error::of(ExitCode::Usage, format!("`{shown}` has {} mistake(s)", mistakes.len()));
            if global.json {
                error.why = mistakes.iter().map(|mistake| placed(mistake, text)).collect();
                return error;
            }
            // Without colour: errors are shown with every control character taken out.
            error.why(spec::render(&shown, text, &overrides, mistakes, false))
        };
        let text = spec::text_of(&bytes).map_err(|not| refused(&not.shown, &[not.mistake]))?;
        let spec = spec::parse(text, &overrides).map_err(|mistakes| refused(text, &mistakes))?;
        let directory = path.parent().unwrap_or(Path::new("/")).to_path_buf();
        let lock_path = match sandbox_directory(global, &directory) {
            Some(sandbox) => sandbox.join(lock_path(&path).file_name().unwrap_or_default()),
            None => lock_path(&path),
        };
        let lock = read_lock(&lock_path)?;
        Ok(Self { spec, path: PathBuf::from(shown), directory, lock, lock_path })
    }

    /// Returns where the session file really lies.
    pub(super) fn file(&self) -> PathBuf {
        self.directory.join(self.path.file_name().unwrap_or_default())
    }

    /// Writes the lock where it says something new.
    pub(super) fn write_lock(&self, lock: &Lock) -> Result<()> {
        if self.lock.as_ref() == Some(lock) {
            return Ok(());
        }
        let failed = |error: std::io::Error| {
            Error::new(format!("cannot write `{}`", self.lock_path.display())).because(&error)
        };
        let draft = Draft::write(Kept::Lock, &self.lock_path, lock.to_text().as_bytes()).map_err(failed)?;
        // It is committed beside the spec and read by everybody.
        draft.allow(std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
        draft.replace().map_err(failed)
    }
}

/// Reads no more of the file than can be a spec and one byte.
fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(spec::LARGEST as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => {
            Err(Error::of(ExitCode::Usage, format!("cannot read `{}`", path.display())).because(&error))
        }
    }
}

/// Returns a mistake in one line: where, what, and what to write instead.
fn placed(mistake: &Diagnostic, text: &str) -> String {
    let before = mistake.span.as_ref().and_then(|span| text.get(..span.start));
    let place = match (&mistake.origin, before) {
        (Origin::Override(_), _) => "--set: ".to_owned(),
        (Origin::File, Some(before)) => {
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("{}:{column}: ", before.matches('\n').count() + 1)
        }
        (Origin::File, None) => String::new(),
    };
    let hint = mistake.hint.as_ref().map_or(String::new(), |hint| format!("; {hint}"));
    format!("{place}{}: {}{hint}", mistake.message, mistake.label)
}

/// Returns where the embedded world is kept, if one is asked for.
pub(super) fn sandbox_directory(global: &Global, spec_directory: &Path) -> Option<PathBuf> {
    let named = global.sandbox.as_deref()?;
    Some(match named {
        "" => spec_directory.join(".dacapo/sandbox"),
        named => start(global).unwrap_or_else(|_| spec_directory.to_path_buf()).join(named),
    })
}

/// Returns the directory that the command runs in.
pub(super) fn start(global: &Global) -> Result<PathBuf> {
    let here = std::env::current_dir()
        .map_err(|error| Error::new("cannot tell the current directory").because(&error))?;
    Ok(global.directory.as_ref().map_or_else(|| here.clone(), |directory| here.join(directory)))
}

/// Returns the session file that is meant.
pub(super) fn find(global: &Global, start: &Path) -> Result<PathBuf> {
    if let Some(file) = &global.file {
        return Ok(start.join(file));
    }
    start.ancestors().map(|folder| folder.join("session.toml")).find(|path| path.is_file()).ok_or_else(|| {
        Error::of(ExitCode::Usage, "there is no `session.toml` here")
            .why(format!("looked in `{}` and every directory above it", start.display()))
            .hint("go to your project, or name the file with `--file`")
    })
}

fn overrides(global: &Global, state: Option<State>) -> Result<Vec<Override>> {
    let parse = |text: &String| {
        Override::parse(text).map_err(|mistake| {
            let error = Error::of(ExitCode::Usage, format!("`--set {text}`: {}", mistake.message));
            match mistake.hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })
    };
    let mut overrides = global.set.iter().map(parse).collect::<Result<Vec<_>>>()?;
    overrides.extend(state.map(Override::state));
    Ok(overrides)
}

fn read_lock(path: &Path) -> Result<Option<Lock>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Lock::parse(&text).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::new(format!("cannot read `{}`", path.display())).because(&error)),
    }
}
