//! Edges translate, never decide.

pub mod api;
pub mod cli;
pub mod client;
pub mod credentials;
pub mod git;
pub mod registry;
pub mod ssh;
