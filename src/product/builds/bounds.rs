//! What a phase in a sandbox is held to beyond what the engine itself enforces. The engine keeps memory and processes within
//! their limits, and what runs beside a build goes before it; but a build at such a limit may go on for ever without getting
//! anywhere, and nothing keeps it from filling the disk. So somebody looks at it while it runs.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{BuildFailure, messages};
use crate::machinery::runtime::Engine;

/// How often a build is looked at.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// How many looks in a row a build may be at its limit of processes.
const CROWDED: u32 = 3;
/// How often the size of a sandbox is measured while the disk does not tell that it grows; longer where measuring takes long.
const MEASURED: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub seconds: u64,
    pub processes: u64,
    /// Of a sandbox, with all that earlier builds left in it.
    pub disk_bytes: u64,
    /// Of what one phase prints.
    pub output_bytes: u64,
    /// What others keep free; builds end when half of that is gone.
    pub reserved_bytes: u64,
    pub look: Duration,
}

impl Bounds {
    /// Resolves once the sandbox breaks its bounds, with what its owner reads.
    pub async fn broken(&self, engine: &dyn Engine, sandbox: &str) -> BuildFailure {
        let place = engine.place().await.ok().flatten();
        let free = || place.as_deref().and_then(free);
        let (mut crowded, mut measured) = (0, free());
        let mut due = Instant::now() + MEASURED;
        loop {
            tokio::time::sleep(self.look).await;
            let now_free = free();
            if let Some(left) = now_free.filter(|left| *left < self.reserved_bytes / 2) {
                return messages::machine_filled(left);
            }
            if let Ok(usage) = engine.sandbox_usage(sandbox).await {
                crowded = if usage.processes >= self.processes - self.processes / 20 { crowded + 1 } else { 0 };
                if crowded >= CROWDED {
                    return messages::too_many_processes(self.processes);
                }
            }
            let shrank = measured.zip(now_free).is_some_and(|(was, is)| was.saturating_sub(is) > self.disk_bytes / 10);
            if !shrank && Instant::now() < due {
                continue;
            }
            let began = Instant::now();
            if let Ok(size) = engine.sandbox_size(sandbox).await
                && size > self.disk_bytes
            {
                return messages::outgrown(size, self.disk_bytes);
            }
            (measured, due) = (now_free, Instant::now() + MEASURED.max(began.elapsed() * 20));
        }
    }
}

fn free(place: &Path) -> Option<u64> {
    let seen = rustix::fs::statvfs(place).ok()?;
    Some(seen.f_bavail * seen.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::model::Limits;
    use crate::machinery::runtime::fake::FakeEngine;
    use crate::machinery::runtime::{Privileges, SandboxSpec, Usage};

    const BOUNDS: Bounds = Bounds {
        seconds: 60,
        processes: 100,
        disk_bytes: 1 << 30,
        output_bytes: 1 << 20,
        reserved_bytes: 1,
        look: Duration::from_millis(2),
    };

    async fn open(engine: &FakeEngine) -> String {
        let image = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        engine.add_image(&image);
        let limits = Limits { memory_bytes: 1 << 30, cpu_millis: 1000, pids: 100, ..Limits::default() };
        let name = "build-x".to_owned();
        let spec = SandboxSpec {
            name: name.clone(),
            image,
            limits,
            variables: Default::default(),
            privileges: Privileges::None,
        };
        engine.open_sandbox(&spec).await.unwrap();
        name
    }

    fn uses(engine: &FakeEngine, processes: u64) {
        engine.uses(Usage { cpu_nanos: 0, memory_bytes: 0, processes });
    }

    #[tokio::test]
    async fn one_that_is_at_its_limit_of_processes_for_a_while_is_ended() {
        let engine = FakeEngine::new();
        let sandbox = open(&engine).await;
        uses(&engine, 94);
        let many_looks = BOUNDS.look * 100;
        assert!(tokio::time::timeout(many_looks, BOUNDS.broken(&engine, &sandbox)).await.is_err(), "it is within them");
        uses(&engine, 95);
        let failure = BOUNDS.broken(&engine, &sandbox).await;
        assert!(failure.reason.contains("too many processes"), "{failure:?}");
    }

    #[tokio::test]
    async fn a_machine_that_runs_out_of_space_ends_builds() {
        let engine = FakeEngine::new();
        let sandbox = open(&engine).await;
        engine.lies_at(std::env::temp_dir());
        let failure = Bounds { reserved_bytes: u64::MAX, ..BOUNDS }.broken(&engine, &sandbox).await;
        assert!(failure.reason.contains("disk"), "{failure:?}");
        assert!(failure.temporary);
    }
}
