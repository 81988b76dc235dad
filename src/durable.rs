//! Files of ours that are whole or not there, at whatever moment the process ends.
//!
//! Each kind of file has a name, and each write three moments, so that the crash tests can end the process at
//! every one of them (see `tests/it/crashes.rs`). Release builds hold nothing of that.

use std::fs::{DirEntry, File, Permissions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

/// How many characters a draft's name ends with that are like no other's.
const RANDOM: usize = 6;
/// How old a draft is that nobody is at work on any more.
const LEFT: Duration = Duration::from_secs(3600);

/// What is kept on the laptop beyond the end of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// `session.toml`, where it is first written and where a version is pinned.
    Spec,
    /// `session.lock`.
    Lock,
    /// The record of a session without a store.
    Record,
    /// What is told of a machine that was ended, of a session without a store.
    Receipt,
    /// The host key of one machine.
    KnownHosts,
    /// How ssh reaches machines; for the user's own ssh too.
    SshConfig,
    /// A plan, to be carried out later.
    Plan,
    /// When each step of the last run began and ended.
    Timeline,
    /// A page to look at.
    Page,
    /// What `login` keeps.
    Credentials,
    /// What is known of the git remote's history; git writes it.
    GitCache,
}

/// A moment of a durable write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing is written yet.
    Before,
    /// All is written, under another name.
    Written,
    /// The file is in its place.
    Replaced,
}

impl Kept {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Spec,
        Self::Lock,
        Self::Record,
        Self::Receipt,
        Self::KnownHosts,
        Self::SshConfig,
        Self::Plan,
        Self::Timeline,
        Self::Page,
        Self::Credentials,
        Self::GitCache,
    ];

    /// Returns its name in crash tests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spec => "spec",
            Self::Lock => "lock",
            Self::Record => "record",
            Self::Receipt => "receipt",
            Self::KnownHosts => "known_hosts",
            Self::SshConfig => "ssh_config",
            Self::Plan => "plan",
            Self::Timeline => "timeline",
            Self::Page => "page",
            Self::Credentials => "credentials",
            Self::GitCache => "git_cache",
        }
    }
}

impl Moment {
    /// Returns its name in crash tests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Written => "written",
            Self::Replaced => "replaced",
        }
    }
}

/// A file's new content, safely on the disk beside the one that it is to replace; mode 0600.
pub struct Draft {
    file: NamedTempFile,
    path: PathBuf,
    kept: Kept,
}

impl Draft {
    /// Writes the new content of `path`; the file that is there stays.
    pub fn write(kept: Kept, path: &Path, bytes: &[u8]) -> io::Result<Self> {
        point(kept, Moment::Before);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!(".{}-", name.trim_start_matches('.'));
        sweep(folder_of(path), &prefix);
        let mut file =
            tempfile::Builder::new().prefix(&prefix).rand_bytes(RANDOM).tempfile_in(folder_of(path))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        Ok(Self { file, path: path.to_owned(), kept })
    }

    /// Lets others do more with it than mode 0600 does.
    pub fn allow(&self, permissions: Permissions) -> io::Result<()> {
        self.file.as_file().set_permissions(permissions)
    }

    /// Puts it in the place of the file that is there: a reader sees all of one or all of the other.
    pub fn replace(self) -> io::Result<()> {
        let Self { file, path, kept } = self;
        point(kept, Moment::Written);
        file.persist(&path)?;
        File::open(folder_of(&path))?.sync_all()?;
        point(kept, Moment::Replaced);
        Ok(())
    }

    /// Puts it where no file is yet; one that is there, or comes to be meanwhile, stays and is an error.
    pub fn place(self) -> io::Result<()> {
        let Self { file, path, kept } = self;
        point(kept, Moment::Written);
        file.persist_noclobber(&path)?;
        File::open(folder_of(&path))?.sync_all()?;
        point(kept, Moment::Replaced);
        Ok(())
    }
}

/// Removes the drafts that processes left here which were killed; a failure only leaves them longer.
fn sweep(folder: &Path, prefix: &str) {
    let is_left = |entry: &DirEntry| {
        let name = entry.file_name();
        let ours = name.to_str().and_then(|name| name.strip_prefix(prefix)).is_some_and(|rest| {
            rest.len() == RANDOM && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        ours && age().is_some_and(|age| age > LEFT)
    };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten().filter(is_left) {
        let _ = std::fs::remove_file(entry.path());
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Is where a rehearsal may have asked for the process to be killed; does nothing otherwise.
pub fn point(kept: Kept, moment: Moment) {
    #[cfg(debug_assertions)]
    crash::reached(kept, moment);
    #[cfg(not(debug_assertions))]
    let _ = (kept, moment);
}

/// Has the process killed at one of its durable writes, for rehearsals of debug builds alone.
#[cfg(debug_assertions)]
pub mod crash {
    use std::io::Write as _;
    use std::path::PathBuf;
    use std::process::Command;
    use std::sync::{Mutex, PoisonError};

    use super::{Kept, Moment};

    /// What a rehearsal asks for.
    #[derive(Clone, Debug)]
    pub struct Plan {
        /// Where each point is noted that is reached, a line each: `lock written`.
        pub log: PathBuf,
        /// The point to die at, as it is noted.
        pub point: Option<String>,
        /// How many of the same are passed first.
        pub skip: u64,
    }

    static PLAN: Mutex<Option<Plan>> = Mutex::new(None);

    /// Puts a plan into force.
    pub fn plan(plan: Plan) {
        *PLAN.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan);
    }

    pub(super) fn reached(kept: Kept, moment: Moment) {
        let mut plan = PLAN.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Plan { log, point, skip }) = plan.as_mut() else { return };
        let here = format!("{} {}", kept.name(), moment.name());
        let noted = std::fs::File::options().create(true).append(true).open(log);
        noted.and_then(|mut log| writeln!(log, "{here}")).expect("a rehearsal's notes can be written");
        match point {
            Some(point) if *point == here && *skip == 0 => die(),
            Some(point) if *point == here => *skip -= 1,
            _ => {}
        }
    }

    /// Ends the process as nothing inside it can.
    fn die() -> ! {
        let kill = Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status();
        unreachable!("this process was to be killed: {kill:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_draft_changes_nothing_until_it_replaces_the_file_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "before").unwrap();
        let draft = Draft::write(Kept::Record, &path, b"after").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"before");
        draft.replace().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"after");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn what_is_to_be_placed_never_takes_the_place_of_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        Draft::write(Kept::Spec, &path, b"first").and_then(Draft::place).unwrap();
        let second = Draft::write(Kept::Spec, &path, b"second").and_then(Draft::place).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn whoever_has_the_file_open_reads_all_of_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "before").unwrap();
        let open = File::open(&path).unwrap();
        Draft::write(Kept::Lock, &path, b"after").and_then(Draft::replace).unwrap();
        assert_eq!(io::read_to_string(open).unwrap(), "before", "it was replaced, not written over");
    }

    #[test]
    fn drafts_of_killed_processes_are_swept_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let old = std::time::SystemTime::now() - 2 * LEFT;
        for name in [".file-abc123", ".file-abc12", ".file-abc.23", ".files-abc123"] {
            File::create(place(name)).unwrap().set_modified(old).unwrap();
        }
        std::fs::write(place(".file-def456"), "somebody is at work on it").unwrap();
        Draft::write(Kept::Lock, &place("file"), b"x").and_then(Draft::replace).unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".file-abc.23", ".file-abc12", ".file-def456", ".files-abc123", "file"]);
    }

    #[test]
    fn a_draft_that_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(Draft::write(Kept::Lock, &folder.path().join("file"), b"x").unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
