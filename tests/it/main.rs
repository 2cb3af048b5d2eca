//! The integration tests: one binary.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the tests drive real programs and read the real clock")]

mod api;
mod architecture;
mod builds;
mod engine;
mod examples;
mod faults;
mod harness;
mod images;
mod people;
mod push;
mod registries;
mod seen;
