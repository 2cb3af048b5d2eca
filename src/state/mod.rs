//! What must survive a crash.

pub mod jobs;
pub mod logs;
pub mod store;
pub mod vault;
