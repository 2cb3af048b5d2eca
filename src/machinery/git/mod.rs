//! Git repositories, served without a git program: receive-pack (push), upload-pack (fetch, clone), quarantine of what is
//! pushed, import of an archive as if it were pushed, and export of a commit as tar. Everything here is synchronous and
//! blocks: call it on a blocking thread.
//!
//! Invariants:
//! - What a push brings stays in `<repository>/incoming/<key>/` until [`Quarantine::migrate`]; the repository's own objects
//!   and refs are untouched before that, so a refused push leaves nothing behind.
//! - A quarantine that was [kept](Quarantine::keep) is durable: it survives a crash and is found again by
//!   [`Quarantine::reopen`]; the others are removed by their destructor or by [`Repository::sweep`].
//! - No object enters a repository unread: [`Quarantine::check`] parses every pushed object and follows every link.
//!
//! Left to others: who may push what, what a ref name means, locking of pushes to one app, the transport.

mod connected;
mod disk;
mod error;
mod export;
mod fetch;
mod fsck;
mod import;
mod pack;
mod pktline;
mod quarantine;
mod receive;
mod refs;
mod repository;
mod sideband;
mod stateless;
mod upload;

pub use error::{GitError, Result};
pub use export::{Changes, TreeLimits, TreeSummary, export_tree, export_tree_but, read_file, tree_of};
pub use fetch::{ask_branch, ask_name, ask_pack, ask_tree, read_branch, read_greeting, read_name, read_pack};
pub use gix::ObjectId;
pub use import::{Imported, import_archive, import_file};
pub use quarantine::{Limits, Quarantine};
pub use receive::{Capabilities, Command, Moved, Outcomes, Request, advertise, null_id, read_request, report};
pub use repository::{Repositories, Repository};
pub use sideband::Sideband;
pub use stateless::{Part, announce, gunzip};
pub use upload::serve_upload;

#[cfg(test)]
mod tests;
