//! The rehearsed servers: an SSH server per instance, its disk a directory, its commands run here.
//!
//! A command runs on this machine as the user who started the sandbox, with nothing of that user's
//! environment. Nothing here contains it beyond that.

pub mod connection;
mod descendants;
mod faults;
pub mod files;
mod forward;
mod held;
mod instance;
pub mod key;
pub mod process;
mod sshd;
mod startup;
mod terminal;

use std::net::{Ipv4Addr, Shutdown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UnixStream;

use crate::error::{Error, Result};
pub use faults::{Hold, Moment, Plan, SshFaults};
use instance::Instance;
pub use process::{Journal, SshRequest};
pub use sshd::Sshd;

/// What an instance's address leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The instance's id.
    pub instance: String,
    /// The id of its OS volume; host key and home belong to it, so a new disk is a new host key.
    pub disk: String,
    /// The only login name: `root` on the images of the real cloud, with a real sshd the one it may serve.
    pub user: String,
    /// The public keys that may log in, as lines of an `authorized_keys` file.
    pub keys: Vec<String>,
    /// What runs when a new disk is booted for the first time.
    pub script: Option<String>,
}

/// Returns the running instance at an address; nothing means that nobody listens there.
///
/// It is asked again before every command, so that a machine that is gone runs nothing any more.
pub type Lookup = Arc<dyn Fn(Ipv4Addr) -> Option<Access> + Send + Sync>;

/// What the servers need to know of the sandbox around them.
#[derive(Clone)]
pub struct Surroundings {
    /// The sandbox's directory; disks lie in `disks/`, the wrapped ssh in `bin/`.
    pub directory: PathBuf,
    /// A short private directory for sockets; see `laptop::runtime_directory`.
    pub runtime: PathBuf,
    /// The sandbox's own `PATH`, searched after a server's usual directories.
    pub search_path: String,
    /// Where received requests go.
    pub journal: Journal,
    /// The real OpenSSH server that serves instances; none where the sandbox's own does.
    pub sshd: Option<Sshd>,
}

/// The SSH servers of all instances; clones are the same servers.
#[derive(Clone)]
pub struct Servers {
    inner: Arc<Inner>,
}

struct Inner {
    surroundings: Surroundings,
    lookup: Lookup,
    open: Mutex<Open>,
}

/// What is going on right now.
#[derive(Default)]
struct Open {
    last: u64,
    connections: Vec<OpenConnection>,
    processes: Vec<(u32, String)>,
}

struct OpenConnection {
    number: u64,
    instance: String,
    socket: std::os::unix::net::UnixStream,
}

impl Servers {
    /// Returns servers for the instances `lookup` knows.
    pub fn new(surroundings: Surroundings, lookup: Lookup) -> Self {
        Self { inner: Arc::new(Inner { surroundings, lookup, open: Mutex::default() }) }
    }

    /// Returns whether somebody listens at an address.
    pub fn listens(&self, address: Ipv4Addr) -> bool {
        (self.inner.lookup)(address).is_some()
    }

    /// Serves one connection to an instance until it ends; closes it at once where nobody listens.
    pub async fn serve(&self, stream: UnixStream, address: Ipv4Addr, faults: &SshFaults) -> Result<()> {
        let Some(access) = (self.inner.lookup)(address) else { return Ok(()) };
        let Surroundings { directory, journal, sshd, .. } = &self.inner.surroundings;
        let disk = Disk::open(directory, &access)?;
        let host_key = match (faults.other_host_key, faults.no_startup_script) {
            (true, _) => impostor_key_file(directory),
            (false, true) => disk.images_key_file(),
            (false, false) => disk.host_key_file(),
        };
        let (stream, number) = self.inner.register(stream, &access.instance)?;
        let instance =
            Instance::new(self.inner.clone(), address, access, disk.home(), number, faults.clone());
        journal(instance.connected());
        let served = match sshd {
            Some(sshd) => sshd.serve(stream, &host_key, &instance, journal).await,
            None => match key::load_or_make(&host_key, "sandbox") {
                Ok(key) => {
                    connection::serve(stream, key, Arc::new(instance), journal.clone()).await;
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        self.inner.lock().connections.retain(|open| open.number != number);
        served
    }

    /// Makes a disk's home and host key if they are not there yet, and returns the public host key.
    ///
    /// `access` need not be found by the lookup: a machine may be prepared before it runs.
    pub fn prepare_disk(&self, access: &Access) -> Result<String> {
        let disk = Disk::open(&self.inner.surroundings.directory, access)?;
        key::public_line(disk.host_key()?.public_key())
    }

    /// Cuts an instance's connections and kills everything it runs, background processes included.
    ///
    /// The lookup must have stopped finding the instance before, or it is entered again at once.
    pub async fn disconnect(&self, instance: &str) -> Result<()> {
        let processes = self.inner.cut(instance);
        descendants::kill(instance, &self.inner.surroundings.directory, &processes).await
    }

    /// Removes everything on a disk and its host key; the disk may be gone already.
    pub fn destroy_disk(&self, disk: &str) -> Result<()> {
        files::remove(&disk_directory(&self.inner.surroundings.directory, disk)?)
    }

    /// Copies what one disk holds to another; the copy gets a host key of its own, as a clone does.
    pub fn copy_disk(&self, from: &str, to: &str) -> Result<()> {
        files::copy_tree(&self.home(from)?, &self.home(to)?)
    }

    /// Returns how many connections are open.
    pub fn connections(&self) -> usize {
        self.inner.lock().connections.len()
    }

    /// Returns the home directory on a disk, whether it exists or not: for looking inside.
    pub fn home(&self, disk: &str) -> Result<PathBuf> {
        Ok(disk_directory(&self.inner.surroundings.directory, disk)?.join("home"))
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a second handle on the socket, with which the connection can be cut from outside.
    fn register(&self, stream: UnixStream, instance: &str) -> Result<(UnixStream, u64)> {
        let take = || {
            let socket = stream.into_std()?;
            let ours = socket.try_clone()?;
            Ok((UnixStream::from_std(socket)?, ours))
        };
        let (stream, socket) =
            take().map_err(|error: std::io::Error| Error::new("cannot take a connection").because(&error))?;
        let mut open = self.lock();
        open.last += 1;
        let number = open.last;
        open.connections.push(OpenConnection { number, instance: instance.to_owned(), socket });
        Ok((stream, number))
    }

    /// Closes an instance's connections and returns the process groups of its commands.
    fn cut(&self, instance: &str) -> Vec<u32> {
        let mut open = self.lock();
        for connection in open.connections.extract_if(.., |connection| connection.instance == instance) {
            // It may have been closed by the other side meanwhile.
            connection.socket.shutdown(Shutdown::Both).ok();
        }
        open.processes.iter().filter(|(_, of)| of == instance).map(|(process, _)| *process).collect()
    }
}

/// An OS volume: the directory that holds a host key and a home.
struct Disk {
    directory: PathBuf,
}

impl Disk {
    fn open(sandbox: &Path, access: &Access) -> Result<Self> {
        let disk = Self { directory: disk_directory(sandbox, &access.disk)? };
        // The image's host key comes last, so a disk that has it has everything; what is on it since is its own.
        if !disk.images_key_file().exists() {
            let home = disk.home();
            files::write_private(
                &home.join(".ssh/authorized_keys"),
                (access.keys.join("\n") + "\n").as_bytes(),
            )?;
            files::write_private(&home.join(".bashrc"), b"# Read by interactive shells.\n")?;
            files::write_private(&home.join(".profile"), b"# Read by login shells.\n")?;
            if let Some(script) = &access.script {
                startup::run(script, &disk.directory, &home)?;
            }
            key::load_or_make(&disk.images_key_file(), "sandbox")?;
        }
        Ok(disk)
    }

    fn home(&self) -> PathBuf {
        self.directory.join("home")
    }

    /// The key that the image makes for itself.
    fn images_key_file(&self) -> PathBuf {
        self.directory.join("host_key")
    }

    /// The key that the server shows: the one that its startup script set, else the image's.
    fn host_key_file(&self) -> PathBuf {
        let set = startup::host_key_file(&self.directory);
        if set.exists() { set } else { self.images_key_file() }
    }

    fn host_key(&self) -> Result<russh::keys::PrivateKey> {
        key::load_or_make(&self.host_key_file(), "sandbox")
    }
}

/// Returns where the key lies that an impostor shows; it is made when first asked for.
fn impostor_key_file(sandbox: &Path) -> PathBuf {
    sandbox.join("impostor_host_key")
}

fn disk_directory(sandbox: &Path, disk: &str) -> Result<PathBuf> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    if disk.is_empty() || !disk.chars().all(plain) {
        return Err(Error::new(format!("`{disk}` is no name for a disk")));
    }
    Ok(sandbox.join("disks").join(disk))
}
