//! What carries one request to an upstream: a connection of its own, or a lane in one that is shared. A connection of its own
//! has no task: whoever waits on it drives it, so a byte from the upstream wakes the task of the client it is for, and dropping
//! it closes it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::Upload;
use super::channel::Lane;

/// hyper does not name the type that `Connection::with_upgrades` returns.
type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

pub(super) enum Link {
    Own(Own),
    Shared(Lane),
}

/// A connection of HTTP/1.1.
pub(super) struct Own {
    sender: SendRequest<Upload>,
    connection: Option<Connection>,
    /// Inside TLS.
    is_sealed: bool,
    reused: bool,
    rests_since: Instant,
}

pub(super) type Sent = hyper::Response<Incoming>;
pub(super) type SendError = hyper::client::conn::TrySendError<Request<Upload>>;

impl Link {
    /// `is_sealed`: the stream is one of TLS.
    pub(super) async fn over<S>(stream: S, is_sealed: bool) -> io::Result<Box<Self>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(64 << 10)
            .max_header_size(64 << 10)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let connection: Connection = Box::pin(connection.with_upgrades());
        let connection = Some(connection);
        let (reused, rests_since) = (false, Instant::now());
        Ok(Box::new(Self::Own(Own { sender, connection, is_sealed, reused, rests_since })))
    }

    /// The connection has served a request before: the other side may just have closed it.
    pub(super) fn is_reused(&self) -> bool {
        match self {
            Self::Own(own) => own.reused,
            Self::Shared(lane) => lane.is_reused(),
        }
    }

    pub(super) fn lane(&self) -> Option<&Lane> {
        match self {
            Self::Own(_) => None,
            Self::Shared(lane) => Some(lane),
        }
    }

    /// Moves bytes. Ready when the connection has ended; one that is shared moves by itself.
    pub(super) fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Own(own) => own.poll_drive(cx),
            Self::Shared(_) => Poll::Pending,
        }
    }

    /// Cancel by dropping; the link is then of no further use.
    pub(super) async fn send(&mut self, request: Request<Upload>) -> Result<Sent, SendError> {
        match self {
            Self::Own(own) => own.send(request).await,
            Self::Shared(lane) => lane.send(request).await,
        }
    }

    /// A connection of its own on which nothing is under way, and that the other side has not closed, as far as is known here.
    pub(super) fn is_usable(&mut self) -> bool {
        match self {
            Self::Own(own) => own.is_usable(),
            Self::Shared(_) => false,
        }
    }

    /// A connection of its own, inside TLS or not.
    pub(super) fn is_own(&self, sealed: bool) -> bool {
        match self {
            Self::Own(own) => own.is_sealed == sealed,
            Self::Shared(_) => false,
        }
    }

    pub(super) fn rests(&mut self) {
        if let Self::Own(own) = self {
            own.reused = true;
            own.rests_since = Instant::now();
        }
    }

    pub(super) fn idle_for(&self) -> Duration {
        match self {
            Self::Own(own) => own.rests_since.elapsed(),
            Self::Shared(_) => Duration::MAX,
        }
    }
}

impl Own {
    fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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

    async fn send(&mut self, request: Request<Upload>) -> Result<Sent, SendError> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            if let Poll::Ready(done) = answer.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            if let Some(connection) = &mut self.connection
                && connection.as_mut().poll(cx).is_ready()
            {
                self.connection = None;
            }
            answer.as_mut().poll(cx)
        })
        .await
    }

    fn is_usable(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.poll_drive(&mut cx).is_pending() && self.sender.is_ready()
    }
}
