//! The accept loop: bounded, deaf to passing faults of the system, ended by draining. What a connection is begins here as well:
//! whose it is, with TLS or without, of which version of HTTP.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::headers::Caller;
use super::io::ClientIo;
use super::{Shared, forward, opening, tls};

const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// The pause after an accept that failed for want of descriptors or memory.
const BREATH: Duration = Duration::from_millis(50);

/// Requests of one HTTP/2 connection that are answered at once.
const MOST_STREAMS: u32 = 128;
/// An HTTP/2 client that does not answer a ping is gone.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Open connections by address.
#[derive(Default)]
pub(super) struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// One client connection; alive until its last tunnel has ended.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) caller: Caller,
    tasks: TaskTracker,
    cut: CancellationToken,
    entered: Entered,
    pub(super) secure: bool,
    /// What the client asked for when it began TLS.
    name: OnceLock<Box<str>>,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    /// Cancelled when the time to drain is over.
    pub(super) fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// The client's.
    pub(super) fn address(&self) -> IpAddr {
        self.entered.address
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.name.get().map(AsRef::as_ref)
    }

    /// A task that outlives the connection's own and is waited for at shutdown.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }
}

/// One of the connections that an address may have open, until dropped.
struct Entered {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Entered {
    fn into(shared: &Arc<Shared>, address: IpAddr) -> Option<Self> {
        if !shared.addresses.enter(address, shared.settings.max_connections_per_address) {
            tracing::debug!(client.address = %address, "too many connections from one address");
            return None;
        }
        Some(Self { shared: Arc::clone(shared), address })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.shared.addresses.leave(self.address);
    }
}

/// A connection of which nothing was read yet.
struct Arrival {
    stream: TcpStream,
    shared: Arc<Shared>,
    port: u16,
    scheme: &'static str,
    /// None: a balancer will say whose it is.
    entered: Option<Entered>,
    slot: OwnedSemaphorePermit,
}

pub(super) async fn serve(
    shared: &Arc<Shared>,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    shutdown: CancellationToken,
) {
    let settings = &shared.settings;
    let (public, scheme) = match &tls {
        None => (settings.public_port, settings.scheme),
        Some(_) => (settings.public_tls_port, "https"),
    };
    let port = public.or_else(|| Some(listener.local_addr().ok()?.port())).unwrap_or(80);
    let tasks = TaskTracker::new();
    let cut = CancellationToken::new();
    let slots = Arc::new(Semaphore::new(settings.max_connections));
    let mut sent = shared.sent.clone();
    sent.mark_changed();
    let mut has_sender = true;
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = shared.leaving.cancelled() => break,
            changed = sent.changed(), if has_sender => {
                has_sender = changed.is_ok();
                let table = sent.borrow_and_update().clone();
                shared.current.store(table);
                continue;
            }
            _ = sweep.tick() => {
                shared.sweep();
                continue;
            }
            accepted = accept(&listener, &slots) => accepted,
        };
        let (stream, address, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(fault) if is_of_one_connection(&fault) => continue,
            Err(fault) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(error = %fault, "the proxy cannot accept connections and keeps trying");
                }
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        if std::mem::take(&mut failing) {
            tracing::info!("the proxy accepts connections again");
        }
        let is_balancer = settings.balancers.iter().any(|network| network.contains(&address));
        // Whose connection a balancer brings is known later.
        let entered = if is_balancer { None } else { Entered::into(shared, address) };
        if !is_balancer && entered.is_none() {
            continue;
        }
        let arrival = Arrival { stream, shared: Arc::clone(shared), port, scheme, entered, slot };
        tasks.spawn(arrival.talk(tls.clone(), tasks.clone(), cut.clone(), shutdown.child_token()));
    }
    drop(listener);
    tasks.close();
    tokio::select! {
        () = tasks.wait() => return,
        () = shutdown.cancelled() => {}
    }
    if tokio::time::timeout(settings.drain, tasks.wait()).await.is_err() {
        tracing::warn!(open = tasks.len(), "connections are cut: they did not end within the time to drain");
        cut.cancel();
        tasks.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((stream, address.ip().to_canonical(), slot))
}

fn is_of_one_connection(fault: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(fault.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

impl Arrival {
    async fn talk(
        self,
        tls: Option<Arc<ServerConfig>>,
        tasks: TaskTracker,
        cut: CancellationToken,
        shutdown: CancellationToken,
    ) {
        let Self { stream, shared, port, scheme, entered, slot } = self;
        let _ = stream.set_nodelay(true);
        let spoke = Arc::new(AtomicBool::new(false));
        let mut io = ClientIo::new(stream, shared.settings.write_timeout, Arc::clone(&spoke));
        let longest = shared.settings.header_timeout;
        let entered = match entered {
            Some(entered) => entered,
            None => match tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                client = tokio::time::timeout(longest, announced_client(&mut io)) => client,
            } {
                Ok(Some(address)) => match Entered::into(&shared, address) {
                    Some(entered) => entered,
                    None => return,
                },
                _ => return,
            },
        };
        let caller = Caller::new(entered.address, port, scheme);
        let connection = Arc::new(Connection {
            shared,
            caller,
            tasks,
            cut,
            entered,
            secure: tls.is_some(),
            name: OnceLock::new(),
            _slot: slot,
        });
        match tls {
            Some(tls) => safely(io, tls, connection, &spoke, shutdown).await,
            None => {
                let version = tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    version = tokio::time::timeout(longest, io.look(opening::speaks_http_2)) => version,
                };
                match version {
                    Ok(Ok(true)) => converse_in_streams(io, connection, shutdown).await,
                    Ok(Ok(false)) => converse(io, connection, &spoke, shutdown).await,
                    Ok(Err(_)) | Err(_) => {}
                }
            }
        }
    }
}

/// Whose connection it is that a balancer brings, which comes before everything else on it.
async fn announced_client(io: &mut ClientIo) -> Option<IpAddr> {
    match io.look(opening::announced).await.ok()? {
        Ok(found) => {
            io.skip(found.length);
            found.client.or_else(|| io.peer())
        }
        Err(fault) => {
            tracing::warn!(client.address = ?io.peer(), error = %fault, "a load balancer does not say who its client is");
            None
        }
    }
}

async fn safely(
    io: ClientIo,
    tls: Arc<ServerConfig>,
    connection: Arc<Connection>,
    spoke: &AtomicBool,
    shutdown: CancellationToken,
) {
    let settings = &connection.shared.settings;
    let accepted = tokio::select! {
        biased;
        () = shutdown.cancelled() => return,
        accepted = tokio::time::timeout(settings.header_timeout, TlsAcceptor::from(tls).accept(io)) => accepted,
    };
    let mut stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return tracing::debug!(client.address = %connection.entered.address, %error, "no TLS with a client");
        }
        Err(_) => return,
    };
    let session = stream.get_ref().1;
    if let Some(name) = session.server_name() {
        let _ = connection.name.set(name.to_ascii_lowercase().into());
    }
    match session.alpn_protocol() {
        Some(tls::HTTP_2) => converse_in_streams(stream, connection, shutdown).await,
        // Its certificate was all that was asked for.
        Some(tls::CHALLENGE) => {
            let _ = tokio::time::timeout(settings.write_timeout, stream.shutdown()).await;
        }
        _ => converse(stream, connection, spoke, shutdown).await,
    }
}

/// HTTP/1.1.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: Arc<Connection>,
    spoke: &AtomicBool,
    shutdown: CancellationToken,
) {
    let settings = &connection.shared.settings;
    let service = service_fn(|request| {
        let connection = Arc::clone(&connection);
        async move {
            let mut answer = forward::handle(Arc::clone(&connection), request).await;
            // A tunnel is no request that another could follow.
            if connection.shared.leaving.is_cancelled() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_header_size(settings.max_head_bytes)
        .max_buf_size(settings.max_head_bytes.max(64 << 10))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut http = pin!(http);
    tokio::select! {
        biased;
        _ = &mut http => return,
        () = shutdown.cancelled() => {}
    }
    // Nothing was asked yet, so nothing is lost.
    if !spoke.load(Ordering::Relaxed) {
        return;
    }
    http.as_mut().graceful_shutdown();
    tokio::select! {
        _ = &mut http => {}
        () = connection.cut.cancelled() => {}
    }
}

/// HTTP/2.
async fn converse_in_streams(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: Arc<Connection>,
    shutdown: CancellationToken,
) {
    let settings = &connection.shared.settings;
    let service = service_fn(|request| {
        let connection = Arc::clone(&connection);
        async move { Ok::<_, Infallible>(forward::handle(connection, request).await) }
    });
    let http = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .enable_connect_protocol()
        .max_header_list_size(u32::try_from(settings.max_head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(settings.header_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut http = pin!(http);
    tokio::select! {
        biased;
        _ = &mut http => return,
        () = shutdown.cancelled() => {}
        () = connection.shared.leaving.cancelled() => {}
    }
    http.as_mut().graceful_shutdown();
    tokio::select! {
        _ = &mut http => {}
        () = connection.cut.cancelled() => {}
    }
}

impl Addresses {
    fn enter(&self, address: IpAddr, most: usize) -> bool {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(network(address)).or_default();
        let enters = *count < most;
        *count += usize::from(enters);
        enters
    }

    fn leave(&self, address: IpAddr) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = open.entry(network(address)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// One household has one IPv4 address or one IPv6 /64.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}
