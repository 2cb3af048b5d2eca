//! Which upstream takes a request. First the group: by a number that the request has drawn once, so that it stays in its
//! group whatever is tried again. Within the group: of two chosen at random the one with fewer requests inside.

use std::sync::Arc;

use super::Target;
use super::upstream::{Pass, Upstream};

/// What a request has drawn: 0 to 99.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lot(u8);

impl Lot {
    pub(super) fn draw() -> Self {
        Self(rand::random_range(0..100))
    }
}

/// `None` when every upstream is in `tried` or retired. The other group is asked only when nobody is left in its own.
pub(super) fn pick(target: &Target, lot: Lot, tried: &[Arc<Upstream>]) -> Option<Pass> {
    let (first, second) = target.groups(lot.0);
    within(first, tried).or_else(|| within(second, tried))
}

fn within(upstreams: &[Arc<Upstream>], tried: &[Arc<Upstream>]) -> Option<Pass> {
    loop {
        let chosen = choose(upstreams, tried)?;
        // Retired between the choice and the entry: choose again, it is no candidate any more.
        if let Some(pass) = chosen.enter() {
            return Some(pass);
        }
    }
}

fn choose<'a>(upstreams: &'a [Arc<Upstream>], tried: &[Arc<Upstream>]) -> Option<&'a Arc<Upstream>> {
    let possible = |u: &&Arc<Upstream>| !u.is_retired() && !tried.iter().any(|t| Arc::ptr_eq(t, u));
    if let [only] = upstreams {
        return possible(&only).then_some(only);
    }
    if upstreams.is_empty() {
        return None;
    }
    let random = rand::random::<u64>();
    let first = random as u32 as usize % upstreams.len();
    let second = (first + 1 + (random >> 32) as usize % (upstreams.len() - 1)) % upstreams.len();
    let good = |u: &&Arc<Upstream>| possible(u) && !u.is_avoided();
    let pair = [&upstreams[first], &upstreams[second]];
    pair.into_iter()
        .filter(good)
        .min_by_key(|u| u.in_flight())
        .or_else(|| upstreams.iter().filter(good).min_by_key(|u| u.in_flight()))
        .or_else(|| upstreams.iter().filter(possible).min_by_key(|u| u.in_flight()))
}
