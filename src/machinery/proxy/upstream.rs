//! One replica: where it listens, how many requests are inside it, which open connections wait for
//! the next one. The connections belong to this object and end with it, so that none is ever
//! reused for another replica that was given the same address.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::link::Link;
use super::meter::{CLASSES, class_of};

/// More idle connections than this are closed.
const MOST_IDLE: usize = 128;
/// An idle connection is not used again after this: servers in the field close theirs from 5 s on.
const LONGEST_IDLE: Duration = Duration::from_secs(4);
/// A request that cannot be sent twice takes only a connection so fresh that its end would be known.
const LONGEST_IDLE_UNREPEATABLE: Duration = Duration::from_secs(1);
/// An upstream that refused is asked again after this, or earlier when there is no other.
const AVOIDED: Duration = Duration::from_secs(2);

/// Boxed, because a link is large and goes in and out with every request.
type Idle = Vec<Box<Link>>;

pub struct Upstream {
    address: SocketAddr,
    replica: String,
    in_flight: AtomicUsize,
    entered: AtomicU64,
    failures: AtomicU64,
    answered: AtomicU64,
    server_errors: AtomicU64,
    latency: [AtomicU64; CLASSES],
    avoid_until: Mutex<Option<Instant>>,
    /// Kept beside `avoid_until` so that the usual case takes no lock.
    avoided: AtomicBool,
    retired: AtomicBool,
    left: Notify,
    idle: Mutex<Idle>,
}

/// One request inside an upstream, until dropped.
pub struct Pass(Arc<Upstream>);

impl Upstream {
    /// `replica` names the container or task behind the address; the two together are its identity.
    pub fn new(address: SocketAddr, replica: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            address,
            replica: replica.into(),
            in_flight: AtomicUsize::new(0),
            entered: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            server_errors: AtomicU64::new(0),
            latency: Default::default(),
            avoid_until: Mutex::new(None),
            avoided: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            left: Notify::new(),
            idle: Mutex::new(Vec::new()),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn replica(&self) -> &str {
        &self.replica
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
        if status >= 500 {
            self.server_errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// No request enters from now on, whichever table it holds; those inside go on. To be called
    /// after a table without it was sent.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.idle().clear();
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
        self.entered.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let pass = Pass(Arc::clone(self));
        // Either this sees `retired`, or whoever retired sees the request counted.
        (!self.is_retired()).then_some(pass)
    }

    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        *self.avoid_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + AVOIDED);
        self.avoided.store(true, Ordering::Release);
    }

    pub(super) fn is_avoided(&self) -> bool {
        if !self.avoided.load(Ordering::Acquire) {
            return false;
        }
        let mut until = self.avoid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let still = until.is_some_and(|until| Instant::now() < until);
        if !still {
            *until = None;
            self.avoided.store(false, Ordering::Release);
        }
        still
    }

    /// The connection used last, if it still lives.
    pub(super) fn take_idle(&self, repeatable: bool) -> Option<Box<Link>> {
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
        if idle.len() < MOST_IDLE && !self.is_retired() {
            idle.push(link);
        }
    }

    /// Closes connections that nobody will use again.
    pub(super) fn sweep(&self) {
        self.idle().retain_mut(|link| link.idle_for() <= LONGEST_IDLE && link.is_usable());
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
        &self.0
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.is_retired() {
            self.0.left.notify_waiters();
        }
    }
}
