//! The verbs; a room may import only the rooms above it in this list.

pub mod builds;
