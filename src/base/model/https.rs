//! How an environment answers where TLS is spoken too: whether plain requests are sent on, and whether clients are told to
//! come by TLS only.

use serde::{Deserialize, Serialize};

/// Two years, the longest that is of use.
pub const LONGEST_HSTS_SECONDS: u32 = 63_072_000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Https {
    /// Plain HTTP is sent on to HTTPS. None: where a certificate answers that clients trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<bool>,
    /// `Strict-Transport-Security` (RFC 6797) for so long; 0 takes back what clients were told before. None: not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsts_seconds: Option<u32>,
}

impl Https {
    /// What is said here goes before what `below` says.
    pub fn over(self, below: Self) -> Self {
        Self { redirect: self.redirect.or(below.redirect), hsts_seconds: self.hsts_seconds.or(below.hsts_seconds) }
    }

    pub fn is_silent(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a plain request is sent on to a host whose certificate is `trusted`; None: it has no certificate.
    pub fn redirects(&self, trusted: Option<bool>) -> bool {
        match trusted {
            None => false,
            Some(trusted) => self.redirect.unwrap_or(trusted),
        }
    }

    pub fn fault(&self) -> Option<String> {
        let too_long = self.hsts_seconds.is_some_and(|seconds| seconds > LONGEST_HSTS_SECONDS);
        too_long.then(|| format!("must be 0 to {LONGEST_HSTS_SECONDS}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_sent_on_only_to_where_a_certificate_answers_and_by_itself_only_to_a_trusted_one() {
        let of = |redirect| Https { redirect, hsts_seconds: None };
        for (redirect, none, own, trusted) in
            [(None, false, false, true), (Some(true), false, true, true), (Some(false), false, false, false)]
        {
            let all = [None, Some(false), Some(true)].map(|certificate| of(redirect).redirects(certificate));
            assert_eq!(all, [none, own, trusted], "{redirect:?}");
        }
    }

    #[test]
    fn what_people_set_goes_before_what_the_tree_says() {
        let tree = Https { redirect: Some(false), hsts_seconds: Some(60) };
        let set = Https { redirect: Some(true), hsts_seconds: None };
        assert_eq!(set.over(tree), Https { redirect: Some(true), hsts_seconds: Some(60) });
        assert_eq!(Https::default().over(tree), tree);
    }
}
