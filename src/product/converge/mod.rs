//! The converger: compares what people asked for with what the engine and the proxy show, and
//! closes the gap without end. Woken by signal and by timer, takes no input, has no retry loop
//! inside: the next look is the retry. It alone starts and stops replicas, publishes the route
//! table and writes `EnvironmentStatus`.

mod apply;
mod asking;
mod board;
mod chronicle;
#[cfg(test)]
mod crowd;
mod desired;
mod driver;
mod evidence;
mod mind;
mod observatory;
mod observed;
mod plan;
mod questions;
mod scale;
#[cfg(test)]
mod sim;
mod sockets;
mod table;
mod verdict;
mod vital;

use std::sync::Arc;

use tokio::sync::{Notify, watch};

pub use board::Board;
pub use desired::{counts, default_check, patience_millis};
pub use driver::Converger;
pub use observatory::EngineObservatory;

/// What others hold of the converger: a way to wake it and to hear that it wrote something.
#[derive(Clone)]
pub struct Handle {
    wake: Arc<Notify>,
    ticks: watch::Receiver<u64>,
}

impl Handle {
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Changes after every look at the world; read the status from the store when it does.
    pub fn ticks(&self) -> watch::Receiver<u64> {
        self.ticks.clone()
    }
}
