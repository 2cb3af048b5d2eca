//! A verb at one end of a channel and its client at the other: input, the window and signals of a client's terminal,
//! its end, and what the terminal of a client that is in raw mode needs done for it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::{AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, mpsc};

use super::{PseudoTerminal, Shared, VerbIo};
use crate::base::access::Actor;
use crate::base::model::{Happening, Signal, Window};

/// Bytes of input that wait for a verb to read.
const PIPE: usize = 256 << 10;
/// A verb that has not read for this long while more input came has lost its client, for all that can be told: the
/// channel's end stands behind the input.
const UNREAD: Duration = Duration::from_secs(600);
/// ETX, what a terminal in raw mode sends for Ctrl-C.
const CTRL_C: u8 = 3;
/// As a shell counts a process that SIGINT ended.
const INTERRUPTED: u32 = 130;

/// None when it is no size.
pub(super) fn window(columns: u32, rows: u32) -> Option<Window> {
    let side = |n: u32| u16::try_from(n.clamp(1, 2000)).ok();
    Some(Window { columns: side(columns)?, rows: side(rows)? })
}

/// Its exit code.
pub(super) async fn verb(
    shared: &Shared,
    actor: Actor,
    words: Vec<String>,
    terminal: Option<(String, Window)>,
    reader: ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
) -> u32 {
    let (stdin, input) = tokio::io::duplex(PIPE);
    let (tell, happenings) = mpsc::channel(16);
    let raw = Arc::new(AtomicBool::new(terminal.is_none()));
    let interrupted = Notify::new();
    let io = VerbIo {
        input: Box::new(input),
        out: Box::new(Lines::new(Box::pin(writer.make_writer()), &raw)),
        err: Box::new(Lines::new(Box::pin(writer.make_writer_ext(Some(1))), &raw)),
        terminal: terminal.map(|(name, window)| PseudoTerminal { name, window, raw: Arc::clone(&raw) }),
        happenings,
    };
    let listening = async {
        listen(reader, stdin, tell, &raw, &interrupted).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        code = (shared.verbs)(actor, words, io) => code,
        () = interrupted.notified() => INTERRUPTED,
        () = listening => unreachable!("it waits for ever"),
    }
}

/// Passes on what the client says, until it is gone.
async fn listen(
    mut reader: ChannelReadHalf,
    stdin: DuplexStream,
    tell: mpsc::Sender<Happening>,
    raw: &AtomicBool,
    interrupted: &Notify,
) {
    let mut stdin = Some(stdin);
    while let Some(message) = reader.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                if !raw.load(Ordering::Acquire) && data.contains(&CTRL_C) {
                    interrupted.notify_one();
                }
                let Some(open) = &mut stdin else { continue };
                match tokio::time::timeout(UNREAD, open.write_all(&data)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => stdin = None,
                    Err(_) => break,
                }
            }
            // Dropping it is the end of the input.
            ChannelMsg::Eof => stdin = None,
            ChannelMsg::WindowChange { col_width, row_height, .. } => {
                if let Some(window) = window(col_width, row_height) {
                    let _ = tell.send(Happening::Resized(window)).await;
                }
            }
            ChannelMsg::Signal { signal } => {
                if let Some(signal) = known(&signal) {
                    let _ = tell.send(Happening::Signalled(signal)).await;
                }
            }
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    let _ = tell.send(Happening::Gone).await;
}

/// RFC 4254 §6.9.
fn known(signal: &Sig) -> Option<Signal> {
    match signal {
        Sig::HUP => Some(Signal::Hup),
        Sig::INT => Some(Signal::Int),
        Sig::QUIT => Some(Signal::Quit),
        Sig::TERM => Some(Signal::Term),
        Sig::KILL => Some(Signal::Kill),
        Sig::USR1 => Some(Signal::Usr1),
        _ => None,
    }
}

type Inner<'a> = Pin<Box<dyn AsyncWrite + Send + 'a>>;

/// A client's terminal in raw mode goes to the next line and no further left: each line gets the return that the
/// kernel's terminal would add. While `raw` is set, bytes pass as they are.
struct Lines<'a> {
    inner: Inner<'a>,
    raw: Arc<AtomicBool>,
    /// The return was written, its line's end was not.
    returned: bool,
}

impl<'a> Lines<'a> {
    fn new(inner: Inner<'a>, raw: &Arc<AtomicBool>) -> Self {
        Self { inner, raw: Arc::clone(raw), returned: false }
    }
}

impl AsyncWrite for Lines<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        if self.raw.load(Ordering::Acquire) {
            return self.inner.as_mut().poll_write(cx, bytes);
        }
        let end = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
        if end > 0 {
            return self.inner.as_mut().poll_write(cx, &bytes[..end]);
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if !self.returned {
            let written = ready!(self.inner.as_mut().poll_write(cx, b"\r"))?;
            self.returned = written == 1;
        }
        let written = ready!(self.inner.as_mut().poll_write(cx, b"\n"))?;
        self.returned = false;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.inner.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.inner.as_mut().poll_shutdown(cx)
    }
}
