//! Each room talks to one outside thing, knows no product rule, and ships its fake.

pub mod git;
pub mod image;
pub mod outbound;
pub mod proxy;
pub mod runtime;
