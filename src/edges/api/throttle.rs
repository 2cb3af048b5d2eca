//! A bucket of failed proofs per address. Only a proof that is wrong is ever refused for it: behind
//! one address may sit many people, and a good token needs no mercy.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;

use crate::base::clock::Timestamp;

const BURST: i64 = 10;
/// One failure is forgiven in this many ms.
const FORGIVEN_EVERY: i64 = 6_000;
const MOST_ADDRESSES: usize = 10_000;

/// Address to the time at which all its failures are forgiven.
#[derive(Default)]
pub(super) struct Throttle(Mutex<HashMap<IpAddr, Timestamp>>);

impl Throttle {
    /// Counts one failure. Err is the number of seconds to wait: there were too many.
    pub(super) fn failed(&self, address: IpAddr, now: Timestamp) -> Result<(), i64> {
        let mut all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if all.len() >= MOST_ADDRESSES {
            all.retain(|_, forgiven| *forgiven > now);
        }
        if all.len() >= MOST_ADDRESSES {
            all.clear();
        }
        let forgiven = all.entry(network(address)).or_insert(now);
        let next = (*forgiven).max(now).plus_millis(FORGIVEN_EVERY);
        let over = next.since(now) - BURST * FORGIVEN_EVERY;
        if over > 0 {
            return Err(over.div_euclid(1000) + 1);
        }
        *forgiven = next;
        Ok(())
    }
}

/// A household has a /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_at_once_then_one_every_six_seconds() {
        let (throttle, here, there) =
            (Throttle::default(), "10.0.0.1".parse().expect("ip"), "::1".parse().expect("ip"));
        for _ in 0..10 {
            assert_eq!(throttle.failed(here, Timestamp(0)), Ok(()));
        }
        assert_eq!(throttle.failed(here, Timestamp(0)), Err(7));
        assert_eq!(throttle.failed(there, Timestamp(0)), Ok(()));
        assert_eq!(throttle.failed(here, Timestamp(6_000)), Ok(()));
        assert!(throttle.failed(here, Timestamp(6_001)).is_err());
    }
}
