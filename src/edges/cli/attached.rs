//! A command with its streams at this end: input, output and errors as they are, keys and the window of a terminal,
//! signals, and the exit code as the verb's own.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_util::codec::{FramedRead, FramedWrite};

use super::Session;
use super::args::AtFlag;
use super::failure::{Failure, Result};
use super::io::Io;
use super::terminal::{Happenings, Raw};
use crate::base::model::{Happening, Signal};
use crate::edges::api::types::frames::{ALIVE_SECONDS, Frame, Frames, GONE_SECONDS};
use crate::edges::api::types::{AttachBody, TerminalBody};
use crate::edges::client::Duplex;

/// Bytes of input sent at once.
const PIECE: usize = 16 << 10;

/// `replica`: inside that one; none: beside them all.
pub(super) async fn run(s: &mut Session, at: &AtFlag, words: &[String], replica: Option<String>) -> Result<()> {
    let app = s.app_flag(&at.app)?;
    let terminal = s.io.terminal.as_ref().map(|terminal| TerminalBody {
        columns: terminal.window.columns,
        rows: terminal.window.rows,
        name: terminal.name.clone(),
    });
    let body = AttachBody { command: words.to_vec(), terminal, replica };
    s.io.happenings.listen()?;
    let stream = s.client.attach(&app, &at.environment.environment, &body).await?;
    let raw = s.io.terminal.as_ref().map(|terminal| Raw::begin(&terminal.mode)).transpose()?;
    let ended = exchange(&mut s.io, stream).await;
    drop(raw);
    match ended? {
        (0, _) => Ok(()),
        (code, reason) => Err(Failure::exit(code, reason)),
    }
}

async fn exchange(io: &mut Io, stream: Box<dyn Duplex>) -> Result<(i64, String)> {
    let (read, write) = tokio::io::split(stream);
    let Io { stdin, stdout, stderr, happenings, .. } = io;
    tokio::select! {
        ended = inward(read, stdout.as_mut(), stderr.as_mut()) => ended,
        code = outward(write, stdin.as_mut(), happenings) => Ok((code, String::new())),
    }
}

/// Until the exit is told.
async fn inward(
    read: ReadHalf<Box<dyn Duplex>>,
    stdout: &mut (dyn AsyncWrite + Send + Unpin),
    stderr: &mut (dyn AsyncWrite + Send + Unpin),
) -> Result<(i64, String)> {
    let mut heard = FramedRead::new(read, Frames);
    loop {
        let frame = tokio::time::timeout(Duration::from_secs(GONE_SECONDS), heard.next()).await;
        let Ok(Some(Ok(frame))) = frame else {
            return Err(Failure::unavailable("the connection broke off; the command was asked to end"));
        };
        match frame {
            Frame::Output(bytes) => {
                stdout.write_all(&bytes).await?;
                stdout.flush().await?;
            }
            Frame::Errors(bytes) => {
                stderr.write_all(&bytes).await?;
                stderr.flush().await?;
            }
            Frame::Exit { code, reason } => return Ok((code, reason)),
            _ => {}
        }
    }
}

/// Ends only when this end has let go: with the code to leave with.
async fn outward(
    write: WriteHalf<Box<dyn Duplex>>,
    stdin: &mut (dyn tokio::io::AsyncRead + Send + Unpin),
    happenings: &mut Happenings,
) -> i64 {
    let mut said = FramedWrite::new(write, Frames);
    let mut piece = vec![0; PIECE];
    let mut open = true;
    let mut alive = tokio::time::interval(Duration::from_secs(ALIVE_SECONDS));
    let mut asked = false;
    loop {
        let frame = tokio::select! {
            count = stdin.read(&mut piece), if open => match count {
                Ok(count) if count > 0 => Frame::Input(Bytes::copy_from_slice(&piece[..count])),
                _ => {
                    open = false;
                    Frame::EndOfInput
                }
            },
            happening = happenings.next() => match happening {
                Happening::Resized(window) => Frame::Resize { columns: window.columns, rows: window.rows },
                // Asked a second time, this end no longer waits.
                Happening::Signalled(signal) if asked => return 128 + signal.number(),
                Happening::Signalled(signal) => {
                    asked = matches!(signal, Signal::Int | Signal::Term);
                    Frame::Signal(signal.name().to_owned())
                }
                Happening::Gone => return 128 + Signal::Hup.number(),
            },
            _ = alive.tick() => Frame::Alive,
        };
        if said.send(frame).await.is_err() {
            // The other loop tells why.
            return std::future::pending().await;
        }
    }
}
