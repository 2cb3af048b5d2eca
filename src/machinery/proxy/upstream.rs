//! One replica: where it listens and what it speaks, how many requests are inside it, which open connections wait for
//! the next one. The connections belong to this object and end with it, so that none is ever
//! reused for another replica that was given the same address.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::http::uri::Scheme;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::channel::{Channel, Lane, keep_alive};
use super::link::Link;
use super::meter::{CLASSES, Meter, class_of};
use super::private;
use super::standing::{Moment, Standing};
use crate::base::model::Protocol;

/// More idle connections than this are closed.
const MOST_IDLE: usize = 128;
/// An idle connection is not used again after this: servers in the field close theirs from 5 s on.
const LONGEST_IDLE: Duration = Duration::from_secs(4);
/// A request that cannot be sent twice takes only a connection so fresh that its end would be known.
const LONGEST_IDLE_UNREPEATABLE: Duration = Duration::from_secs(1);
/// Shared connections at once; further requests wait in one of them.
const MOST_CHANNELS: usize = 8;

/// Boxed, because a link is large and goes in and out with every request.
type Idle = Vec<Box<Link>>;

pub struct Upstream {
    address: SocketAddr,
    /// Place in `Protocol::ALL`.
    protocol: AtomicU8,
    replica: String,
    mark: u64,
    in_flight: AtomicUsize,
    entered: AtomicU64,
    failures: AtomicU64,
    answered: AtomicU64,
    server_errors: AtomicU64,
    latency: [AtomicU64; CLASSES],
    standing: Standing,
    retired: AtomicBool,
    left: Notify,
    idle: Mutex<Idle>,
    channels: Mutex<Vec<Arc<Channel>>>,
    /// Held by who opens a shared connection: whoever else needs one waits for it.
    opening: tokio::sync::Mutex<()>,
    /// Asked for either, it chose HTTP/1.1.
    is_single: AtomicBool,
}

/// What a request wants of its link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// It can be sent twice.
    pub(super) repeatable: bool,
    /// One that waits has just proven dead.
    pub(super) fresh: bool,
    /// It asks for another protocol on the same connection.
    pub(super) switches: bool,
}

/// One request inside an upstream, until dropped.
pub struct Pass {
    upstream: Arc<Upstream>,
    /// Whose requests may wait for this one to leave.
    meter: Option<Arc<Meter>>,
}

impl Upstream {
    /// `replica` names the container or task behind the address; the two together are its identity.
    pub fn new(address: SocketAddr, replica: impl Into<String>) -> Arc<Self> {
        Self::speaking(Protocol::default(), address, replica)
    }

    pub fn speaking(protocol: Protocol, address: SocketAddr, replica: impl Into<String>) -> Arc<Self> {
        let replica = replica.into();
        let digest = Sha256::digest(replica.as_bytes());
        let mark = digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        Arc::new(Self {
            address,
            protocol: AtomicU8::new(protocol as u8),
            replica,
            mark,
            in_flight: AtomicUsize::new(0),
            entered: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            server_errors: AtomicU64::new(0),
            latency: Default::default(),
            standing: Standing::new(Moment::now()),
            retired: AtomicBool::new(false),
            left: Notify::new(),
            idle: Mutex::default(),
            channels: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            is_single: AtomicBool::new(false),
        })
    }

    pub fn protocol(&self) -> Protocol {
        let place = usize::from(self.protocol.load(Ordering::Relaxed));
        Protocol::ALL.get(place).copied().unwrap_or_default()
    }

    /// For requests from now on; those inside go on as they began.
    pub fn speak(&self, protocol: Protocol) {
        if self.protocol.swap(protocol as u8, Ordering::Relaxed) != protocol as u8 {
            self.is_single.store(false, Ordering::Relaxed);
            self.let_go();
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// Stands for the replica where its id is nobody's to know.
    pub(super) fn mark(&self) -> u64 {
        self.mark
    }

    /// Requests and tunnels inside; each counts until the last byte of its answer has passed.
    pub fn in_flight(&self) -> usize {
        fence(Ordering::SeqCst);
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Requests that went in since the start.
    pub fn entered(&self) -> u64 {
        self.entered.load(Ordering::Relaxed)
    }

    /// Connections that were refused, and connections that broke before an answer, since the start.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Requests that it was given, those it never took included, since the start.
    pub fn requests(&self) -> u64 {
        self.answered.load(Ordering::Relaxed) + self.failures()
    }

    /// Of these the ones that it answered with 500 or above, too late, or not at all.
    pub fn faults(&self) -> u64 {
        self.server_errors.load(Ordering::Relaxed) + self.failures()
    }

    /// Those answered, by the time from their sending to the head of the answer; classes as of the meter.
    pub fn latency(&self) -> [u64; CLASSES] {
        self.latency.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// `took` until the head of the answer, or until it was no longer waited for.
    pub fn answered(&self, status: u16, took: Duration) {
        self.latency[class_of(took)].fetch_add(1, Ordering::Relaxed);
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.standing.answered(took);
        if status >= 500 {
            self.server_errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// No request enters from now on, whichever table it holds; those inside go on. To be called
    /// after a table without it was sent.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.let_go();
        self.left.notify_waiters();
    }

    /// Takes `retire` back. To be called before a table with it is sent.
    pub fn admit(&self) {
        self.retired.store(false, Ordering::SeqCst);
    }

    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    /// Retires and waits until nothing is inside. Has no bound of its own.
    pub async fn drained(&self) {
        self.retire();
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            left.await;
        }
    }

    /// `None` when it is retired.
    pub fn enter(self: &Arc<Self>) -> Option<Pass> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        self.counted()
    }

    /// `None` when it is retired, or has `most` inside.
    pub(super) fn enter_below(self: &Arc<Self>, most: usize) -> Option<Pass> {
        let one_more = |inside: usize| (inside < most).then_some(inside + 1);
        self.in_flight.try_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok()?;
        self.counted()
    }

    /// For who is counted in flight.
    fn counted(self: &Arc<Self>) -> Option<Pass> {
        self.entered.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let pass = Pass { upstream: Arc::clone(self), meter: None };
        // Either this sees `retired`, or whoever retired sees the request counted.
        (!self.is_retired()).then_some(pass)
    }

    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.standing.failed(Moment::now());
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// An open connection, or a new one within `longest`.
    pub(super) async fn link(&self, wanted: Wanted, longest: Duration) -> io::Result<Box<Link>> {
        let protocol = self.protocol();
        let shares = match protocol {
            Protocol::Http1 => false,
            Protocol::H2c => true,
            Protocol::Https => !wanted.switches && !self.is_single.load(Ordering::Relaxed),
        };
        if shares && let Some(lane) = self.lane(false) {
            return Ok(lane);
        }
        if protocol != Protocol::H2c
            && !wanted.fresh
            && let Some(link) = self.take_idle(wanted.repeatable)
        {
            return Ok(link);
        }
        let opened = async {
            if !shares {
                return self.open(protocol, false).await;
            }
            let _turn = self.opening.lock().await;
            match self.lane(false) {
                Some(lane) => Ok(lane),
                None if self.channels().len() >= MOST_CHANNELS => {
                    self.lane(true).ok_or(io::ErrorKind::NotConnected.into())
                }
                None => self.open(protocol, true).await,
            }
        };
        tokio::time::timeout(longest, opened).await?
    }

    async fn open(&self, protocol: Protocol, shares: bool) -> io::Result<Box<Link>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        if shares {
            keep_alive(&stream)?;
        }
        match protocol {
            Protocol::Http1 => Link::over(stream, false).await,
            Protocol::H2c => Ok(self.share(Channel::open(stream, Scheme::HTTP).await?)),
            Protocol::Https => {
                let stream = private::connect(stream, self.address, shares).await?;
                if private::speaks_http_2(&stream) {
                    return Ok(self.share(Channel::open(stream, Scheme::HTTPS).await?));
                }
                if shares {
                    self.is_single.store(true, Ordering::Relaxed);
                }
                Link::over(stream, true).await
            }
        }
    }

    fn share(&self, channel: Arc<Channel>) -> Box<Link> {
        let mut channels = self.channels();
        let lane = Box::new(Link::Shared(Lane::squeezed(&channel)));
        if !self.is_retired() && self.shares(channel.is_sealed()) {
            channels.push(channel);
        }
        lane
    }

    /// What it speaks is in shared connections, inside TLS or not.
    fn shares(&self, sealed: bool) -> bool {
        match self.protocol() {
            Protocol::Http1 => false,
            Protocol::H2c => !sealed,
            Protocol::Https => sealed,
        }
    }

    /// In the first connection that has room; `crowded`: else in the one with the fewest requests.
    fn lane(&self, crowded: bool) -> Option<Box<Link>> {
        let mut channels = self.channels();
        channels.retain(|channel| channel.is_open());
        let lane = channels.iter().find_map(Lane::of).or_else(|| {
            let least = channels.iter().min_by_key(|channel| channel.streams()).filter(|_| crowded)?;
            Some(Lane::squeezed(least))
        });
        Some(Box::new(Link::Shared(lane?)))
    }

    /// The connection used last, if it still lives.
    fn take_idle(&self, repeatable: bool) -> Option<Box<Link>> {
        let longest = if repeatable { LONGEST_IDLE } else { LONGEST_IDLE_UNREPEATABLE };
        loop {
            let mut link = self.idle().pop()?;
            if link.idle_for() > longest {
                // Those below are older still.
                if link.idle_for() > LONGEST_IDLE {
                    self.idle().clear();
                }
                return None;
            }
            if link.is_usable() {
                return Some(link);
            }
        }
    }

    pub(super) fn give_back(&self, mut link: Box<Link>) {
        link.rests();
        let mut idle = self.idle();
        // What it speaks may have changed while the request was inside.
        let serves = link.is_own(self.protocol() == Protocol::Https);
        if serves && idle.len() < MOST_IDLE && !self.is_retired() {
            idle.push(link);
        }
    }

    /// Closes connections that nobody will use again.
    pub(super) fn sweep(&self) {
        self.idle().retain_mut(|link| link.idle_for() <= LONGEST_IDLE && link.is_usable());
        self.channels().retain(|channel| channel.is_open() && !channel.is_idle());
    }

    fn let_go(&self) {
        self.idle().clear();
        self.channels().clear();
    }

    fn channels(&self) -> MutexGuard<'_, Vec<Arc<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upstream({} at {}, {} in flight)", self.replica, self.address, self.in_flight())
    }
}

impl Pass {
    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Tells those that wait there when it leaves.
    pub(super) fn of(mut self, meter: &Arc<Meter>) -> Self {
        self.meter = Some(Arc::clone(meter));
        self
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.upstream.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 && self.upstream.is_retired() {
            self.upstream.left.notify_waiters();
        }
        // Who came to wait before this, sees it now; who comes after it, has seen it gone.
        fence(Ordering::SeqCst);
        self.meter.iter().for_each(|meter| meter.queue().freed());
    }
}
