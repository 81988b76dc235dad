//! The real worlds, one file each.

pub mod cloud;
pub mod http;
pub mod repo;
pub mod server;
pub mod store;
