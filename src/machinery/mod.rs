//! Each room talks to one outside thing, knows no product rule, and ships its fake.

pub mod certs;
pub mod git;
pub mod handover;
pub mod image;
pub mod outbound;
pub mod proxy;
pub mod runtime;
