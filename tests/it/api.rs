//! The REST edge in process: every operation × persona, hostile input, set-up, and the verbs over it.

mod authz;
mod corpus;
pub mod harness;
mod lifecycle;
mod verbs;
