//! Signed posts, as the Standard Webhooks specification (1.0.0) has them: `webhook-id`, `webhook-timestamp` and
//! `webhook-signature: v1,BASE64`, an HMAC-SHA256 of `ID.TIMESTAMP.BODY`. A receiver knows by the id what it has seen
//! already, and by the time what is too old to be ours.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rand::TryRng;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

use super::http::Sender;
use super::{Guard, OutboundError, Result};
use crate::base::clock::Timestamp;
use crate::base::model::OutboundUrl;
use crate::base::secret::Secret;

const PREFIX: &str = "whsec_";
const KEY_BYTES: usize = 32;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("hythe/", env!("CARGO_PKG_VERSION")));

/// What the sender and the receiver share: `whsec_` and base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Secret<Vec<u8>>);

impl Key {
    pub fn fresh() -> std::io::Result<Self> {
        let mut bits = vec![0; KEY_BYTES];
        rand::rngs::SysRng.try_fill_bytes(&mut bits).map_err(std::io::Error::other)?;
        Ok(Self(Secret::new(bits)))
    }

    /// For the one who keeps it.
    pub fn text(&self) -> Secret<String> {
        Secret::new(format!("{PREFIX}{}", STANDARD.encode(self.0.reveal())))
    }
}

impl FromStr for Key {
    type Err = NoKey;
    fn from_str(text: &str) -> Result<Self, NoKey> {
        let bits = text.strip_prefix(PREFIX).and_then(|bits| STANDARD.decode(bits).ok()).ok_or(NoKey)?;
        Ok(Self(Secret::new(bits)))
    }
}

#[derive(Debug)]
pub struct NoKey;

impl fmt::Display for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key is {PREFIX} and base64")
    }
}

pub struct Message<'a> {
    /// The same for each attempt.
    pub id: &'a str,
    /// Of this attempt.
    pub at: Timestamp,
    /// JSON.
    pub body: Vec<u8>,
}

/// Taken means a status of 2xx.
pub async fn post(url: &OutboundUrl, guard: Guard, key: &Key, message: Message<'_>) -> Result<()> {
    let sender = Sender::open(url, guard).await?;
    let failed = |source: reqwest::header::InvalidHeaderValue| OutboundError::Send {
        host: url.host.clone(),
        source: source.into(),
    };
    let seconds = message.at.0.div_euclid(1000).to_string();
    let signature = signature(key, message.id, &seconds, &message.body);
    let mut headers = HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (reqwest::header::USER_AGENT, AGENT),
    ]);
    for (name, value) in
        [("webhook-id", message.id), ("webhook-timestamp", &seconds), ("webhook-signature", &signature)]
    {
        headers.insert(HeaderName::from_static(name), value.parse().map_err(failed)?);
    }
    sender.post(headers, message.body).await
}

fn signature(key: &Key, id: &str, seconds: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.0.reveal()).unwrap_or_else(|_| unreachable!("any length serves"));
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the specification's own libraries are tested with.
    #[test]
    fn a_signature_is_what_other_libraries_compute() {
        let key: Key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().expect("a key");
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_key_is_read_as_it_was_shown_and_shown_to_nobody_else() {
        let key = Key::fresh().expect("random bits");
        assert_eq!(key.text().reveal().parse::<Key>().expect("a key"), key);
        assert!(!format!("{key:?}").contains("whsec"));
        for wrong in ["", "whsec_", "MfKQ", "whsec_é"] {
            assert!(wrong.parse::<Key>().is_err() || wrong == "whsec_", "{wrong:?}");
        }
    }
}
