//! The accept loop: bounded, deaf to passing faults of the system, ended by draining.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::headers::Caller;
use super::io::ClientIo;
use super::{Shared, forward};

const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// The pause after an accept that failed for want of descriptors or memory.
const BREATH: Duration = Duration::from_millis(50);

/// Open connections by address.
#[derive(Default)]
pub(super) struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// One client connection; alive until its last tunnel has ended.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) caller: Caller,
    tasks: TaskTracker,
    cut: CancellationToken,
    address: IpAddr,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    /// Cancelled when the time to drain is over.
    pub(super) fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// A task that outlives the connection's own and is waited for at shutdown.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.addresses.leave(self.address);
    }
}

pub(super) async fn serve(shared: &Arc<Shared>, listener: TcpListener, shutdown: CancellationToken) {
    let settings = &shared.settings;
    let port = settings.public_port.or_else(|| Some(listener.local_addr().ok()?.port())).unwrap_or(80);
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
        if !shared.addresses.enter(address, settings.max_connections_per_address) {
            tracing::debug!(client.address = %address, "too many connections from one address");
            continue;
        }
        let connection = Arc::new(Connection {
            shared: Arc::clone(shared),
            caller: Caller::new(address, port, settings.scheme),
            tasks: tasks.clone(),
            cut: cut.clone(),
            address,
            _slot: slot,
        });
        tasks.spawn(talk(stream, connection, shutdown.child_token()));
    }
    drop(listener);
    tasks.close();
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

async fn talk(stream: TcpStream, connection: Arc<Connection>, shutdown: CancellationToken) {
    let settings = &connection.shared.settings;
    let _ = stream.set_nodelay(true);
    let spoke = Arc::new(AtomicBool::new(false));
    let io = TokioIo::new(ClientIo::new(stream, settings.write_timeout, Arc::clone(&spoke)));
    let service = service_fn(|request| {
        let connection = Arc::clone(&connection);
        async move { Ok::<_, Infallible>(forward::handle(connection, request).await) }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_header_size(settings.max_head_bytes)
        .max_buf_size(settings.max_head_bytes.max(64 << 10))
        .serve_connection(io, service)
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
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}
