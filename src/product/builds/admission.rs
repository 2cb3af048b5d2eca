//! Which builds run now, and which wait until there is room: as many at once as the configuration says, and beside the first
//! one only as many as would find their memory if all of them used what they may. Organizations take turns: the next one is of
//! the organization that has the fewest at work; among those, of the one whose last turn is longest ago; and of its own the one
//! that waits longest. Who waits is told how many are before it.
//!
//! A seat belongs to an app and is kept between the steps of its build. Nothing here survives a restart, nor needs to: jobs do,
//! and ask again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::base::model::{AppId, OrganizationId};

/// How long a seat is kept for the next step of its build.
const KEPT: Duration = Duration::from_secs(5);
/// Memory is given back without a word.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Admission {
    at_once: usize,
    /// What one build may use.
    memory_bytes: u64,
    /// Bytes of memory that could be had now; none where nobody can tell.
    free: fn() -> Option<u64>,
    /// `LOOK` and `KEPT`.
    pace: (Duration, Duration),
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    seats: BTreeMap<AppId, Seat>,
    line: Vec<Waiting>,
    last: u64,
    turns: Turns,
}

/// The number of each organization's last turn.
#[derive(Default, Clone)]
struct Turns {
    last: u64,
    of: BTreeMap<OrganizationId, u64>,
}

impl Turns {
    fn take(&mut self, organization: &OrganizationId) {
        self.last += 1;
        self.of.insert(organization.clone(), self.last);
    }
}

struct Seat {
    organization: OrganizationId,
    /// Of one that nobody has in hand.
    until: Option<Instant>,
}

struct Waiting {
    number: u64,
    app: AppId,
    organization: OrganizationId,
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// So many builds will begin before this one.
    Line { before: usize },
    /// This one is next.
    Seat,
    /// This one is next, and so many bytes are free.
    Memory { free: u64, needed: u64 },
}

impl Wait {
    /// Whether it is worth telling after `other`: free memory changes all the time.
    pub fn is_news_after(self, other: Option<Self>) -> bool {
        match (self, other) {
            (Self::Memory { .. }, Some(Self::Memory { .. })) => false,
            (now, before) => Some(now) != before,
        }
    }
}

/// A seat in hand. Dropping it gives the seat to others.
pub struct Turn {
    admission: Arc<Admission>,
    app: AppId,
    keeps: bool,
}

impl Turn {
    /// For the next step of the same build, which comes in a moment.
    pub fn keep(mut self) {
        self.keeps = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        if self.keeps {
            let until = Some(Instant::now() + self.admission.pace.1);
            if let Some(seat) = state.seats.get_mut(&self.app) {
                seat.until = until;
            }
        } else {
            state.seats.remove(&self.app);
        }
        drop(state);
        self.admission.changed.notify_waiters();
    }
}

/// A place in the line; leaving it early lets others move up.
struct InLine<'a> {
    admission: &'a Admission,
    number: u64,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.admission.lock().line.retain(|waiting| waiting.number != self.number);
        self.admission.changed.notify_waiters();
    }
}

impl Admission {
    pub fn new(at_once: usize, memory_bytes: u64, free: fn() -> Option<u64>) -> Self {
        let (state, changed) = (Mutex::default(), Notify::new());
        Self { at_once: at_once.max(1), memory_bytes, free, pace: (LOOK, KEPT), state, changed }
    }

    pub fn at_once(&self) -> usize {
        self.at_once
    }

    /// Waits for a seat; `tell` hears what it waits for, whenever that changes. One build of an app asks at a time.
    pub async fn enter(
        self: &Arc<Self>,
        app: &AppId,
        organization: &OrganizationId,
        mut tell: impl FnMut(Wait) + Send,
    ) -> Turn {
        let number = {
            let mut state = self.lock();
            state.last += 1;
            let number = state.last;
            state.line.push(Waiting { number, app: app.clone(), organization: organization.clone() });
            number
        };
        let in_line = InLine { admission: self, number };
        self.changed.notify_waiters();
        let mut told = None;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let wait = match self.look(number, app) {
                Ok(()) => break,
                Err(wait) => wait,
            };
            if wait.is_news_after(told) {
                told = Some(wait);
                tell(wait);
            }
            let _ = tokio::time::timeout(self.pace.0, changed).await;
        }
        drop(in_line);
        Turn { admission: Arc::clone(self), app: app.clone(), keeps: false }
    }

    /// Takes a seat if it can be.
    fn look(&self, number: u64, app: &AppId) -> Result<(), Wait> {
        let mut state = self.lock();
        let now = Instant::now();
        state.seats.retain(|_, seat| seat.until.is_none_or(|until| until > now));
        if let Some(seat) = state.seats.get_mut(app) {
            seat.until = None;
            return Ok(());
        }
        let before = state.order().iter().position(|of| *of == number).unwrap_or(0);
        if before > 0 {
            return Err(Wait::Line { before });
        }
        if state.seats.len() >= self.at_once {
            return Err(Wait::Seat);
        }
        if !state.seats.is_empty()
            && let Some(free) = (self.free)()
        {
            let needed = self.memory_bytes.saturating_mul(state.seats.len() as u64 + 1);
            if free < needed {
                return Err(Wait::Memory { free, needed });
            }
        }
        let Some(at) = state.line.iter().position(|waiting| waiting.number == number) else { return Ok(()) };
        let organization = state.line.remove(at).organization;
        state.turns.take(&organization);
        state.seats.insert(app.clone(), Seat { organization, until: None });
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Numbers of those who wait, as they would be let in. Who has a seat already only comes back to it.
    fn order(&self) -> Vec<u64> {
        let mut turns = self.turns.clone();
        let mut at_work: BTreeMap<&OrganizationId, usize> = BTreeMap::new();
        for seat in self.seats.values() {
            *at_work.entry(&seat.organization).or_default() += 1;
        }
        let mut left: Vec<&Waiting> = self.line.iter().filter(|w| !self.seats.contains_key(&w.app)).collect();
        let mut order = Vec::new();
        let rank = |waiting: &Waiting, at_work: &BTreeMap<&OrganizationId, usize>, turns: &Turns| {
            let of = &waiting.organization;
            let (at_work, turn) = (at_work.get(of).copied(), turns.of.get(of).copied());
            (at_work.unwrap_or_default(), turn.unwrap_or_default(), waiting.number)
        };
        while let Some((at, _)) = left.iter().enumerate().min_by_key(|(_, waiting)| rank(waiting, &at_work, &turns)) {
            let waiting = left.remove(at);
            *at_work.entry(&waiting.organization).or_default() += 1;
            turns.take(&waiting.organization);
            order.push(waiting.number);
        }
        order
    }
}

pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// `MemAvailable` of proc(5).
pub(super) fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::base::model::Id;

    const NEED: u64 = 100;

    fn plenty() -> Option<u64> {
        Some(u64::MAX)
    }

    fn admission(at_once: usize, free: fn() -> Option<u64>) -> Arc<Admission> {
        let quick = (Duration::from_millis(5), Duration::from_millis(50));
        Arc::new(Admission { pace: quick, ..Admission::new(at_once, NEED, free) })
    }

    /// Lets all that can run do so.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    type Said = Arc<Mutex<Vec<Wait>>>;

    fn ask(
        admission: &Arc<Admission>,
        tasks: &mut tokio::task::JoinSet<(usize, Turn)>,
        who: usize,
        organization: &OrganizationId,
    ) -> Said {
        let (admission, organization, said) = (Arc::clone(admission), organization.clone(), Said::default());
        let to = Arc::clone(&said);
        tasks.spawn(async move {
            let app = AppId::fresh();
            let turn = admission.enter(&app, &organization, |wait| to.lock().unwrap().push(wait)).await;
            (who, turn)
        });
        said
    }

    #[tokio::test]
    async fn an_organization_with_many_does_not_keep_another_waiting() {
        let admission = admission(1, plenty);
        let (greedy, modest) = (OrganizationId::fresh(), OrganizationId::fresh());
        let mut tasks = tokio::task::JoinSet::new();
        let mut said = Vec::new();
        for who in 0..4 {
            said.push(ask(&admission, &mut tasks, who, &greedy));
            settle().await;
        }
        said.push(ask(&admission, &mut tasks, 4, &modest));
        settle().await;
        let last = |who: usize| said[who].lock().unwrap().last().copied();
        assert_eq!(last(0), None, "the first one waits for nobody");
        assert_eq!(last(4), Some(Wait::Seat), "next, though it came last");
        assert_eq!(last(1), Some(Wait::Line { before: 1 }));
        assert_eq!(last(3), Some(Wait::Line { before: 3 }));
        let mut order = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            let (who, turn) = ended.unwrap();
            order.push(who);
            drop(turn);
            settle().await;
        }
        assert_eq!(order, [0, 4, 1, 2, 3]);
        let heard = said[3].lock().unwrap().clone();
        assert_eq!(heard.last(), Some(&Wait::Seat), "it moved up: {heard:?}");
    }

    #[tokio::test]
    async fn beside_another_one_a_build_waits_for_memory_and_alone_it_does_not() {
        static FREE: AtomicU64 = AtomicU64::new(NEED);
        let admission = admission(8, || Some(FREE.load(Ordering::SeqCst)));
        let organization = OrganizationId::fresh();
        let first = admission.enter(&AppId::fresh(), &organization, |_| panic!("alone")).await;
        let mut tasks = tokio::task::JoinSet::new();
        let said = ask(&admission, &mut tasks, 1, &organization);
        assert!(tokio::time::timeout(admission.pace.0 * 20, tasks.join_next()).await.is_err(), "it waits");
        assert_eq!(*said.lock().unwrap(), [Wait::Memory { free: NEED, needed: 2 * NEED }], "told once");
        FREE.store(2 * NEED, Ordering::SeqCst);
        let (_, second) = tasks.join_next().await.unwrap().unwrap();
        drop((first, second));
    }

    #[tokio::test]
    async fn a_seat_is_kept_between_two_steps_and_not_for_ever() {
        let admission = admission(1, plenty);
        let (app, organization) = (AppId::fresh(), OrganizationId::fresh());
        let turn = admission.enter(&app, &organization, |_| {}).await;
        let mut tasks = tokio::task::JoinSet::new();
        ask(&admission, &mut tasks, 1, &organization);
        settle().await;
        turn.keep();
        settle().await;
        let turn = admission.enter(&app, &organization, |_| panic!("it is its own")).await;
        turn.keep();
        assert!(tasks.join_next().await.is_some(), "nobody came back to it");
    }

    #[tokio::test]
    async fn who_gives_up_waiting_is_in_nobody_s_way() {
        let admission = admission(1, plenty);
        let organization = OrganizationId::fresh();
        let first = admission.enter(&AppId::fresh(), &organization, |_| {}).await;
        let mut gone = tokio::task::JoinSet::new();
        ask(&admission, &mut gone, 1, &organization);
        settle().await;
        let mut tasks = tokio::task::JoinSet::new();
        let said = ask(&admission, &mut tasks, 2, &organization);
        settle().await;
        assert_eq!(said.lock().unwrap().last(), Some(&Wait::Line { before: 1 }));
        gone.shutdown().await;
        settle().await;
        assert_eq!(said.lock().unwrap().last(), Some(&Wait::Seat));
        drop(first);
        assert!(tasks.join_next().await.is_some());
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(free_memory().is_some_and(|free| free > 1 << 20));
    }
}
