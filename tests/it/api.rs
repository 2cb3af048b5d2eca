//! The REST edge in process: every operation × persona, hostile input, set-up, and the verbs over it.

mod acme;
mod authz;
mod certs;
mod corpus;
mod domains;
pub mod harness;
mod lifecycle;
mod verbs;
