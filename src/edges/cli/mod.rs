//! The command line. `main` for a terminal; `run` for the same verbs wherever there are words, two
//! outputs and an API, such as a session over SSH.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::edges::client::Transport;

/// What a verb reads and writes. Data goes to `stdout`, everything else to `stderr`.
pub struct Io {
    pub stdin: Box<dyn AsyncRead + Send + Unpin>,
    pub stdout: Box<dyn AsyncWrite + Send + Unpin>,
    pub stderr: Box<dyn AsyncWrite + Send + Unpin>,
    pub stdin_is_terminal: bool,
}

impl Io {
    /// Nothing to read.
    pub fn over(stdout: Box<dyn AsyncWrite + Send + Unpin>, stderr: Box<dyn AsyncWrite + Send + Unpin>) -> Self {
        Self { stdin: Box::new(tokio::io::empty()), stdout, stderr, stdin_is_terminal: false }
    }
}

/// Runs the verb of `words` (without the program's name) for a caller far away: no files, no environment, no server of
/// this machine. Returns the exit code.
pub async fn run_remote(_words: Vec<String>, _transport: Transport, _io: Io) -> u8 {
    todo!()
}

pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
