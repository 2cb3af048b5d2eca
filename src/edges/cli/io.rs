//! What a verb reads and writes.

use std::io::{IsTerminal, Result};

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::terminal::{Happenings, Terminal};
use super::text;

/// More than this is no key and no token.
const LONGEST_INPUT: u64 = 64 << 10;

pub struct Io {
    pub stdin: Box<dyn AsyncRead + Send + Unpin>,
    pub stdout: Box<dyn AsyncWrite + Send + Unpin>,
    pub stderr: Box<dyn AsyncWrite + Send + Unpin>,
    pub stdin_is_terminal: bool,
    /// Where whoever runs the verb sits, if both input and output are there.
    pub terminal: Option<Terminal>,
    pub happenings: Happenings,
}

impl Io {
    /// Nothing to read.
    pub fn over(stdout: Box<dyn AsyncWrite + Send + Unpin>, stderr: Box<dyn AsyncWrite + Send + Unpin>) -> Self {
        let (_, happenings) = tokio::sync::mpsc::channel(1);
        Self {
            stdin: Box::new(tokio::io::empty()),
            stdout,
            stderr,
            stdin_is_terminal: false,
            terminal: None,
            happenings: Happenings::Far(happenings),
        }
    }

    pub(super) fn terminal() -> Self {
        Self {
            stdin: Box::new(tokio::io::stdin()),
            stdout: Box::new(tokio::io::stdout()),
            stderr: Box::new(tokio::io::stderr()),
            stdin_is_terminal: std::io::stdin().is_terminal(),
            terminal: Terminal::own(),
            happenings: Happenings::Own(None),
        }
    }

    /// Data for people: what a terminal would act on is taken out.
    pub(super) async fn out(&mut self, line: &str) -> Result<()> {
        self.raw(&text::inert(line)).await
    }

    /// Data for programs, as it is.
    pub(super) async fn raw(&mut self, line: &str) -> Result<()> {
        self.stdout.write_all(format!("{line}\n").as_bytes()).await?;
        self.stdout.flush().await
    }

    pub(super) async fn json(&mut self, data: &(impl Serialize + Sync)) -> Result<()> {
        let text = serde_json::to_string_pretty(data).map_err(std::io::Error::other)?;
        self.raw(&text).await
    }

    /// Progress and reasons.
    pub(super) async fn say(&mut self, line: &str) -> Result<()> {
        self.stderr.write_all(format!("{}\n", text::inert(line)).as_bytes()).await?;
        self.stderr.flush().await
    }

    pub(super) async fn read_all(&mut self) -> Result<String> {
        let mut text = String::new();
        (&mut self.stdin).take(LONGEST_INPUT).read_to_string(&mut text).await?;
        Ok(text)
    }

    /// Up to the first end of line.
    pub(super) async fn read_line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        while line.len() < LONGEST_INPUT as usize {
            match self.stdin.read_u8().await {
                Ok(b'\n') => break,
                Ok(byte) => line.push(byte),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
        Ok(String::from_utf8_lossy(&line).trim().to_owned())
    }

    pub(super) async fn end(&mut self) {
        let _ = self.stdout.shutdown().await;
        let _ = self.stderr.shutdown().await;
    }
}
