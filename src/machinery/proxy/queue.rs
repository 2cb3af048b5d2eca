//! Requests of one app that wait because its replicas have as many as they may. First come, first served, in a line for each group
//! that requests are drawn for, so that nobody stands behind who waits for others.
//!
//! Only the first of a line looks: it is told when a request has left a replica, and sees a new table by itself. Who leaves a line, for
//! whatever reason, tells the one behind. So nothing wakes all that wait, and no word is lost.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Of the canary, and of all others.
pub(super) const LINES: usize = 2;

type Lines = [VecDeque<Arc<Notify>>; LINES];

#[derive(Debug, Default)]
pub(super) struct Queue {
    lines: Mutex<Lines>,
    /// Their lengths, for those who only pass by.
    lengths: [AtomicUsize; LINES],
}

/// In a line until dropped.
pub(super) struct Place<'a> {
    queue: &'a Queue,
    line: usize,
    told: Arc<Notify>,
}

impl Queue {
    /// At the end of a line; `None` when `most` wait already. Who had its turn, and went to a replica that refused it, is first `again`.
    pub(super) fn stand(&self, line: usize, most: usize, again: bool) -> Option<Place<'_>> {
        let mut lines = self.lines();
        let told = Arc::new(Notify::new());
        if again {
            lines[line].push_front(Arc::clone(&told));
        } else if lines.iter().map(VecDeque::len).sum::<usize>() < most {
            lines[line].push_back(Arc::clone(&told));
        } else {
            return None;
        }
        self.count(&lines);
        Some(Place { queue: self, line, told })
    }

    pub(super) fn has_line(&self, line: usize) -> bool {
        self.lengths[line].load(Ordering::SeqCst) > 0
    }

    /// To be called after a request has left a replica.
    pub(super) fn freed(&self) {
        if (0..LINES).any(|line| self.has_line(line)) {
            self.lines().iter().filter_map(VecDeque::front).for_each(|first| first.notify_one());
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lengths.iter().map(|length| length.load(Ordering::SeqCst)).sum()
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, lines: &Lines) {
        lines.iter().zip(&self.lengths).for_each(|(line, length)| length.store(line.len(), Ordering::SeqCst));
    }
}

impl Place<'_> {
    pub(super) fn is_first(&self) -> bool {
        self.queue.lines()[self.line].front().is_some_and(|first| Arc::ptr_eq(first, &self.told))
    }

    /// Until it is worth looking again.
    pub(super) async fn told(&self) {
        self.told.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lines = self.queue.lines();
        let line = &mut lines[self.line];
        let Some(at) = line.iter().position(|told| Arc::ptr_eq(told, &self.told)) else { return };
        line.remove(at);
        // Room for one more may be there, or the word that there is was this one's.
        if at == 0
            && let Some(first) = line.front()
        {
            first.notify_one();
        }
        self.queue.count(&lines);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_told(place: &Place<'_>) -> bool {
        let mut told = pin!(place.told());
        matches!(told.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()))
    }

    #[test]
    fn the_first_of_each_line_is_told_and_who_leaves_tells_the_next() {
        let queue = Queue::default();
        queue.freed();
        let [a, b, c] = [0, 0, 1].map(|line| queue.stand(line, 4, false).expect("a place"));
        assert!(!is_told(&a), "nothing was freed since it came");
        assert!(a.is_first() && !b.is_first() && c.is_first());
        queue.freed();
        assert!(is_told(&a) && !is_told(&b) && is_told(&c));
        // Told, and gone before it could look: the word is the next one's.
        queue.freed();
        drop(a);
        assert!(b.is_first() && is_told(&b) && !is_told(&b));
        let d = queue.stand(0, 4, false).expect("a place");
        let e = queue.stand(0, 4, false).expect("a place");
        assert!(queue.stand(1, 4, false).is_none(), "four wait already");
        let again = queue.stand(0, 4, true).expect("a place");
        assert!(again.is_first() && !b.is_first());
        drop(again);
        assert!(b.is_first() && is_told(&b));
        drop(d);
        assert!(!is_told(&b) && !is_told(&e), "from the middle nobody is told");
        drop(b);
        assert!(is_told(&e) && queue.has_line(0));
        drop((c, e));
        assert_eq!((queue.waiting(), queue.has_line(0), queue.has_line(1)), (0, false, false));
        assert!(queue.stand(0, 0, false).is_none());
    }
}
