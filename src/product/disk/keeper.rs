//! Collects from time to time, when something was destroyed, and at once when space is short.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::collect;
use crate::product::Ctx;

const EVERY: Duration = Duration::from_secs(600);
/// From one look at the free space to the next.
const LOOK: Duration = Duration::from_secs(15);
/// From one collection for want of space to the next.
const HURRY: Duration = Duration::from_secs(60);
/// What was destroyed stops first.
const SETTLE: Duration = Duration::from_secs(5);

pub struct DiskKeeper(Ctx);

impl DiskKeeper {
    pub fn new(ctx: Ctx) -> Self {
        Self(ctx)
    }

    /// Until told to stop.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut due = Instant::now() + HURRY;
        let mut last = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.0.disk.wake.notified() => {
                    // What it held is used no more only after the grace.
                    let grace = Duration::from_secs(self.0.config.disk.grace_seconds.into());
                    due = due.min(Instant::now() + grace + SETTLE);
                    if tokio::time::timeout(SETTLE, shutdown.cancelled()).await.is_ok() {
                        return;
                    }
                }
                () = tokio::time::sleep(LOOK.min(due.saturating_duration_since(Instant::now()))) => {
                    let hurry = last.elapsed() >= HURRY && self.is_short().await;
                    if !hurry && Instant::now() < due {
                        continue;
                    }
                    due = Instant::now() + EVERY;
                }
            }
            last = Instant::now();
            if let Err(error) = collect::collect(&self.0).await {
                tracing::warn!(error = error.for_log(), "what nobody needs could not be removed; it is tried again");
            }
        }
    }

    async fn is_short(&self) -> bool {
        let Ok(machine) = self.0.disk.machine() else { return false };
        machine.is_short(&self.0.config.disk).await
    }
}
