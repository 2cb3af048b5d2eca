//! Two rollouts compared by what they answered: is the new one clearly worse than the one it is to replace? Pure.

use super::observed::{Answers, Crashes};
use crate::base::model::LATENCY_MILLIS;

/// A rollout that crashes this often within its window loops.
pub const CRASHES: u32 = 2;
/// Fewer faults than these say nothing.
const LEAST_FAULTS: u64 = 5;
/// The share of faults of the new rollout must be above that of the old one by more than this many in a hundred …
const TOLERATED_PERCENT: u64 = 5;
/// … and above this many times it, in tenths.
const TOLERATED_TENTHS: u64 = 15;
/// The latency of fewer requests, on either side, says nothing: the first ones of a fresh process are slow in any release.
const LEAST_REQUESTS: u64 = 100;
/// So many of a hundred requests are answered within the latency that is compared.
const PERCENTILE: u64 = 95;
/// The new latency must be this many times the old one …
const TOLERATED_TIMES: u64 = 2;
/// … and longer by this much, which people notice.
const TOLERATED_MILLIS: u64 = 100;

pub fn loops(crashes: &Crashes) -> bool {
    crashes.count >= CRASHES
}

/// `new` since it first received requests, `old` as long as it is known.
pub fn is_worse(new: Answers, old: Answers) -> bool {
    if new.faults < LEAST_FAULTS {
        return false;
    }
    // Both shares times both totals, so that nothing is divided.
    let new_share = u128::from(new.faults) * u128::from(old.requests.max(1));
    let old_share = u128::from(old.faults) * u128::from(new.requests.max(1));
    let one = u128::from(new.requests.max(1)) * u128::from(old.requests.max(1));
    new_share * 100 > old_share * 100 + one * u128::from(TOLERATED_PERCENT)
        && new_share * 10 > old_share * u128::from(TOLERATED_TENTHS)
}

/// Where the new rollout is clearly slower: milliseconds that one request in twenty took at least with the new one, and
/// at most with the old one. What is known is a class of latencies, so the class is read in favour of the new one.
pub fn is_slower(new: Answers, old: Answers) -> Option<(u64, u64)> {
    let (new, old) = (class(new)?, class(old)?);
    // Nothing is above the open class, and nothing says how far it reaches.
    let most = *LATENCY_MILLIS.get(old)?;
    let least = if new == 0 { 0 } else { LATENCY_MILLIS[new - 1] };
    (least >= most * TOLERATED_TIMES && least >= most + TOLERATED_MILLIS).then_some((least, most))
}

/// The class that holds the percentile.
fn class(answers: Answers) -> Option<usize> {
    let total: u64 = answers.latency.iter().sum();
    if total < LEAST_REQUESTS {
        return None;
    }
    let mut below = 0;
    answers.latency.iter().position(|count| {
        below += count;
        below * 100 >= total * PERCENTILE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(faults: u64, requests: u64) -> Answers {
        Answers { requests, faults, ..Answers::default() }
    }

    #[test]
    fn worse_is_clearly_worse() {
        for (new, old, worse) in [
            ((4, 4), (0, 100), false),
            ((5, 5), (0, 100), true),
            ((5, 5), (0, 0), true),
            ((5, 100), (0, 100), false),
            ((6, 100), (0, 100), true),
            ((15, 100), (10, 100), false),
            ((20, 100), (10, 100), true),
            ((60, 100), (50, 100), false),
            ((100, 100), (50, 100), true),
            ((0, 0), (50, 100), false),
        ] {
            let (new, old) = (answers(new.0, new.1), answers(old.0, old.1));
            assert_eq!(is_worse(new, old), worse, "{new:?} after {old:?}");
        }
    }

    /// So many requests of these milliseconds.
    fn timed(requests: &[(u64, u64)]) -> Answers {
        let mut answers = Answers::default();
        for (count, millis) in requests {
            let class = LATENCY_MILLIS.iter().position(|bound| millis < bound).unwrap_or(LATENCY_MILLIS.len());
            answers.latency[class] += count;
            answers.requests += count;
        }
        answers
    }

    #[test]
    fn slower_is_clearly_slower() {
        let quick = [(1000, 3)];
        for (new, old, slower) in [
            // Too few on one side or the other.
            (&[(99, 900)][..], &quick[..], None),
            (&[(100, 900)], &[(99, 3)], None),
            (&[(100, 900)], &quick, Some((500, 5))),
            // One in ten counts, one in fifty does not.
            (&[(90, 3), (10, 900)], &quick, Some((500, 5))),
            (&[(98, 3), (2, 900)], &quick, None),
            // Ten times as slow, and nobody notices.
            (&[(200, 60)], &quick, None),
            (&[(200, 120)], &quick, None),
            (&[(200, 300)], &quick, Some((250, 5))),
            // Neighbouring classes may be one and the same latency.
            (&[(200, 260)], &[(200, 240)], None),
            (&[(200, 600)], &[(200, 240)], Some((500, 250))),
            (&[(200, 900)], &[(200, 400)], None),
            (&[(200, 1_500)], &[(200, 400)], Some((1_000, 500))),
            // As slow as before, or quicker.
            (&[(200, 3)], &[(200, 900)], None),
            (&[(200, 90_000)], &[(200, 90_000)], None),
            (&[(200, 90_000)], &[(200, 4_000)], Some((10_000, 5_000))),
        ] {
            assert_eq!(is_slower(timed(new), timed(old)), slower, "{new:?} after {old:?}");
        }
    }
}
