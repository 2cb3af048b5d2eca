//! A connection of HTTP/2 to an upstream, shared by requests. It has a task of its own, which ends when nobody holds the
//! connection any more and all that was under way has ended.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE};
use hyper::http::uri::{Authority, Parts as UriParts, PathAndQuery, Scheme};
use hyper::{Request, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::body::Upload;
use super::link::{SendError, Sent};

/// Requests inside one connection, where the upstream does not want fewer.
const MOST_STREAMS: usize = 100;
/// Of an answer, as long as its client takes nothing of it.
const STREAM_WINDOW: u32 = 256 << 10;
/// So that slow clients of some answers never hold up the others.
const WINDOW: u32 = STREAM_WINDOW * MOST_STREAMS as u32;
/// An idle connection is closed after this.
const LONGEST_IDLE: Duration = Duration::from_secs(60);

/// The other side is asked by TCP whether it is there: many servers of gRPC end a connection that is pinged in HTTP/2.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_TRIES: u32 = 3;
/// What was sent and not acknowledged for so long ends the connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

pub(super) struct Channel {
    sender: SendRequest<Upload>,
    scheme: Scheme,
    room: Arc<dyn Room>,
    streams: AtomicUsize,
    /// Heads of answers that came.
    heads: AtomicU64,
    /// Takes no further requests.
    spent: AtomicBool,
    used_at: Mutex<Instant>,
}

/// How many requests the other side takes at once, as far as it has said so.
trait Room: Send + Sync {
    fn most(&self) -> usize;
}

/// None once it has ended: what is asked of it behind its end would otherwise wait there for ever.
type Driven<S> = Option<http2::Connection<TokioIo<S>, Upload, TokioExecutor>>;

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Room for Mutex<Driven<S>> {
    fn most(&self) -> usize {
        locked(self).as_ref().map_or(0, |connection| connection.current_max_send_streams().min(MOST_STREAMS))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The place of one request in a channel, until dropped.
pub(super) struct Lane {
    channel: Arc<Channel>,
    sender: SendRequest<Upload>,
    /// Of the channel's heads when the request was sent.
    heads: u64,
}

impl Channel {
    /// `stream` is one of TLS, or none, as `scheme` says.
    pub(super) async fn open<S>(stream: S, scheme: Scheme) -> io::Result<Arc<Self>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(64 << 10)
            .max_concurrent_reset_streams(MOST_STREAMS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let connection = Arc::new(Mutex::new(Some(connection)));
        let driven = Arc::clone(&connection);
        Handle::current().spawn(async move {
            let poll = |cx: &mut Context<'_>| match &mut *locked(&driven) {
                Some(connection) => Pin::new(connection).poll(cx),
                None => Poll::Ready(Ok(())),
            };
            if let Err(error) = poll_fn(poll).await {
                tracing::debug!(%error, "a connection to an upstream broke");
            }
            let ended = locked(&driven).take();
            drop(ended);
        });
        Ok(Arc::new(Self {
            sender,
            scheme,
            room: connection,
            streams: AtomicUsize::new(0),
            heads: AtomicU64::new(0),
            spent: AtomicBool::new(false),
            used_at: Mutex::new(Instant::now()),
        }))
    }

    /// Takes further requests, as far as is known here.
    pub(super) fn is_open(&self) -> bool {
        !self.spent.load(Relaxed) && !self.sender.is_closed()
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    pub(super) fn is_idle(&self) -> bool {
        self.streams() == 0 && locked(&self.used_at).elapsed() > LONGEST_IDLE
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.load(Relaxed)
    }
}

impl Lane {
    /// `None` when as many requests are inside as shall be.
    pub(super) fn of(channel: &Arc<Channel>) -> Option<Self> {
        let most = channel.room.most();
        let entered = channel.streams.try_update(Relaxed, Relaxed, |inside| (inside < most).then_some(inside + 1));
        entered.is_ok().then(|| Self::within(channel))
    }

    /// However many are inside; it waits there until it can be sent.
    pub(super) fn squeezed(channel: &Arc<Channel>) -> Self {
        channel.streams.fetch_add(1, Relaxed);
        Self::within(channel)
    }

    fn within(channel: &Arc<Channel>) -> Self {
        Self { channel: Arc::clone(channel), sender: channel.sender.clone(), heads: 0 }
    }

    /// Cancel by dropping.
    pub(super) async fn send(&mut self, request: Request<Upload>) -> Result<Sent, SendError> {
        self.heads = self.channel.heads.load(Relaxed);
        let sent = self.sender.try_send_request(in_streams(request, &self.channel.scheme)).await;
        if sent.is_ok() {
            self.channel.heads.fetch_add(1, Relaxed);
        }
        sent
    }

    /// The channel has served a request.
    pub(super) fn is_reused(&self) -> bool {
        self.channel.heads.load(Relaxed) > 0
    }

    /// Nobody else shall come here.
    pub(super) fn spend(&self) {
        self.channel.spent.store(true, Relaxed);
    }

    /// No answer came in time: where none came to anybody, the other side may be gone without a word.
    pub(super) fn gave_up(&self) {
        if self.channel.heads.load(Relaxed) == self.heads {
            self.spend();
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        *locked(&self.channel.used_at) = Instant::now();
        self.channel.streams.fetch_sub(1, Relaxed);
    }
}

pub(super) fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    let asked = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_TRIES);
    socket.set_tcp_keepalive(&asked)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))
}

/// The head as HTTP/2 has it: the host is in the target, and nothing speaks of the connection (RFC 9113 §8.2.2, §8.3.1).
fn in_streams(request: Request<Upload>, scheme: &Scheme) -> Request<Upload> {
    let (mut parts, body) = request.into_parts();
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        parts.headers.remove(name);
    }
    let host = parts.headers.remove(HOST);
    let authority = host.and_then(|host| Authority::from_maybe_shared(host).ok());
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut uri = UriParts::default();
    uri.scheme = Some(scheme.clone());
    uri.authority = authority;
    uri.path_and_query = Some(path);
    // Both have been looked at; where they do not go together the request has no target, and is refused as it is sent.
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
    parts.version = Version::HTTP_2;
    Request::from_parts(parts, body)
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The upstream refused the stream, and did nothing with it (RFC 9113 §8.7).
    Refused,
    /// It ends the connection, and looked at nothing that came so late (RFC 9113 §6.8).
    Leaves,
    /// It ended the stream, whatever it had done.
    Reset,
    Broke,
}

impl Why {
    pub(super) fn of(error: &hyper::Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<h2::Error>() {
                let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
                return match (error.is_remote(), error.is_reset(), error.is_go_away()) {
                    (true, true, _) if refused => Self::Refused,
                    (true, true, _) => Self::Reset,
                    (true, _, true) => Self::Leaves,
                    _ => Self::Broke,
                };
            }
            cause = error.source();
        }
        Self::Broke
    }
}
