//! The client's end of the gateway: what `ssh` runs as its `ProxyCommand`.
//!
//! Plain threads and blocking calls: it starts in a millisecond, and a reader that waits for ever
//! for its standard input can't keep the process from ending.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::thread;

use super::{Contact, FILE};
use crate::error::{Error, Result};

/// Carries standard input and output to a host of the sandbox kept in `directory`, until either ends.
///
/// The end of standard input is passed on, and what still comes back is written. A host that is
/// refused is an error in the words `ssh` itself would use, so that those who read them need no others.
pub fn pipe(directory: &Path, host: &str, port: u16) -> Result<()> {
    let (input, output) = streams().map_err(|error| broken(&error))?;
    carry(directory, host, port, input, output)
}

pub(super) fn carry(
    directory: &Path,
    host: &str,
    port: u16,
    mut input: impl Read + Send + 'static,
    mut output: impl Write,
) -> Result<()> {
    let mut answers = connect(directory, host, port)?;
    let mut requests = answers.get_ref().try_clone().map_err(|error| broken(&error))?;
    thread::spawn(move || {
        // Either way there is no more to send; what was lost shows in the answers.
        copy(&mut input, &mut requests).ok();
        requests.shutdown(Shutdown::Write).ok();
    });
    // A connection that breaks has ended, and a reader that has left wants no words.
    copy(&mut answers, &mut output).ok();
    Ok(())
}

fn connect(directory: &Path, host: &str, port: u16) -> Result<BufReader<TcpStream>> {
    let contact = contact(directory)?;
    let stream =
        TcpStream::connect(&contact.address).map_err(|error| not_running(directory).because(&error))?;
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    let mut answer = String::new();
    let greet = || {
        stream.get_ref().set_nodelay(true)?;
        stream.get_mut().write_all(format!("DACAPO-GATEWAY {} {host} {port}\n", contact.key).as_bytes())?;
        stream.read_line(&mut answer)
    };
    call(greet).map_err(|error| broken(&error))?;
    match answer.trim_end().strip_prefix('-') {
        None if answer == "+ok\n" => Ok(stream),
        None => Err(Error::new("the sandbox's gateway closed the connection")),
        Some(reason) => Err(Error::new(reason)),
    }
}

/// Gives a closure that borrows mutably and uses `?` a name and a type.
fn call<T>(attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    attempt()
}

fn contact(directory: &Path) -> Result<Contact> {
    let text = fs::read(directory.join(FILE)).map_err(|error| not_running(directory).because(&error))?;
    serde_json::from_slice(&text).map_err(|error| not_running(directory).because(&error))
}

fn not_running(directory: &Path) -> Error {
    Error::new(format!("no sandbox is running in `{}`", directory.display()))
}

fn broken(error: &io::Error) -> Error {
    Error::new("cannot talk to the sandbox's gateway").because(error)
}

/// Returns standard input and output without the standard library's own buffers.
fn streams() -> io::Result<(File, File)> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    Ok((File::from(input), File::from(output)))
}

/// Copies until the end, passing on every piece as soon as it comes.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
