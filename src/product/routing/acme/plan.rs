//! Which names a certificate is ordered for, which orders go on now, and which are of no use any more. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::clock::Timestamp;
use crate::base::model::{CertificateOrder, DomainName, EnvironmentId, OrderId};

/// A name that requests come for, as far as orders go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub name: DomainName,
    pub environment: Option<EnvironmentId>,
    pub standing: Standing,
}

/// How a name stands to the authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has what it needs.
    Served,
    /// A certificate is to be had.
    Lacking,
    /// Somebody said that none is ordered.
    Off,
    /// None can be ordered; in words that say why.
    Unfit(String),
    /// Requests do not come here for it yet.
    Unrouted,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Orders {
    pub begin: Vec<(DomainName, Option<EnvironmentId>)>,
    pub drop: Vec<OrderId>,
    /// To be tried now, who waits longest first.
    pub due: Vec<OrderId>,
    /// When the next one of the others is.
    pub next_at: Option<Timestamp>,
}

/// `busy` are being tried now; no further one than `at_once` is with them.
pub fn plan(
    names: &[Name],
    orders: &[CertificateOrder],
    busy: &BTreeSet<OrderId>,
    (now, at_once): (Timestamp, usize),
) -> Orders {
    let wanted: BTreeMap<&DomainName, &Option<EnvironmentId>> = names
        .iter()
        .filter(|name| name.standing == Standing::Lacking)
        .map(|name| (&name.name, &name.environment))
        .collect();
    let mut out = Orders::default();
    let mut there = BTreeSet::new();
    let mut room = at_once.saturating_sub(busy.len());
    for order in orders {
        // Whoever has the name now begins anew.
        if wanted.get(&order.name) != Some(&&order.environment_id) {
            out.drop.push(order.id.clone());
            continue;
        }
        there.insert(&order.name);
        if busy.contains(&order.id) {
            continue;
        }
        if order.next_at <= now {
            if room > 0 {
                room -= 1;
                out.due.push(order.id.clone());
            }
        } else if out.next_at.is_none_or(|at| order.next_at < at) {
            out.next_at = Some(order.next_at);
        }
    }
    let missing = wanted.iter().filter(|(name, _)| !there.contains(**name));
    out.begin = missing.map(|(name, environment)| ((*name).clone(), (*environment).clone())).collect();
    out
}

/// Tries with one authority before it is the other's turn.
pub const TRIES: u32 = 3;

/// Whose turn it is, after so many failed tries.
pub fn authority<'a>(first: &'a str, second: Option<&'a str>, attempts: u32) -> &'a str {
    second.filter(|_| attempts / TRIES % 2 == 1).unwrap_or(first)
}

/// Failed tries, counted so that the next one is the other authority's where there is one: this one takes no more now.
pub fn attempts_at_limit(attempts: u32) -> u32 {
    (attempts / TRIES + 1) * TRIES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::model::Id;

    const NOW: Timestamp = Timestamp(1000);

    fn name(text: &str, environment: Option<&EnvironmentId>, standing: Standing) -> Name {
        Name { name: text.parse().expect("a name"), environment: environment.cloned(), standing }
    }

    fn order(of: &Name, next: i64) -> CertificateOrder {
        CertificateOrder {
            id: OrderId::fresh(),
            environment_id: of.environment.clone(),
            name: of.name.clone(),
            directory: None,
            url: None,
            attempts: 0,
            error: None,
            failed_at: None,
            next_at: Timestamp(next),
            created_at: Timestamp(0),
        }
    }

    #[test]
    fn each_lacking_name_has_one_order_and_no_other_name_has_any() {
        let (one, two) = (EnvironmentId::fresh(), EnvironmentId::fresh());
        let a = name("a.example", Some(&one), Standing::Lacking);
        let b = name("b.example", Some(&one), Standing::Lacking);
        let moved = name("c.example", Some(&two), Standing::Lacking);
        let idle: Vec<_> = [Standing::Served, Standing::Off, Standing::Unfit("x".into()), Standing::Unrouted]
            .into_iter()
            .enumerate()
            .map(|(at, standing)| name(&format!("i{at}.example"), Some(&one), standing))
            .collect();
        let mut orders: Vec<_> = idle.iter().map(|name| order(name, 0)).collect();
        orders.push(order(&a, 0));
        orders.push(order(&name("c.example", Some(&one), Standing::Lacking), 0));
        orders.push(order(&name("gone.example", Some(&one), Standing::Lacking), 0));
        let names = [&[a.clone(), b.clone(), moved.clone()], &idle[..]].concat();
        let plan = plan(&names, &orders, &BTreeSet::new(), (NOW, 9));
        assert_eq!(plan.begin, [(b.name, b.environment), (moved.name, moved.environment)]);
        assert_eq!(plan.due, [orders[4].id.clone()]);
        assert_eq!(plan.drop.len(), 6);
    }

    #[test]
    fn few_are_tried_at_once_and_none_twice_or_before_its_time() {
        let names: Vec<_> = (0..6).map(|at| name(&format!("n{at}.example"), None, Standing::Lacking)).collect();
        let mut orders: Vec<_> = names.iter().map(|name| order(name, 0)).collect();
        orders[4].next_at = Timestamp(5000);
        orders[5].next_at = Timestamp(3000);
        let busy = BTreeSet::from([orders[0].id.clone()]);
        let found = plan(&names, &orders, &busy, (NOW, 3));
        assert_eq!(found.due, [orders[1].id.clone(), orders[2].id.clone()]);
        assert_eq!(found.next_at, Some(Timestamp(3000)));
        assert!(found.begin.is_empty() && found.drop.is_empty());
        let full: BTreeSet<_> = orders.iter().map(|order| order.id.clone()).collect();
        assert!(plan(&names, &orders, &full, (NOW, 3)).due.is_empty());
    }

    #[test]
    fn authorities_take_turns_and_one_that_takes_no_more_gives_its_turn_away() {
        let turns: Vec<_> = (0..8).map(|attempts| authority("a", Some("b"), attempts)).collect();
        assert_eq!(turns, ["a", "a", "a", "b", "b", "b", "a", "a"]);
        assert!((0..9).all(|attempts| authority("a", None, attempts) == "a"));
        for attempts in 0..9 {
            let next = attempts_at_limit(attempts);
            assert!(next > attempts);
            assert_ne!(authority("a", Some("b"), next), authority("a", Some("b"), attempts));
        }
    }
}
