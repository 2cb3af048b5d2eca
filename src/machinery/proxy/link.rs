//! One open connection to an upstream. It has no task of its own: whoever waits on it drives it,
//! so a byte from the upstream wakes the task of the client it is for, and dropping it closes it.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::Upload;

/// hyper does not name the type that `Connection::with_upgrades` returns.
type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

pub(super) struct Link {
    sender: SendRequest<Upload>,
    connection: Option<Connection>,
    reused: bool,
    rests_since: Instant,
}

pub(super) type Sent = hyper::Response<Incoming>;
pub(super) type SendError = hyper::client::conn::TrySendError<Request<Upload>>;

impl Link {
    pub(super) async fn open(address: SocketAddr, longest: Duration) -> io::Result<Box<Self>> {
        let stream = tokio::time::timeout(longest, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(64 << 10)
            .max_header_size(64 << 10)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let connection: Connection = Box::pin(connection.with_upgrades());
        let connection = Some(connection);
        Ok(Box::new(Self { sender, connection, reused: false, rests_since: Instant::now() }))
    }

    /// The connection has served a request before: the other side may just have closed it.
    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Moves bytes. Ready when the connection has ended.
    pub(super) fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(()) };
        match connection.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            // What went wrong reaches the request or the body that was under way.
            Poll::Ready(_) => {
                self.connection = None;
                Poll::Ready(())
            }
        }
    }

    /// Cancel by dropping; the link is then of no further use.
    pub(super) async fn send(&mut self, request: Request<Upload>) -> Result<Sent, SendError> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            if let Poll::Ready(done) = answer.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            let _ = self.poll_drive(cx);
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// Nothing is under way and the other side has not closed, as far as is known here.
    pub(super) fn is_usable(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.poll_drive(&mut cx).is_pending() && self.sender.is_ready()
    }

    pub(super) fn rests(&mut self) {
        self.reused = true;
        self.rests_since = Instant::now();
    }

    pub(super) fn idle_for(&self) -> Duration {
        self.rests_since.elapsed()
    }
}
