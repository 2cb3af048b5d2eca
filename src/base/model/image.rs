//! What was pushed to the repository of an app: blobs, manifests that name them, tags that name those.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{NameError, TagName};
use crate::base::clock::Timestamp;

/// Digest of pushed content as its pusher names it: `sha256:` and 64, or `sha512:` and 128 hexadecimal digits (OCI image
/// spec, descriptor). It can hold nothing else, so nothing of a path or of a header.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentDigest(String);

impl ContentDigest {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        &self.0[7..19]
    }

    pub fn is_sha512(&self) -> bool {
        self.0.starts_with("sha512:")
    }
}

impl FromStr for ContentDigest {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let hex = match text.split_once(':') {
            Some(("sha256", hex)) if hex.len() == 64 => hex,
            Some(("sha512", hex)) if hex.len() == 128 => hex,
            _ => "",
        };
        if !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::new("must be sha256: or sha512: followed by 64 or 128 hexadecimal digits"))
        }
    }
}

impl TryFrom<String> for ContentDigest {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ContentDigest> for String {
    fn from(digest: ContentDigest) -> Self {
        digest.0
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Content in the repository of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedBlob {
    pub digest: ContentDigest,
    /// SHA-256: its name in the blob store.
    pub blob: ContentDigest,
    pub bytes: i64,
    pub used_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedManifest {
    pub digest: ContentDigest,
    /// SHA-256: its name in the blob store.
    pub blob: ContentDigest,
    pub bytes: i64,
    pub media_type: String,
    /// The manifest that this one says something of; it need not be there.
    pub subject: Option<ContentDigest>,
    pub facts: ManifestFacts,
    pub used_at: Timestamp,
}

/// What the document says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ManifestFacts {
    pub artifact_type: Option<String>,
    /// Of one with a subject; of others they matter to nobody here.
    pub annotations: BTreeMap<String, String>,
    /// Config and layers that must be in the same repository.
    pub blobs: Vec<ContentDigest>,
    /// Of an index: those that must be in the same repository.
    pub manifests: Vec<ContentDigest>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedTag {
    pub name: TagName,
    pub digest: ContentDigest,
    pub moved_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_of_two_kinds() {
        let (short, long) = ("a".repeat(64), "0".repeat(128));
        assert_eq!(format!("sha256:{short}").parse::<ContentDigest>().map(|d| d.is_sha512()), Ok(false));
        assert_eq!(format!("sha512:{long}").parse::<ContentDigest>().map(|d| d.is_sha512()), Ok(true));
        for bad in [
            "",
            "sha256:",
            "sha256:baddigeststring",
            "sha256:../../etc/passwd",
            &format!("sha256:{long}"),
            &format!("sha512:{short}"),
            &format!("md5:{short}"),
            &format!("sha256:{}", short.to_uppercase()),
            &format!("sha256:{short}/"),
            &format!("sha256:{}\0", &short[1..]),
        ] {
            assert!(bad.parse::<ContentDigest>().is_err(), "{bad:?}");
        }
    }
}
