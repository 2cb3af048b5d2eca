//! Which upstream takes a request. First the group: by a number that the request has drawn once, or brought along, so that it stays in
//! its group whatever is tried again. Within the group: of two chosen at random the one with fewer requests inside,
//! where one that is young or slow beside the other counts as fuller than it is.

use std::sync::Arc;

use super::Target;
use super::standing::Moment;
use super::upstream::{Pass, Upstream};

/// What says which group a request is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lot {
    /// 0 to 99.
    Drawn(u8),
    /// The canary, however small.
    New,
    Old,
}

impl Lot {
    pub(super) fn draw() -> Self {
        Self::Drawn(rand::random_range(0..100))
    }

    fn groups(self, target: &Target) -> (&[Arc<Upstream>], &[Arc<Upstream>]) {
        match (self, &target.canary) {
            (Self::Drawn(number), _) => target.groups(number),
            (Self::New, Some(canary)) => (&canary.upstreams, &target.upstreams),
            (Self::Old, Some(canary)) => (&target.upstreams, &canary.upstreams),
            (_, None) => (&target.upstreams, &[]),
        }
    }
}

/// Where a request would go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) lot: Lot,
    /// The mark of the replica to prefer.
    pub(super) replica: Option<u64>,
    /// But not for the price of another group.
    pub(super) stays: bool,
}

impl Wish {
    /// Which line of the app's it waits in.
    pub(super) fn line(self, target: &Target) -> usize {
        let is_new = match (self.lot, &target.canary) {
            (_, None) | (Lot::Old, _) => false,
            (Lot::New, _) => true,
            (Lot::Drawn(number), Some(canary)) => number < canary.percent,
        };
        usize::from(is_new)
    }
}

/// Why nobody took a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Whoever could take it has as many as it may have.
    Full,
    /// Every upstream has been tried or is retired.
    Nobody,
}

/// The other group is asked only when nobody is left in its own. `most` is what each may have inside.
pub(super) fn pick(target: &Target, wish: Wish, most: Option<usize>, tried: &[Arc<Upstream>]) -> Result<Pass, Refused> {
    let (first, second) = wish.lot.groups(target);
    if let Some(wanted) = wish.replica
        && let Some(upstream) =
            first.iter().chain(second.iter().filter(|_| !wish.stays)).find(|upstream| upstream.mark() == wanted)
        && !tried.iter().any(|tried| Arc::ptr_eq(tried, upstream))
        && !upstream.standing().is_avoided(Moment::now(), upstream.in_flight())
        && let Some(pass) = enter(upstream, most)
    {
        return Ok(pass.of(&target.meter));
    }
    let pass = match within(first, most, tried) {
        Err(Refused::Nobody) => within(second, most, tried),
        decided => decided,
    };
    pass.map(|pass| pass.of(&target.meter))
}

fn within(upstreams: &[Arc<Upstream>], most: Option<usize>, tried: &[Arc<Upstream>]) -> Result<Pass, Refused> {
    loop {
        let chosen = choose(upstreams, most, tried)?;
        // Retired or full between the choice and the entry: choose again, it is no candidate any more.
        if let Some(pass) = enter(chosen, most) {
            return Ok(pass);
        }
    }
}

fn enter(upstream: &Arc<Upstream>, most: Option<usize>) -> Option<Pass> {
    match most {
        None => upstream.enter(),
        Some(most) => upstream.enter_below(most),
    }
}

fn choose<'a>(
    upstreams: &'a [Arc<Upstream>],
    most: Option<usize>,
    tried: &[Arc<Upstream>],
) -> Result<&'a Arc<Upstream>, Refused> {
    let possible = |u: &&Arc<Upstream>| !u.is_retired() && !tried.iter().any(|t| Arc::ptr_eq(t, u));
    let has_room = |u: &&Arc<Upstream>| most.is_none_or(|most| u.in_flight() < most);
    if let [only] = upstreams {
        return match (possible(&only), has_room(&only)) {
            (false, _) => Err(Refused::Nobody),
            (true, false) => Err(Refused::Full),
            (true, true) => Ok(only),
        };
    }
    if upstreams.is_empty() {
        return Err(Refused::Nobody);
    }
    let random = rand::random::<u64>();
    let first = random as u32 as usize % upstreams.len();
    let second = (first + 1 + (random >> 32) as usize % (upstreams.len() - 1)) % upstreams.len();
    let now = Moment::now();
    let sound = |u: &&Arc<Upstream>| possible(u) && !u.standing().is_avoided(now, u.in_flight());
    let good = |u: &&Arc<Upstream>| sound(u) && has_room(u);
    let (one, other) = (&upstreams[first], &upstreams[second]);
    match (good(&one), good(&other)) {
        (true, true) => return Ok(if load(one, other, now) <= load(other, one, now) { one } else { other }),
        (true, false) => return Ok(one),
        (false, true) => return Ok(other),
        (false, false) => {}
    }
    if let Some(best) = upstreams.iter().filter(good).min_by_key(|u| u.in_flight()) {
        return Ok(best);
    }
    // Rather wait for a sound one than go to one that refuses.
    if most.is_some() && upstreams.iter().any(|u| sound(&u)) {
        return Err(Refused::Full);
    }
    match upstreams.iter().filter(|u| possible(u) && has_room(u)).min_by_key(|u| u.in_flight()) {
        Some(best) => Ok(best),
        None if upstreams.iter().any(|u| possible(&u)) => Err(Refused::Full),
        None => Err(Refused::Nobody),
    }
}

/// Of the first, as it is compared with the second.
fn load(of: &Upstream, beside: &Upstream, now: Moment) -> f32 {
    (of.in_flight() + 1) as f32 / of.standing().part_beside(beside.standing(), now)
}
