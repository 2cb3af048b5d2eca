//! Nouns and rules: plain data, the permission table, configuration, errors. No I/O, no async.

pub mod access;
pub mod clock;
pub mod config;
pub mod error;
pub mod model;
pub mod secret;

pub use error::{Error, Kind, Result};
