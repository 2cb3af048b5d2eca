//! The watch window after a switch: is the new rollout clearly worse than the one that stands by? Pure.

use super::observed::{Answers, Crashes};

/// A rollout that crashes this often within its window loops.
pub const CRASHES: u32 = 2;
/// Fewer faults than these say nothing.
const LEAST_FAULTS: u64 = 5;
/// The share of faults of the new rollout must be above that of the old one by more than this many in a hundred …
const TOLERATED_PERCENT: u64 = 5;
/// … and above this many times it, in tenths.
const TOLERATED_TENTHS: u64 = 15;

pub fn loops(crashes: &Crashes) -> bool {
    crashes.count >= CRASHES
}

/// `new` since the switch, `old` as long as it is known.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(faults: u64, requests: u64) -> Answers {
        Answers { requests, faults }
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
}
