//! Which version is before which, and conditions about that. Versions are compared as deb-version(7) says; those of other
//! ecosystems are brought to its rules first: what comes before a release (`-rc.1`, `b2`, `.pre`) sorts before it.

use std::cmp::Ordering;
use std::str::FromStr;

use crate::machinery::image::{Ecosystem, Package};

/// `NAME`, or `NAME` and one of `<`, `<=`, `=`, `>=`, `>` and a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    name: String,
    bound: Option<(Relation, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '=', '>']).unwrap_or(text.len());
        let (name, rest) = text.split_at(at);
        let (name, fault) = (name.trim(), || format!("{text:?} is no condition: write it like openssl<3.0.11"));
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(fault());
        }
        let relations = [
            ("<=", Relation::LessOrEqual),
            (">=", Relation::GreaterOrEqual),
            ("==", Relation::Equal),
            ("<", Relation::Less),
            (">", Relation::Greater),
            ("=", Relation::Equal),
        ];
        let bound = match relations.iter().find_map(|(sign, relation)| Some((*relation, rest.strip_prefix(sign)?))) {
            None => None,
            Some((relation, version)) => {
                let version = version.trim();
                if version.is_empty() || !version.chars().all(|c| c.is_ascii_alphanumeric() || ".+-~:".contains(c)) {
                    return Err(fault());
                }
                Some((relation, version.to_owned()))
            }
        };
        Ok(Self { name: name.to_owned(), bound })
    }
}

impl Condition {
    /// A package of that name, or of a source of that name.
    pub fn holds(&self, package: &Package) -> bool {
        if package.name != self.name && package.source.as_deref() != Some(&self.name) {
            return false;
        }
        let Some((relation, version)) = &self.bound else { return true };
        let order = compare(package.ecosystem, &package.version, version);
        match relation {
            Relation::Less => order.is_lt(),
            Relation::LessOrEqual => order.is_le(),
            Relation::Equal => order.is_eq(),
            Relation::GreaterOrEqual => order.is_ge(),
            Relation::Greater => order.is_gt(),
        }
    }
}

/// Of a version that a package has and one that a person wrote. What the person leaves out, epoch or revision, is not compared.
fn compare(ecosystem: Ecosystem, has: &str, asked: &str) -> Ordering {
    if ecosystem != Ecosystem::Deb {
        return parts(&comparable(has), &comparable(asked));
    }
    let (asked_epoch, asked_rest) = epoch(asked);
    let (has_epoch, has_rest) = epoch(has);
    let epochs = asked_epoch.map_or(Ordering::Equal, |asked| has_epoch.unwrap_or(0).cmp(&asked));
    let (has_upstream, has_revision) = revision(has_rest);
    let (asked_upstream, asked_revision) = revision(asked_rest);
    epochs.then_with(|| parts(has_upstream, asked_upstream)).then_with(|| match asked_revision {
        Some(asked) => parts(has_revision.unwrap_or("0"), asked),
        None => Ordering::Equal,
    })
}

fn epoch(version: &str) -> (Option<u32>, &str) {
    match version.split_once(':').map(|(epoch, rest)| (epoch.parse().ok(), rest)) {
        Some((Some(epoch), rest)) => (Some(epoch), rest),
        _ => (None, version),
    }
}

fn revision(version: &str) -> (&str, Option<&str>) {
    version.rsplit_once('-').map_or((version, None), |(upstream, revision)| (upstream, Some(revision)))
}

/// By the rules of deb-version(7), `~` sorts before everything, also the end.
fn comparable(version: &str) -> String {
    let version = version.trim_start_matches('v');
    // What a build adds says nothing of the order (Semantic Versioning, 10).
    let version = version.split('+').next().unwrap_or(version);
    let mut made = String::with_capacity(version.len() + 2);
    let mut before = '0';
    for (at, c) in version.char_indices() {
        let is_later = version[at..].starts_with("post");
        if c == '-' || before.is_ascii_digit() && c.is_ascii_alphabetic() && !is_later {
            made.push('~');
        } else if before == '.' && c.is_ascii_alphabetic() && !is_later {
            made.pop();
            made.push('~');
        }
        if c != '-' {
            made.push(c);
        }
        before = c;
    }
    made
}

/// Text and numbers in turn.
fn parts(mut left: &str, mut right: &str) -> Ordering {
    loop {
        let (a, b) = (head(left, |c| !c.is_ascii_digit()), head(right, |c| !c.is_ascii_digit()));
        let order = texts(a, b);
        (left, right) = (&left[a.len()..], &right[b.len()..]);
        let (a, b) = (head(left, |c| c.is_ascii_digit()), head(right, |c| c.is_ascii_digit()));
        (left, right) = (&left[a.len()..], &right[b.len()..]);
        let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
        let order = order.then_with(|| a.len().cmp(&b.len())).then_with(|| a.cmp(b));
        if order.is_ne() || left.is_empty() && right.is_empty() {
            return order;
        }
    }
}

fn head(text: &str, is: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|c| !is(c)).unwrap_or(text.len())]
}

/// `~` before the end before letters before the rest.
fn texts(a: &str, b: &str) -> Ordering {
    let weight = |c: Option<char>| match c {
        Some('~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i64::from(u32::from(c)),
        Some(c) => i64::from(u32::from(c)) + 0x11_0000,
    };
    let (mut a, mut b) = (a.chars(), b.chars());
    loop {
        let (left, right) = (a.next(), b.next());
        let order = weight(left).cmp(&weight(right));
        if order.is_ne() || left.is_none() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(ecosystem: Ecosystem, name: &str, version: &str) -> Package {
        let (name, version) = (name.into(), version.into());
        Package { ecosystem, name, version, source: None, architecture: None, license: None }
    }

    #[test]
    fn versions_are_ordered_as_their_makers_order_them() {
        let deb = ["1.0~rc1", "1.0", "1.0a", "1.0.1", "1.2", "1.10", "1:0.1"];
        let npm = ["1.0.0-alpha.1", "1.0.0-rc.2", "1.0.0-rc.10", "1.0.0", "1.0.1", "1.2.0", "1.10.0"];
        let pypi = ["2.0a1", "2.0b2", "2.0rc1", "2.0", "2.0.1", "2.1.dev1", "2.1"];
        for (ecosystem, list) in [(Ecosystem::Deb, deb.as_slice()), (Ecosystem::Npm, &npm), (Ecosystem::Pypi, &pypi)] {
            for (i, a) in list.iter().enumerate() {
                for (j, b) in list.iter().enumerate() {
                    // A person who leaves the epoch out means any.
                    if ecosystem == Ecosystem::Deb && a.contains(':') && !b.contains(':') {
                        continue;
                    }
                    assert_eq!(compare(ecosystem, a, b), i.cmp(&j), "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn conditions_name_a_package_or_its_source() {
        let ssl = Package { source: Some("openssl".into()), ..package(Ecosystem::Deb, "libssl3", "3.0.11-1~deb12u2") };
        for (text, holds) in [
            ("openssl", true),
            ("libssl3", true),
            ("ssl", false),
            ("openssl<3.0.11", false),
            ("openssl<=3.0.11", true),
            ("openssl = 3.0.11", true),
            ("openssl<3.0.12", true),
            ("openssl>3.0.9", true),
            ("openssl<3.0.11-1", true),
            ("openssl>=3.0.11-1~deb12u2", true),
        ] {
            assert_eq!(text.parse::<Condition>().unwrap().holds(&ssl), holds, "{text}");
        }
        assert!("v1<1.2.0".parse::<Condition>().is_ok());
        let net = package(Ecosystem::Golang, "golang.org/x/net", "v0.20.0");
        assert!("golang.org/x/net<0.23.0".parse::<Condition>().unwrap().holds(&net));
        for text in ["", "<1", "a b", "a<", "a<1;2", "a<<1"] {
            let fault = text.parse::<Condition>().expect_err(text);
            assert!(fault.contains("openssl<3.0.11"), "{fault}");
        }
    }
}
