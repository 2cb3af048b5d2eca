//! The end-to-end harness: the built binary as its own process against the real engine, driven by
//! real git, ssh and curl. Each server has a data directory, ports and a runtime prefix of its own, and
//! takes its containers, networks and images with it when it is dropped.
//!
//! Nothing here waits for a time to pass: what cannot be awaited is asked for until it is so, and a
//! deadline turns into a failure that shows the server's log.

pub mod base;
mod disk;
mod dns;
pub mod engine;
mod journal;
mod load;
mod pebble;
mod personas;
mod relay;
mod repo;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub use disk::SmallDisk;
pub use dns::Dns;
pub use engine::docker;
pub use journal::Journal;
pub use load::Load;
pub use pebble::{Named, Pebble, free_port};
pub use personas::Persona;
pub use relay::Relay;
pub use repo::{Pushed, Pushing, Repo};
pub use server::{Answer, RealServer, Settings};

/// Every wait of the harness ends here at the latest; a healthy machine needs a small part of it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Asks until there is an answer.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "not within {}s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Marks everything of this test run in the engine, so that `contrib/test` can sweep what a killed run left.
pub fn run_id() -> String {
    std::env::var("HYTHE_TEST_RUN").unwrap_or_else(|_| format!("t{}", std::process::id()))
}

/// On the file system of the target directory, so that blobs can be hard links.
pub fn scratch() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(dir).expect("the target's tmp directory");
    dir.to_owned()
}

/// What a finished program said.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        Self {
            ok: output.status.success(),
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn expect(self, what: &str) -> String {
        assert!(self.ok, "{what}: exit {:?}\n{}{}", self.code, self.out, self.err);
        self.out
    }
}

/// A program with nothing on its input and none of the caller's Hythe settings.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.stdin(Stdio::null());
    for (key, _) in std::env::vars_os() {
        let foreign = key.to_str().is_some_and(|k| k.starts_with("HYTHE_") || k.starts_with("GIT_"));
        if foreign {
            command.env_remove(key);
        }
    }
    command
}

pub fn run(command: &mut Command) -> Said {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?} does not start: {e}"));
    Said::of(output)
}
