//! Edges translate, never decide.

pub mod cli;
pub mod registry;
