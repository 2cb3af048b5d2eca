//! A domain: a name of people's own, which an environment answers on once it is proven to be theirs.

use serde::{Deserialize, Serialize};

use super::{AppId, DomainId, DomainName, EnvironmentId, Host, NameError};
use crate::base::clock::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    pub id: DomainId,
    pub app_id: AppId,
    pub environment_id: EnvironmentId,
    /// Several apps may claim a name; one of them can prove it.
    pub name: DomainName,
    /// What the owner publishes. No secret: whoever can publish it under the name has the name.
    pub token: String,
    pub proof: Option<Proof>,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub method: ProofMethod,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofMethod {
    /// A TXT record.
    Dns,
    /// A file at a well-known path.
    Http,
}

impl ProofMethod {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "DNS",
            Self::Http => "HTTP",
        }
    }
}

/// What stands before a domain to prove it, in DNS.
const PROOF_LABEL: &str = "_hythe";
const LONGEST: usize = 253 - (PROOF_LABEL.len() + 1);
/// Last labels that no public name has (RFC 6761, 6762, 7686, 9476; the one for private use).
const PRIVATE: [&str; 8] = ["localhost", "local", "internal", "invalid", "onion", "arpa", "alt", "lan"];

impl DomainName {
    /// A public name as a person writes it: in any case and script, with or without the final dot (UTS 46).
    pub fn written(text: &str) -> Result<Self, NameError> {
        let wrong =
            || NameError::new("must be the name of a domain alone, such as shop.example.com or *.shop.example.com");
        // Names have at most 253 characters; other scripts take up to four bytes for each.
        if text.len() > 4 * LONGEST {
            return Err(wrong());
        }
        let (star, rest) = text.strip_prefix("*.").map_or(("", text), |rest| ("*.", rest));
        let rest = rest.strip_suffix('.').unwrap_or(rest);
        let ascii = idna::domain_to_ascii_cow(rest.as_bytes(), idna::AsciiDenyList::STD3).map_err(|_| wrong())?;
        let name: Self = format!("{star}{ascii}").parse().map_err(|_| wrong())?;
        let mut labels = ascii.rsplit('.');
        let last = labels.next().unwrap_or_default();
        // Addresses end in a number, in any of the ways to write one.
        if labels.next().is_none() || !last.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(wrong());
        }
        if PRIVATE.contains(&last) {
            return Err(NameError::new(format!("must be a name of the public DNS; none ends in .{last}")));
        }
        if ascii.len() > LONGEST {
            return Err(NameError::new(format!("must have at most {LONGEST} characters")));
        }
        Ok(name)
    }

    /// The host of it, or the one that it stands below.
    pub fn bare(&self) -> &str {
        self.below().unwrap_or(self.as_str())
    }

    /// What comes after `*.`
    pub fn below(&self) -> Option<&str> {
        self.as_str().strip_prefix("*.")
    }

    pub fn covers(&self, host: &str) -> bool {
        match self.below() {
            None => self.as_str() == host,
            Some(below) => host.split_once('.').is_some_and(|(_, rest)| rest == below),
        }
    }

    /// Where the TXT record is looked for that proves the name.
    pub fn proof_name(&self) -> String {
        format!("{PROOF_LABEL}.{}", self.bare())
    }
}

impl From<Host> for DomainName {
    fn from(host: Host) -> Self {
        host.as_str().parse().unwrap_or_else(|_| unreachable!("a host is a domain name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_in_any_case_and_script() {
        for (written, name) in [
            ("shop.example.com", "shop.example.com"),
            ("Shop.Example.COM.", "shop.example.com"),
            ("*.shop.example.com", "*.shop.example.com"),
            ("müller.example", "xn--mller-kva.example"),
            ("MU\u{308}LLER.example", "xn--mller-kva.example"),
            ("*.日本.example", "*.xn--wgv71a.example"),
            ("ｓｈｏｐ。example.com", "shop.example.com"),
            ("faß.example", "xn--fa-hia.example"),
            ("r3---a.example.com", "r3---a.example.com"),
        ] {
            assert_eq!(DomainName::written(written).map(String::from).as_deref(), Ok(name), "{written}");
        }
    }

    #[test]
    fn what_is_no_public_name_is_refused() {
        let long = "a.".repeat(130) + "example";
        for text in [
            "",
            ".",
            "*",
            "*.",
            "example",
            "*.com",
            "**.example.com",
            "*.*.example.com",
            "a.*.example.com",
            "*shop.example.com",
            "shop..example.com",
            ".example.com",
            "shop.example.com..",
            "-a.example.com",
            "a-.example.com",
            "a_b.example.com",
            "shop.example.com:80",
            "http://shop.example.com",
            "shop.example.com/",
            "user@example.com",
            "a b.example.com",
            "a\tb.example.com",
            "a\0.example.com",
            "a.example.com\r\nX: y",
            "127.0.0.1",
            "0177.0.0.1",
            "[::1]",
            "1.2.3.0x7f",
            "2130706433",
            "xn--a.example",
            "xn--0.example",
            "\u{202e}moc.elpmaxe.example",
            "a\u{200d}b.example",
            "shop.localhost",
            "db.internal",
            "a.1.168.192.in-addr.arpa",
            "$(id).example.com",
            "`id`.example.com",
            "%2e%2e%2f.example.com",
            &long,
            &"x".repeat(10_000),
        ] {
            assert!(DomainName::written(text).is_err(), "{text:?}: {:?}", DomainName::written(text));
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let name = |text: &str| text.parse::<DomainName>().expect("a name");
        assert!(name("*.a.example").covers("b.a.example"));
        for host in ["a.example", "c.b.a.example", "ba.example"] {
            assert!(!name("*.a.example").covers(host), "{host}");
        }
        assert!(name("a.example").covers("a.example") && !name("a.example").covers("b.a.example"));
        assert_eq!(name("*.a.example").proof_name(), "_hythe.a.example");
    }
}
