//! Calls that stand still, so that a test can do something in the middle of one.

use std::collections::HashMap;

use tokio::sync::watch;

use super::{FakeEngine, Op};

/// Where: the engine has heard the call and done nothing yet, or done it and not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stall {
    Before,
    After,
}

/// How many stand at each place where calls stand still.
pub(super) type Stalls = watch::Sender<HashMap<(Op, Stall), usize>>;

impl FakeEngine {
    /// From now on calls of `op` stand still there, until `go_on`. Understood of `Run` and `ExecIn`.
    pub fn stall(&self, op: Op, at: Stall) {
        self.stalls.send_modify(|stalls| {
            stalls.insert((op, at), 0);
        });
    }

    pub fn go_on(&self, op: Op, at: Stall) {
        self.stalls.send_modify(|stalls| {
            stalls.remove(&(op, at));
        });
    }

    /// Waits until `count` calls stand there.
    pub async fn stalled(&self, op: Op, at: Stall, count: usize) {
        let _ = self.stalls.subscribe().wait_for(|stalls| stalls.get(&(op, at)) == Some(&count)).await;
    }

    pub(super) async fn stand(&self, op: Op, at: Stall) {
        let mut stalls = self.stalls.subscribe();
        let mut standing = Standing { stalls: &self.stalls, at: (op, at), counts: false };
        self.stalls.send_if_modified(|stalls| {
            let place = stalls.get_mut(&(op, at));
            standing.counts = place.is_some();
            place.map(|count| *count += 1).is_some()
        });
        let _ = stalls.wait_for(|stalls| !stalls.contains_key(&(op, at))).await;
    }
}

/// Whoever gives up stands there no more.
struct Standing<'a> {
    stalls: &'a Stalls,
    at: (Op, Stall),
    counts: bool,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.stalls.send_if_modified(|stalls| {
            let place = stalls.get_mut(&self.at).filter(|_| self.counts);
            place.map(|count| *count = count.saturating_sub(1)).is_some()
        });
    }
}
