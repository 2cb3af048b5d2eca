//! What checks have shown of each replica, put up for whoever lists them. Written after every look, by the driver alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::observed::Memory;
use super::vital::Standing;

/// Cheap to clone; clones are one board.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<HashMap<String, Standing>>>);

impl Board {
    pub(super) fn put_up(&self, memory: &Memory) {
        let standings = memory.vitals.iter().map(|(id, vital)| (id.clone(), vital.standing.clone())).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = standings;
    }

    /// None: nobody has asked it yet.
    pub(super) fn of(&self, replica: &str) -> Option<Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(replica).cloned()
    }
}
