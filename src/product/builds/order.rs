//! From a group that may name buildpacks made of others to groups of those that have programs (buildpack specification,
//! "Order resolution"); pure. Depth first, from left to right; an optional one that is made of others has, behind its own
//! groups, the one without it.

use super::descriptor::{Descriptor, Member};

/// Groups that come out of one order: a few composites in a row multiply.
const MOST_GROUPS: usize = 2000;
/// Members of one of them.
const MOST_SLOTS: usize = 200;
const DEEPEST: usize = 32;

/// One buildpack with programs in one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// By which a pool knows it.
    pub key: String,
    id: String,
    pub optional: bool,
}

impl Slot {
    pub fn new(id: &str, key: String, optional: bool) -> Self {
        Self { key, id: id.to_owned(), optional }
    }
}

/// The platform's buildpack for a Procfile, where there is one.
pub(super) fn procfile() -> Member {
    Member { id: "hythe/procfile".to_owned(), version: None, optional: true }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum OrderFault {
    #[error("{member} is not there; it is named by {by}")]
    Unknown { member: String, by: String },
    #[error("the order goes in a circle: {}", .0.join(" → "))]
    Circle(Vec<String>),
    #[error("its order comes to more than {MOST_GROUPS} groups, or to a group of more than {MOST_SLOTS}")]
    TooMany,
}

/// `find` gives a member's descriptor and the key that it goes by.
pub(super) fn expand<'d>(
    group: &[Member],
    find: &dyn Fn(&Member) -> Option<(String, &'d Descriptor)>,
) -> Result<Vec<Vec<Slot>>, OrderFault> {
    let mut way = Vec::new();
    let mut groups = of_group(group, "the choice of buildpacks", find, &mut way)?;
    groups.retain(|group| !group.is_empty());
    Ok(groups)
}

fn of_group<'d>(
    group: &[Member],
    by: &str,
    find: &dyn Fn(&Member) -> Option<(String, &'d Descriptor)>,
    way: &mut Vec<String>,
) -> Result<Vec<Vec<Slot>>, OrderFault> {
    let mut found: Vec<Vec<Slot>> = vec![Vec::new()];
    for member in group {
        let unknown = || OrderFault::Unknown { member: member.to_string(), by: by.to_owned() };
        let (key, descriptor) = find(member).ok_or_else(unknown)?;
        let choices = match &descriptor.order {
            None => vec![vec![Slot { key, id: descriptor.id.clone(), optional: member.optional }]],
            Some(order) => {
                let mut choices = of_order(order, &key, find, way)?;
                if member.optional {
                    choices.push(Vec::new());
                }
                choices
            }
        };
        if found.len().saturating_mul(choices.len()) > MOST_GROUPS {
            return Err(OrderFault::TooMany);
        }
        let mut longer = Vec::with_capacity(found.len() * choices.len());
        for start in &found {
            for choice in &choices {
                let mut group = start.clone();
                // One buildpack has one place in a group: its layers have one directory.
                let new = choice.iter().filter(|slot| start.iter().all(|other| other.id != slot.id));
                group.extend(new.cloned());
                if group.len() > MOST_SLOTS {
                    return Err(OrderFault::TooMany);
                }
                longer.push(group);
            }
        }
        found = longer;
    }
    Ok(found)
}

fn of_order<'d>(
    order: &[Vec<Member>],
    key: &str,
    find: &dyn Fn(&Member) -> Option<(String, &'d Descriptor)>,
    way: &mut Vec<String>,
) -> Result<Vec<Vec<Slot>>, OrderFault> {
    if way.iter().any(|above| above == key) || way.len() >= DEEPEST {
        let circle = way.iter().cloned().chain([key.to_owned()]);
        return Err(OrderFault::Circle(circle.collect()));
    }
    way.push(key.to_owned());
    let mut groups = Vec::new();
    for group in order {
        groups.extend(of_group(group, key, find, way)?);
        if groups.len() > MOST_GROUPS {
            return Err(OrderFault::TooMany);
        }
    }
    way.pop();
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::product::builds::descriptor::Api;

    fn member(text: &str) -> Member {
        let (id, optional) = text.strip_suffix('?').map_or((text, false), |id| (id, true));
        Member { id: id.to_owned(), version: None, optional }
    }

    fn group(text: &str) -> Vec<Member> {
        text.split_whitespace().map(member).collect()
    }

    /// Orders by id: groups between `|`.
    fn expanded(choice: &str, orders: &[(&str, &str)]) -> Result<Vec<String>, OrderFault> {
        let pool: BTreeMap<String, Descriptor> = ["a", "b", "c", "d", "e", "f", "g", "h"]
            .iter()
            .map(|id| (*id, None))
            .chain(orders.iter().map(|(id, order)| (*id, Some(order.split('|').map(group).collect()))))
            .map(|(id, order)| {
                let (id, version) = (id.to_owned(), "1".to_owned());
                let name = id.clone();
                (id.clone(), Descriptor { api: Api(10), id, version, name, clear_env: false, order })
            })
            .collect();
        let find = |m: &Member| pool.get(&m.id).map(|d| (d.id.clone(), d));
        let shown = |slots: &Vec<Slot>| {
            let words: Vec<_> =
                slots.iter().map(|s| format!("{}{}", s.key, if s.optional { "?" } else { "" })).collect();
            words.join(" ")
        };
        Ok(expand(&group(choice), &find)?.iter().map(shown).collect())
    }

    /// The two matrices of the specification, and what follows from them.
    #[test]
    fn orders_multiply_from_left_to_right() {
        let (o, p) = (("o", "a b | c d"), ("p", "e f | g h"));
        type Row<'t> = (&'t str, &'t [(&'t str, &'t str)], &'t [&'t str]);
        let table: [Row; 10] = [
            ("a b", &[], &["a b"]),
            ("a b? c", &[], &["a b? c"]),
            ("e o f", &[o], &["e a b f", "e c d f"]),
            ("o p", &[o, p], &["a b e f", "a b g h", "c d e f", "c d g h"]),
            ("e o? f", &[o], &["e a b f", "e c d f", "e f"]),
            ("n", &[("n", "o h | p"), o, p], &["a b h", "c d h", "e f", "g h"]),
            // Twice the same: the first place counts.
            ("a o", &[o], &["a b", "a c d"]),
            ("o o", &[o], &["a b", "a b c d", "c d a b", "c d"]),
            ("o?", &[o], &["a b", "c d"]),
            ("n", &[("n", "")], &[]),
        ];
        for (choice, orders, expected) in table {
            assert_eq!(expanded(choice, orders).unwrap(), expected, "{choice} {orders:?}");
        }
    }

    #[test]
    fn circles_gaps_and_explosions_are_refused() {
        assert_eq!(
            expanded("a m", &[("m", "a n"), ("n", "b m")]),
            Err(OrderFault::Circle(["m", "n", "m"].map(str::to_owned).to_vec()))
        );
        assert!(matches!(expanded("m", &[("m", "m?")]), Err(OrderFault::Circle(_))));
        let unknown = expanded("a m", &[("m", "a x")]).unwrap_err();
        assert_eq!(unknown.to_string(), "x is not there; it is named by m");
        let wide = "a | b | c | d | e | f | g | h";
        assert_eq!(
            expanded("m n o p", &[("m", wide), ("n", wide), ("o", wide), ("p", wide)]),
            Err(OrderFault::TooMany)
        );
        // Each names the one before twice over: doubling without a circle.
        let names: Vec<String> = (0..40).map(|n| format!("x{n}")).collect();
        let texts: Vec<String> =
            (0..40).map(|n| if n == 0 { "a".to_owned() } else { format!("x{0} | x{0}", n - 1) }).collect();
        let orders: Vec<_> = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
        assert!(expanded("x39", &orders).is_err());
    }
}
