//! The rehearsed worlds: the same four as the real ones, on loopback, in a process of their own.
//!
//! `cloud` and `store` answer HTTP, `server` and `repo` answer SSH; `process` holds them together.

pub mod admin;
mod admin_routes;
pub mod attach;
pub mod clock;
pub mod cloud;
pub mod faults;
pub mod gateway;
pub mod journal;
pub mod laptop;
mod link;
mod options;
mod process;
mod random;
pub mod repo;
mod sent;
pub mod server;
mod ssh;
pub mod ssh_side;
mod state;
pub mod store;
#[cfg(test)]
mod support;
mod wire;

use std::path::Path;

pub use admin::Admin;
pub use attach::{attach, living};
pub use faults::Faults;
pub use journal::{Journal, Request};
pub use link::Link;
pub use options::{Options, Ready};
pub use server::SshFaults;
pub use ssh_side::SshSide;

use crate::error::Result;

/// Serves the world kept in `dir` until it is stopped, told to end by a signal, or idle for too long.
///
/// Calls `on_ready` once everything listens. Fails when another process serves the same folder.
pub async fn serve(dir: &Path, options: Options, on_ready: impl FnOnce(&Ready)) -> Result<()> {
    process::serve_with(dir, options, ssh::start, on_ready).await
}
