//! dacapo: a rented GPU server exactly as `session.toml` says; there when you want it, gone when you don't,
//! and nothing lost either way.
//!
//! The pipeline is *spec, lock → observe → plan → guard → apply → report*:
//!
//! - [`spec`] and [`lock`] read what is wanted and what it resolved to last time;
//! - [`observe`] asks the four worlds behind [`provider`] and returns [`observed::Observed`];
//! - [`plan`] compares and decides, [`guard`] says what must be shown before anything goes, and [`record`] is
//!   the protocol of creating and deleting exactly once; none of the three does any I/O;
//! - [`apply`] carries a plan out and sends [`event`]s; [`report`] has the words for them;
//! - [`sandbox`] rehearses all of it on loopback; [`cli`] is what can be typed.
//!
//! ARCHITECTURE.md says which module may import which, and why.
// Nothing is decoded in the modules left out of fuzzing; they take long to build.
#[cfg(not(fuzzing))]
pub mod apply;
#[cfg(not(fuzzing))]
pub mod cli;
pub mod credentials;
pub mod digest;
pub mod durable;
pub mod error;
pub mod event;
pub mod facts;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod guard;
pub mod lock;
pub mod observe;
pub mod observed;
pub mod plan;
pub mod provider;
pub mod record;
pub mod report;
#[cfg(not(fuzzing))]
pub mod sandbox;
pub mod spec;
pub mod version;
pub mod world;
