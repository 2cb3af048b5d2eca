//! The data plane: HTTP/1.1 and anything upgraded from it, from a `Host` to one replica of an app.
//!
//! - The route table arrives by a watch channel and is never changed in place; whoever sends it is
//!   unknown here, so the same code runs on another node.
//! - A request enters an [`Upstream`] before it is sent there and leaves when its last byte has
//!   passed, tunnels included. After [`Upstream::retire`] none enters, so `in_flight() == 0` then
//!   means that the replica can be stopped without a lost request.
//! - The host of the API is looked up first: no route can shadow it.
//! - Bodies stream both ways at the pace of the slower side; nothing is buffered whole.
//! - What a client says about itself (`X-Forwarded-*`, `Forwarded`) is replaced, not believed.
//!
//! - Counters and access lines never hold a request up: see `meter`.
//!
//! Left to others: which replicas there are and when they are ready, TLS, HTTP/2, keeping lines and counts.

mod balance;
mod body;
mod forward;
mod headers;
mod host;
mod io;
mod link;
mod listen;
mod log;
mod meter;
mod pages;
mod saved;
mod table;
mod tunnel;
mod upstream;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use meter::{Access, AccessBook, Meter, Reading};
pub use saved::{TableError, load, save};
pub use table::{Bell, Portion, RouteTable, Target, TargetState};
#[cfg(test)]
pub use upstream::Pass;
pub use upstream::Upstream;

/// Bounds of the data plane. Every wait has one.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// Open client connections; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Open connections of one IPv4 address or one IPv6 /64; further ones are closed at once.
    pub max_connections_per_address: usize,
    /// From the start of waiting for a request to the end of its head: bounds slow heads and idle connections.
    pub header_timeout: Duration,
    /// Request line and header fields together; at most 100 fields are taken.
    pub max_head_bytes: usize,
    /// Longest wait for the next piece of a request body.
    pub body_timeout: Duration,
    /// Longest time that a client may take no byte while there is one for it.
    pub write_timeout: Duration,
    /// Longest time without progress between the sending of a request and the head of its answer.
    pub first_byte_timeout: Duration,
    pub connect_timeout: Duration,
    /// How long a request waits for an app that is starting.
    pub hold: Duration,
    /// How long requests and tunnels may go on after the shutdown token.
    pub drain: Duration,
    /// `X-Forwarded-Proto`.
    pub scheme: &'static str,
    /// Where requests of apps leave a line; none: nowhere.
    pub access: Option<Arc<AccessBook>>,
    /// `X-Forwarded-Port`; none means the port of the listener.
    pub public_port: Option<u16>,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_address: 1_000,
            header_timeout: Duration::from_secs(30),
            max_head_bytes: 32 << 10,
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            first_byte_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            hold: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            scheme: "http",
            access: None,
            public_port: None,
        }
    }
}

/// Cheap to clone; all clones are one proxy with the same table and bounds.
#[derive(Clone)]
pub struct Proxy(Arc<Shared>);

struct Shared {
    settings: ProxySettings,
    /// The table as it was sent; what `current` has not caught up with yet is read here.
    sent: watch::Receiver<Arc<RouteTable>>,
    /// The same table without a lock, for the path of every request.
    current: ArcSwap<RouteTable>,
    api: Mutex<Option<Arc<Target>>>,
    addresses: listen::Addresses,
}

impl Proxy {
    pub fn new(routes: watch::Receiver<Arc<RouteTable>>, settings: ProxySettings) -> Self {
        let current = ArcSwap::new(routes.borrow().clone());
        let addresses = listen::Addresses::default();
        Self(Arc::new(Shared { settings, sent: routes, current, api: Mutex::new(None), addresses }))
    }

    /// Accepts until the token is cancelled, then ends what is idle at once, lets requests and
    /// tunnels finish within `settings.drain`, cuts the rest and returns.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) {
        listen::serve(&self.0, listener, shutdown).await;
    }
}

#[cfg(test)]
mod tests;
