//! Edges translate, never decide.

pub mod cli;
