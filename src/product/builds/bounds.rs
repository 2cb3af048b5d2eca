//! What a phase in a sandbox is held to beyond what the engine itself enforces. The engine keeps memory and processes within
//! their limits, and what runs beside a build goes before it; but a build at such a limit may go on for ever without getting
//! anywhere, and nothing keeps it from filling the disk. So somebody looks at it while it runs.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;

use super::{BuildFailure, messages};
use crate::machinery::image::{Allowed, Free};
use crate::machinery::runtime::{Channel, Engine, ExecSpec};

/// How often a build is looked at.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// How many looks in a row a build may be at its limit of processes.
const CROWDED: u32 = 3;
/// How often the size of a sandbox is measured while the disk does not tell that it grows; longer where measuring takes long.
const MEASURED: Duration = Duration::from_secs(30);
/// Bytes of all paths that are exported of one sandbox: more than a million of the usual length have.
const LONGEST_NAMES: u64 = 128 << 20;
/// Bytes of one path in a sandbox: the engine puts one of its own before it, and leaves out what is then longer than a path
/// may be, without a word.
const LONGEST_PATH: usize = 3840;

#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub seconds: u64,
    pub processes: u64,
    /// Of a sandbox, with all that earlier builds left in it.
    pub disk_bytes: u64,
    /// Of what one phase prints.
    pub output_bytes: u64,
    /// As many files and directories of a sandbox, and of what is exported of it.
    pub disk_files: u64,
    /// What others keep free; builds end when half of that is gone.
    pub reserved_bytes: u64,
    pub reserved_files: u64,
    pub look: Duration,
}

impl Bounds {
    /// Resolves once the sandbox breaks its bounds, with what its owner reads.
    pub async fn broken(&self, engine: &dyn Engine, sandbox: &str) -> BuildFailure {
        let place = engine.place().await.ok().flatten();
        let free = || place.as_deref().and_then(Free::at);
        let (mut crowded, mut measured) = (0, free());
        let mut due = Instant::now() + MEASURED;
        loop {
            tokio::time::sleep(self.look).await;
            let now_free = free();
            if let Some(failure) = now_free.and_then(|free| self.crammed(free)) {
                return failure;
            }
            if let Ok(usage) = engine.sandbox_usage(sandbox).await {
                crowded = if usage.processes >= self.processes - self.processes / 20 { crowded + 1 } else { 0 };
                if crowded >= CROWDED {
                    return messages::too_many_processes(self.processes);
                }
            }
            let shrank = measured.zip(now_free).is_some_and(|(was, is)| self.shrank(was, is));
            if !shrank && Instant::now() < due {
                continue;
            }
            let began = Instant::now();
            if let Some(failure) = self.outgrown(engine, sandbox).await {
                return failure;
            }
            (measured, due) = (now_free, Instant::now() + MEASURED.max(began.elapsed() * 20));
        }
    }

    /// Whether the sandbox holds more than it may. It walks through it.
    pub async fn outgrown(&self, engine: &dyn Engine, sandbox: &str) -> Option<BuildFailure> {
        let (size, found) = tokio::join!(engine.sandbox_size(sandbox), count(engine, sandbox, self.disk_files));
        let found = found.unwrap_or_default();
        if found.long {
            return Some(messages::long_path(LONGEST_PATH));
        }
        // There are trees that an engine cannot measure. Here a file with several names counts as often.
        let size = size.unwrap_or(found.blocks.saturating_mul(512));
        if size > self.disk_bytes {
            return Some(messages::outgrown(size, self.disk_bytes));
        }
        (found.files > self.disk_files).then(|| messages::too_many_files(self.disk_files))
    }

    /// What may be exported of a sandbox, all in all.
    pub fn allowed(&self) -> Allowed {
        Allowed {
            bytes: self.disk_bytes,
            entries: self.disk_files,
            names: LONGEST_NAMES,
            spare_bytes: self.reserved_bytes / 2,
            spare_files: self.reserved_files / 2,
        }
    }

    fn crammed(&self, free: Free) -> Option<BuildFailure> {
        if free.bytes < self.reserved_bytes / 2 {
            return Some(messages::machine_filled(free.bytes));
        }
        let files = free.files.filter(|left| *left < self.reserved_files / 2)?;
        Some(messages::machine_out_of_files(files))
    }

    fn shrank(&self, was: Free, is: Free) -> bool {
        let files = was.files.zip(is.files).map_or(0, |(was, is)| was.saturating_sub(is));
        was.bytes.saturating_sub(is.bytes) > self.disk_bytes / 10 || files > self.disk_files / 10
    }
}

/// What the build's user has in a sandbox.
#[derive(Debug, Default)]
struct Found {
    files: u64,
    /// Of 512 bytes.
    blocks: u64,
    /// One has too long a path.
    long: bool,
    number: u64,
}

impl Found {
    fn take(&mut self, said: &[u8]) {
        for byte in said {
            match byte {
                b'0'..=b'9' => self.number = self.number.saturating_mul(10).saturating_add(u64::from(byte - b'0')),
                b'!' => self.long = true,
                _ => {
                    self.files += 1;
                    self.blocks = self.blocks.saturating_add(std::mem::take(&mut self.number));
                }
            }
        }
    }
}

/// Walks through a sandbox until there are more files and directories than that. What the build's user hid from itself is
/// not seen; of what is exported the batch counts all.
async fn count(engine: &dyn Engine, sandbox: &str, most: u64) -> Option<Found> {
    let long = "?".repeat(LONGEST_PATH + 1) + "*";
    let all = ["find", "/", "-xdev", "-path", "/usr", "-prune", "-o", "-uid", "1000"];
    let each = ["(", "-path", &long, "-printf", "!", "-o", "-true", ")", "-printf", "%b\\n"];
    let spec = ExecSpec {
        command: all.into_iter().chain(each).map(str::to_owned).collect(),
        user: None,
        working_dir: Some("/".to_owned()),
        variables: [("LC_ALL".to_owned(), "C".to_owned())].into(),
        stdin: None,
    };
    let mut exec = engine.exec(sandbox, spec).await.ok()?;
    let mut found = Found::default();
    while let Some(Ok((channel, said))) = exec.output.next().await {
        if channel == Channel::Out {
            found.take(&said);
        }
        if found.files > most {
            break;
        }
    }
    Some(found)
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
        disk_files: 1000,
        output_bytes: 1 << 20,
        reserved_bytes: 1,
        reserved_files: 1,
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

    #[test]
    fn what_was_counted_is_understood_wherever_it_is_cut() {
        let mut found = Found::default();
        [&b"8\n0\n1"[..], b"6\n!", b"24\n0"].into_iter().for_each(|said| found.take(said));
        assert_eq!((found.files, found.blocks, found.long), (4, 48, true));
    }

    #[tokio::test]
    async fn a_machine_that_runs_out_of_space_ends_builds() {
        let engine = FakeEngine::new();
        let sandbox = open(&engine).await;
        engine.lies_at(std::env::temp_dir());
        let failure = Bounds { reserved_bytes: u64::MAX, ..BOUNDS }.broken(&engine, &sandbox).await;
        assert!(failure.reason.contains("disk"), "{failure:?}");
        assert!(failure.temporary);
        let failure = Bounds { reserved_files: u64::MAX, ..BOUNDS }.broken(&engine, &sandbox).await;
        assert!(failure.reason.contains("no more files"), "{failure:?}");
        assert!(failure.temporary);
    }
}
