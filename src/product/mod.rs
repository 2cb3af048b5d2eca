//! The verbs: free async functions, context first, actor second; the first thing each does is to
//! ask the actor. A room may import only the rooms above it in this list.

pub mod accounts;
pub mod apps;
pub mod builds;
pub mod converge;
pub mod deploy;
pub mod disk;
pub mod images;
pub mod insight;
pub mod routing;

use std::sync::Arc;

use tokio::sync::Notify;

use crate::base::clock::{Clock, Timestamp};
use crate::base::config::Config;
use crate::state::jobs::Queue;
use crate::state::logs::LogStore;
use crate::state::store::Store;
use crate::state::vault::Vault;

/// All that a verb may use. No engine is in it, so that an edge cannot reach one.
#[derive(Clone)]
pub struct Ctx {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub vault: Vault,
    pub queue: Queue,
    pub logs: LogStore,
    /// Wakes the converger after something it follows was written.
    pub wake: Arc<Notify>,
    /// Wakes the keeper of certificates.
    pub certificates: Arc<Notify>,
    /// What is seen of running replicas; written by nobody.
    pub observatory: Arc<dyn apps::Observatory>,
    /// Where commands are started and their streams are held; the engine behind it is out of reach.
    pub desk: Arc<deploy::Desk>,
    /// Where uploaded sources become objects; the repositories behind it are out of reach.
    pub sources: Arc<deploy::Sources>,
    /// What people are told of running apps, and who waits to be told.
    pub insight: insight::Insight,
    /// What lies on the disk, and what of it goes; the machines behind it are out of reach.
    pub disk: Arc<disk::Disk>,
    pub config: Arc<Config>,
}

impl Ctx {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
