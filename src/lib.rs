//! dacapo: a rented GPU server exactly as `session.toml` says.

pub mod credentials;
pub mod digest;
pub mod error;
pub mod facts;
pub mod lock;
pub mod provider;
pub mod sandbox;
pub mod spec;
pub mod world;
