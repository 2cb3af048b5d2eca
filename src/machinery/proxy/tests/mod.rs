//! The proxy between real sockets: backends and clients here are TCP, most of them byte for byte.

mod access;
mod balance;
mod bounds;
mod compression;
mod drain;
mod opening;
mod private;
mod queue;
mod routing;
mod rules;
mod saved;
mod secure;
mod seen;
mod smuggling;
mod sockets;
mod streaming;
mod streams;
mod tls;
mod visitors;
mod wire;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;

/// Nothing here takes this long unless it hangs.
const HANG: Duration = Duration::from_secs(20);

pub(super) struct Bench {
    pub(super) address: SocketAddr,
    pub(super) table: watch::Sender<Arc<RouteTable>>,
    pub(super) shutdown: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) proxy: Proxy,
}

impl Bench {
    pub(super) async fn start(table: RouteTable, settings: ProxySettings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("has an address");
        let (sender, receiver) = watch::channel(Arc::new(table));
        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        let proxy = Proxy::new(receiver, settings);
        let (token, serving) = (shutdown.clone(), proxy.clone());
        tasks.spawn(async move { serving.serve(listener, token).await });
        Self { address, table: sender, shutdown, tasks, proxy }
    }

    /// One app `shop.test` on these upstreams.
    pub(super) async fn shop(upstreams: Vec<Arc<Upstream>>) -> Self {
        Self::start(table(TargetState::Live, upstreams), quick()).await
    }

    pub(super) fn publish(&self, table: RouteTable) {
        self.table.send_replace(Arc::new(table));
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connects to the proxy")
    }

    /// Sends `text` and reads until the proxy closes.
    pub(super) async fn raw(&self, text: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_ref()).await.expect("writes");
        rest(&mut stream).await
    }

    pub(super) async fn get(&self, host: &str) -> String {
        self.raw(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
    }
}

pub(super) fn quick() -> ProxySettings {
    ProxySettings { hold: Duration::from_secs(5), drain: Duration::from_secs(5), ..ProxySettings::default() }
}

pub(super) fn host<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a host")
}

/// The app `shop`, with nothing set for it.
pub(super) fn plain(state: TargetState, upstreams: Vec<Arc<Upstream>>) -> Target {
    Target {
        app: "shop".into(),
        upstreams,
        canary: None,
        state,
        bell: Arc::default(),
        meter: Arc::new(Meter::new("env-shop")),
        rules: None,
        https: Default::default(),
    }
}

pub(super) fn target(state: TargetState, upstreams: Vec<Arc<Upstream>>) -> Arc<Target> {
    Arc::new(plain(state, upstreams))
}

pub(super) fn table(state: TargetState, upstreams: Vec<Arc<Upstream>>) -> RouteTable {
    RouteTable::new(None, [(host("shop.test"), target(state, upstreams))])
}

pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, what).await.expect("does not hang")
}

/// Until a condition that only other tasks bring about holds.
pub(super) async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Everything until the other side closes or resets.
pub(super) async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let _ = soon(stream.read_to_end(&mut text)).await;
    String::from_utf8_lossy(&text).into_owned()
}

/// Until `end` has arrived; everything read so far.
pub(super) async fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    soon(async {
        while !text.windows(end.len()).any(|w| w == end.as_bytes()) {
            if stream.read_buf(&mut text).await.expect("reads") == 0 {
                panic!("closed before {end:?}: {}", String::from_utf8_lossy(&text));
            }
        }
    })
    .await;
    String::from_utf8_lossy(&text).into_owned()
}

pub(super) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status in {answer:?}"))
}

pub(super) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a head").1
}

/// A field of the head in `text`, lines in lower case.
pub(super) fn field(text: &str, name: &str) -> Option<String> {
    let head = text.split("\r\n\r\n").next()?;
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// A backend that runs `talk` on each connection it is given.
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    /// Heads of the requests seen, if `talk` records them.
    pub(super) seen: Arc<Mutex<Vec<String>>>,
    pub(super) opened: Arc<std::sync::atomic::AtomicUsize>,
    stop: CancellationToken,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Backend {
    pub(super) async fn start<F>(talk: impl Fn(TcpStream, Arc<Mutex<Vec<String>>>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("has an address");
        let (seen, opened, stop, tasks) = (
            Arc::default(),
            Arc::<std::sync::atomic::AtomicUsize>::default(),
            CancellationToken::new(),
            TaskTracker::new(),
        );
        let (heads, count, token, inner) = (Arc::clone(&seen), Arc::clone(&opened), stop.clone(), tasks.clone());
        tasks.spawn(async move {
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.expect("accepts"),
                    () = token.cancelled() => return,
                };
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let (talk, token) = (talk(stream, Arc::clone(&heads)), token.clone());
                inner.spawn(async move {
                    tokio::select! {
                        () = talk => {}
                        () = token.cancelled() => {}
                    }
                });
            }
        });
        Self { address, seen, opened, stop }
    }

    /// Answers every request, keeps connections, records heads and bodies of known length.
    pub(super) async fn answering(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::start(move |mut stream, seen| {
            let answer = answer.clone();
            async move {
                while let Some(request) = request(&mut stream).await {
                    seen.lock().expect("no panic").push(request);
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    pub(super) async fn saying(text: &str) -> Self {
        Self::answering(ok(text)).await
    }

    pub(super) fn upstream(&self) -> Arc<Upstream> {
        Upstream::new(self.address, "replica")
    }

    pub(super) fn last(&self) -> String {
        self.seen.lock().expect("no panic").last().cloned().expect("a request was seen")
    }

    pub(super) fn requests(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }

    pub(super) fn connections(&self) -> usize {
        self.opened.load(std::sync::atomic::Ordering::SeqCst)
    }
}

pub(super) fn ok(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}

/// Head and body of one request; `None` at the end of the connection.
pub(super) async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    let end = loop {
        if let Some(at) = text.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut text).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&text[..end]).into_owned();
    let length: usize = field(&head, "content-length").map_or(0, |n| n.parse().expect("a length"));
    let chunked = field(&head, "transfer-encoding").is_some();
    while text.len() < end + length || (chunked && !text.ends_with(b"0\r\n\r\n")) {
        if stream.read_buf(&mut text).await.ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Of a check at `/up`.
pub(super) async fn status_of(address: SocketAddr, protocol: crate::base::model::Protocol) -> std::io::Result<u16> {
    soon(super::ask(address, protocol, "/up", HANG)).await
}

/// An address where nobody listens.
pub(super) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.expect("binds").local_addr().expect("has an address")
}
