//! What is counted of one app's requests, and the line that each leaves. Counting is a few atomic additions; a line goes
//! into a bounded book that somebody else empties, and is dropped and counted when the book is full.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::queue::Queue;
use crate::base::clock::Timestamp;
use crate::base::model::LATENCY_MILLIS;

pub(super) const CLASSES: usize = LATENCY_MILLIS.len() + 1;

/// Of one environment; outlives tables as upstreams do.
#[derive(Debug)]
pub struct Meter {
    /// What whoever made it knows the environment by; empty for what is nobody's.
    environment: String,
    /// 1xx to 5xx, by hundreds.
    statuses: [AtomicU64; 5],
    latency: [AtomicU64; CLASSES],
    micros: AtomicU64,
    in_flight: AtomicI64,
    budget: Budget,
    queue: Queue,
}

/// Counts since the meter was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    pub statuses: [u64; 5],
    pub latency: [u64; CLASSES],
    pub micros: u64,
    pub in_flight: u64,
}

impl Meter {
    pub fn new(environment: impl Into<String>) -> Self {
        Self {
            environment: environment.into(),
            statuses: Default::default(),
            latency: Default::default(),
            micros: AtomicU64::new(0),
            in_flight: AtomicI64::new(0),
            budget: Budget::default(),
            queue: Queue::default(),
        }
    }

    pub fn environment(&self) -> &str {
        &self.environment
    }

    pub fn read(&self) -> Reading {
        Reading {
            statuses: self.statuses.each_ref().map(|count| count.load(Relaxed)),
            latency: self.latency.each_ref().map(|count| count.load(Relaxed)),
            micros: self.micros.load(Relaxed),
            in_flight: u64::try_from(self.in_flight.load(Relaxed)).unwrap_or(0),
        }
    }

    /// Whether a request that a replica may have begun to work on may be sent to another one as well.
    pub(super) fn may_repeat(&self) -> bool {
        self.budget.take()
    }

    /// Where its requests wait for replicas that are there.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(super) fn begin(&self) {
        self.budget.earn();
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// Takes `begin` back.
    pub(super) fn forget(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    pub(super) fn end(&self, status: u16, took: Duration) {
        self.in_flight.fetch_sub(1, Relaxed);
        let class = usize::from((status / 100).clamp(1, 5) - 1);
        self.statuses[class].fetch_add(1, Relaxed);
        self.latency[class_of(took)].fetch_add(1, Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
}

/// Requests that may be repeated: one for every five that came, and so many more. Without a bound a replica that dies of a
/// request would have it sent to all others, and an app that cannot keep up would get each request several times.
#[derive(Debug)]
struct Budget(AtomicI64);

impl Budget {
    const MOST: i64 = 5_000;
    const ONE: i64 = 5;

    fn earn(&self) {
        if self.0.load(Relaxed) < Self::MOST {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn take(&self) -> bool {
        self.0.try_update(Relaxed, Relaxed, |left| (left >= Self::ONE).then_some(left - Self::ONE)).is_ok()
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicI64::new(Self::MOST))
    }
}

pub(super) fn class_of(took: Duration) -> usize {
    let millis = took.as_millis();
    LATENCY_MILLIS.iter().position(|bound| millis < u128::from(*bound)).unwrap_or(CLASSES - 1)
}

/// One request that was answered for an app.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    pub environment: std::sync::Arc<Meter>,
    pub at: Timestamp,
    pub method: hyper::Method,
    /// Without the query.
    pub path: String,
    pub status: u16,
    pub took: Duration,
    pub client: String,
    pub request_id: String,
    /// Where the app's owner wants a line to say all that is known.
    pub details: Option<Box<Details>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Details {
    pub host: String,
    /// `http` or `https`, as the client came.
    pub scheme: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: String,
    /// Of the answer's body.
    pub bytes: u64,
    /// From the sending of the request to the head of the answer; none: there was no answer.
    pub app_took: Option<Duration>,
    /// Id of who answered; empty: the proxy did.
    pub replica: String,
    pub trace_id: String,
}

impl PartialEq for Meter {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// Lines that wait for who keeps them.
pub struct AccessBook {
    lines: Mutex<Vec<Access>>,
    most: usize,
    dropped: AtomicU64,
    half_full: Notify,
}

impl AccessBook {
    pub fn new(most: usize) -> Self {
        Self { lines: Mutex::default(), most, dropped: AtomicU64::new(0), half_full: Notify::new() }
    }

    /// What has come since the last call, and how many lines did not fit.
    pub fn take(&self) -> (Vec<Access>, u64) {
        let lines = std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        (lines, self.dropped.swap(0, Relaxed))
    }

    /// It is time to call `take`.
    pub async fn half_full(&self) {
        self.half_full.notified().await;
    }

    #[cfg(test)]
    pub(super) fn waits(&self) -> usize {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(super) fn write(&self, line: Access) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= self.most {
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        lines.push(line);
        if lines.len() == self.most / 2 {
            self.half_full.notify_one();
        }
    }
}

impl fmt::Debug for AccessBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessBook(of {} lines)", self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_status_and_latency() {
        let meter = Meter::new("env");
        for (status, millis) in [(200, 1), (204, 5), (404, 70), (503, 99_000), (101, 0), (700, 3)] {
            meter.begin();
            meter.end(status, Duration::from_millis(millis));
        }
        meter.begin();
        let read = meter.read();
        assert_eq!(read.statuses, [1, 2, 0, 1, 2]);
        assert_eq!(read.latency, [3, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((read.in_flight, read.micros), (1, 99_079_000));
    }

    #[test]
    fn one_request_of_five_may_be_repeated_once_the_store_is_used_up() {
        let meter = Meter::new("env");
        assert_eq!((0..2000).filter(|_| meter.may_repeat()).count(), 1000);
        (0..50).for_each(|_| meter.begin());
        assert_eq!((0..50).filter(|_| meter.may_repeat()).count(), 10);
    }

    #[test]
    fn a_full_book_drops_and_counts() {
        let book = AccessBook::new(2);
        let line = Access {
            environment: std::sync::Arc::new(Meter::new("env")),
            at: Timestamp(1),
            method: hyper::Method::GET,
            path: "/".into(),
            status: 200,
            took: Duration::ZERO,
            client: String::new(),
            request_id: String::new(),
            details: None,
        };
        (0..5).for_each(|_| book.write(line.clone()));
        assert_eq!(book.take(), (vec![line.clone(), line], 3));
        assert_eq!(book.take(), (vec![], 0));
    }
}
