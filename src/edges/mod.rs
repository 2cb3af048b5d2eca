//! Edges translate, never decide.

pub mod api;
pub mod cli;
pub mod client;
pub mod registry;
pub mod ssh;
