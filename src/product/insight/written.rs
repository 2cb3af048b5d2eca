//! How much each replica wrote to its own file system, for the bound that it has. The engine walks through what they wrote,
//! so the longer that takes the less often it is asked.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::machinery::runtime::Engine;
use crate::product::Ctx;

const PAUSE: Duration = Duration::from_secs(10);
/// The engine walks for at most one twentieth of the time.
const SHARE: u32 = 20;
/// Growth by less is nothing that the converger has to look at.
const STEP_BYTES: u64 = 1 << 20;

/// Until `shutdown`.
pub async fn follow_written(ctx: Ctx, engine: Arc<dyn Engine>, shutdown: CancellationToken) {
    loop {
        let began = Instant::now();
        let asked = tokio::select! {
            () = shutdown.cancelled() => return,
            asked = engine.written() => asked,
        };
        // What cannot be measured now is measured later; that the engine is away others tell.
        if let Ok(written) = asked {
            let written = Arc::new(written);
            let before = {
                let mut latest = ctx.insight.written.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::replace(&mut *latest, Arc::clone(&written))
            };
            if has_grown(&before, &written) {
                ctx.wake.notify_one();
            }
        }
        let pause = PAUSE.max(began.elapsed() * SHARE);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn has_grown(before: &HashMap<String, u64>, now: &HashMap<String, u64>) -> bool {
    now.iter().any(|(id, bytes)| bytes.saturating_sub(before.get(id).copied().unwrap_or(0)) >= STEP_BYTES)
}
