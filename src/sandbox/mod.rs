//! The rehearsed worlds: the same four, on loopback.

pub mod cloud;
pub mod gateway;
pub mod laptop;
pub mod repo;
pub mod server;
pub mod store;
