//! When a certificate is made anew, and when a try that failed is followed by another one.

use crate::base::clock::Timestamp;

/// Of the life of a certificate, in thousandths: two thirds, and up to a twentieth earlier, so that those made together
/// are not all renewed together.
const DUE: i64 = 667;
const SPREAD: i64 = 50;

/// `salt` is another number for another certificate, and always the same one for the same.
pub fn renew_at(not_before: Timestamp, not_after: Timestamp, salt: u64) -> Timestamp {
    let early = i64::try_from(salt % 1000).unwrap_or(0) * SPREAD / 1000;
    let life = not_after.since(not_before).max(0);
    not_before.plus_millis(life / 1000 * (DUE - early))
}

/// From one try to the next: doubled each time, within bounds, and never before the authority wants to be asked again.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub first_millis: i64,
}

const LONGEST_MILLIS: i64 = 6 * 3_600_000;
/// Where an authority takes no more and does not say for how long.
const LIMITED_MILLIS: i64 = 3_600_000;

impl Pace {
    /// `attempts` counts the one that has just failed. `asked` is what the authority wants, None where it says nothing.
    pub fn next_at(self, now: Timestamp, attempts: u32, asked_millis: Option<i64>, limited: bool) -> Timestamp {
        let doubled = self.first_millis.saturating_mul(1_i64 << attempts.saturating_sub(1).min(20));
        let own = doubled.clamp(self.first_millis, LONGEST_MILLIS.max(self.first_millis));
        let least = asked_millis.unwrap_or(if limited { LIMITED_MILLIS } else { 0 });
        now.plus_millis(own.max(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_at_two_thirds_of_its_life_or_a_little_before() {
        let (from, to) = (Timestamp(1_000_000), Timestamp(91_000_000));
        let all: Vec<i64> = (0..2000).map(|salt| renew_at(from, to, salt).0 - from.0).collect();
        assert!(all.iter().all(|at| (90_000 * 617..=90_000 * 667).contains(at)));
        assert_eq!(all[0], 90_000 * 667);
        assert!(all.iter().collect::<std::collections::BTreeSet<_>>().len() > 40, "spread");
        assert_eq!(renew_at(to, from, 7), to, "a life of nothing is over");
    }

    #[test]
    fn tries_are_ever_farther_apart_and_never_before_the_authority_wants() {
        let pace = Pace { first_millis: 120_000 };
        let waits = |attempts| pace.next_at(Timestamp(5), attempts, None, false).0 - 5;
        assert_eq!([1, 2, 3, 4].map(waits), [120_000, 240_000, 480_000, 960_000]);
        assert_eq!(waits(40), LONGEST_MILLIS);
        assert_eq!(waits(u32::MAX), LONGEST_MILLIS);
        assert_eq!(pace.next_at(Timestamp(0), 1, Some(900_000), true), Timestamp(900_000));
        assert_eq!(pace.next_at(Timestamp(0), 1, None, true), Timestamp(LIMITED_MILLIS));
        assert_eq!(pace.next_at(Timestamp(0), 3, Some(1000), false), Timestamp(480_000), "ours is longer");
    }
}
