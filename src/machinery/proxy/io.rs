//! The socket of a client. Its first bytes can be looked at before anybody reads them. One that takes no byte for too long is cut, tunnels included; one that
//! is still sending when its answer is complete is listened to a little longer, because closing on
//! unread bytes would destroy the answer on its way (RFC 9112 §9.6).

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a client may go on sending after its answer.
const LONGEST_LINGER: Duration = Duration::from_secs(5);

/// Read at once while the first bytes are looked at.
const FIRST_READ: usize = 4 << 10;

pub(super) struct ClientIo {
    stream: TcpStream,
    /// Read already, and not yet by who serves the connection.
    first: Vec<u8>,
    longest: Duration,
    stalls: Option<Pin<Box<Sleep>>>,
    lingers: Option<Pin<Box<Sleep>>>,
    /// Set with the first byte from the client.
    spoke: Arc<AtomicBool>,
}

impl ClientIo {
    pub(super) fn new(stream: TcpStream, longest: Duration, spoke: Arc<AtomicBool>) -> Self {
        Self { stream, first: Vec::new(), longest, stalls: None, lingers: None, spoke }
    }

    /// The other end, which need not be the client itself.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        self.stream.peer_addr().ok().map(|address| address.ip().to_canonical())
    }

    /// Reads until `judge` makes something of what has come so far, which stays to be read.
    pub(super) async fn look<T>(&mut self, judge: impl Fn(&[u8]) -> Option<T>) -> io::Result<T> {
        loop {
            if let Some(found) = judge(&self.first) {
                return Ok(found);
            }
            self.first.reserve(FIRST_READ);
            if self.stream.read_buf(&mut self.first).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Takes away the first of the bytes that were looked at.
    pub(super) fn skip(&mut self, length: usize) {
        self.first.drain(..length);
    }

    /// Throws away what still comes. Ready at once when nothing is there to be read.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scrap = [MaybeUninit::uninit(); 8 << 10];
        loop {
            let mut scrap = ReadBuf::uninit(&mut scrap);
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut scrap);
            let over = match (&read, &mut self.lingers) {
                (Poll::Ready(Ok(())), _) if scrap.filled().is_empty() => return Poll::Ready(()),
                (Poll::Ready(Err(_)), _) | (Poll::Pending, None) => return Poll::Ready(()),
                (_, lingers) => lingers
                    .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + LONGEST_LINGER)))
                    .as_mut()
                    .poll(cx),
            };
            if over.is_ready() || read.is_pending() {
                return over;
            }
        }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalls = None;
            return wrote;
        }
        let longest = self.longest;
        let stalls = self.stalls.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + longest)));
        std::task::ready!(stalls.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = if this.first.is_empty() {
            Pin::new(&mut this.stream).poll_read(cx, buf)
        } else {
            let length = this.first.len().min(buf.remaining());
            buf.put_slice(&this.first[..length]);
            this.first.drain(..length);
            if this.first.is_empty() {
                this.first = Vec::new();
            }
            Poll::Ready(Ok(()))
        };
        if !buf.filled().is_empty() && !this.spoke.load(Ordering::Relaxed) {
            this.spoke.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.watch(cx, wrote)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.watch(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingers.is_none() {
            std::task::ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        this.poll_linger(cx).map(Ok)
    }
}
