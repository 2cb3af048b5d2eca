//! One object of an S3-compatible store: where it is, and the signature of a request for it (AWS Signature Version 4).

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{OutboundError, Result};
use crate::base::clock::Timestamp;
use crate::base::secret::Secret;

/// Of an empty body.
const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    pub bucket: String,
    pub key: String,
    pub region: String,
    /// Of a store that is not the usual one: `https://HOST[:PORT]`, below which buckets are directories.
    pub endpoint: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Keys {
    pub id: String,
    pub secret: Secret<String>,
    pub session: Option<Secret<String>>,
}

/// For people.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)?;
        match &self.endpoint {
            Some(endpoint) => write!(f, " at {}", endpoint.trim_end_matches('/')),
            None => Ok(()),
        }
    }
}

impl Object {
    pub fn address(&self) -> Result<reqwest::Url> {
        let key = escaped(&self.key);
        let text = match &self.endpoint {
            Some(endpoint) => format!("{}/{}/{key}", endpoint.trim_end_matches('/'), self.bucket),
            // A name with points is not below the certificate of the store.
            None if self.bucket.contains('.') => {
                format!("https://s3.{}.amazonaws.com/{}/{key}", self.region, self.bucket)
            }
            None => format!("https://{}.s3.{}.amazonaws.com/{key}", self.bucket, self.region),
        };
        let wrong =
            |source: Box<dyn std::error::Error + Send + Sync>| OutboundError::Send { host: text.clone(), source };
        text.parse().map_err(|_| wrong("it is no address".into()))
    }

    /// Headers of a GET of `address` at this time.
    pub fn signed(&self, address: &reqwest::Url, keys: &Keys, now: Timestamp) -> Result<HeaderMap> {
        let failed = || OutboundError::Send {
            host: address.host_str().unwrap_or_default().to_owned(),
            source: "the credentials hold characters that no header may".into(),
        };
        let time = jiff::Timestamp::from_millisecond(now.0).map_err(|_| failed())?;
        let time = time.strftime("%Y%m%dT%H%M%SZ").to_string();
        let host = match address.port() {
            Some(port) => format!("{}:{port}", address.host_str().unwrap_or_default()),
            None => address.host_str().unwrap_or_default().to_owned(),
        };
        let mut signed = vec![("host", host), ("x-amz-content-sha256", NOTHING.into()), ("x-amz-date", time.clone())];
        if let Some(session) = &keys.session {
            signed.push(("x-amz-security-token", session.reveal().clone()));
        }
        let names: Vec<_> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let request = format!("GET\n{}\n\n{lines}\n{names}\n{NOTHING}", address.path());
        let scope = format!("{}/{}/s3/aws4_request", &time[..8], self.region);
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(request)));
        let mut key = format!("AWS4{}", keys.secret.reveal()).into_bytes();
        for part in [&time[..8], &self.region, "s3", "aws4_request"] {
            key = mac(&key, part);
        }
        let signature = hex::encode(mac(&key, &text));
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", keys.id);
        let mut headers = HeaderMap::new();
        for (name, value) in signed.into_iter().skip(1).chain([("authorization", authorization)]) {
            let mut value = HeaderValue::try_from(value).map_err(|_| failed())?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(headers)
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("a key may have any length"));
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// All but letters, digits, `-._~` and `/`.
fn escaped(key: &str) -> String {
    let mut out = String::new();
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(byte.into()),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(bucket: &str, key: &str) -> Object {
        Object { bucket: bucket.into(), key: key.into(), region: "us-east-1".into(), endpoint: None }
    }

    #[test]
    fn addresses_are_of_the_usual_store_or_below_an_endpoint() {
        let usual = object("examplebucket", "a b/c+d.tar.gz");
        assert_eq!(
            usual.address().unwrap().as_str(),
            "https://examplebucket.s3.us-east-1.amazonaws.com/a%20b/c%2Bd.tar.gz"
        );
        let pointed = object("my.bucket", "x");
        assert_eq!(pointed.address().unwrap().as_str(), "https://s3.us-east-1.amazonaws.com/my.bucket/x");
        let other = Object { endpoint: Some("http://127.0.0.1:9000/".into()), ..object("b", "x") };
        assert_eq!(other.address().unwrap().as_str(), "http://127.0.0.1:9000/b/x");
    }

    /// As botocore signs the same requests (`S3SigV4Auth`).
    #[test]
    fn a_signature_covers_what_is_sent() {
        let keys = Keys {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
            session: None,
        };
        let usual = object("examplebucket", "test.txt");
        // 2013-05-24T00:00:00Z
        let headers = usual.signed(&usual.address().unwrap(), &keys, Timestamp(1_369_353_600_000)).unwrap();
        assert_eq!(headers["x-amz-date"], "20130524T000000Z");
        assert!(headers["authorization"].is_sensitive());
        assert_eq!(
            headers["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
             Signature=2e46714501b0d9bc603dc14b792d5c58689e101d7de843b268d12fa638eb4bda"
        );
        let other = Object {
            region: "eu-central-1".into(),
            endpoint: Some("http://127.0.0.1:9000".into()),
            ..object("b", "a b/c+d.tar.gz")
        };
        let keys = Keys { session: Some(Secret::new("session".into())), ..keys };
        let headers = other.signed(&other.address().unwrap(), &keys, Timestamp(1_369_353_600_000)).unwrap();
        let said = headers["authorization"].to_str().unwrap();
        assert!(said.ends_with("=dcf2731124ed5f0d8661854e4b7a76cd88a8c064106c668e24c4822931bd81ee"), "{said}");
    }
}
