//! A release: the immutable whole of what runs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{
    BuildId, Checks, DomainName, EnvironmentId, Formation, Manifest, Mounts, NameError, ProcessName, ReleaseId,
    Scalings, Sizes, UserId,
};
use crate::base::clock::Timestamp;

/// Digest of an image's manifest, `sha256:` and 64 hexadecimal digits (OCI image spec, descriptor).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageDigest(String);

impl ImageDigest {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        &self.0[7..19]
    }
}

impl FromStr for ImageDigest {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let hex = text.strip_prefix("sha256:").filter(|h| h.len() == 64);
        match hex {
            Some(h) if h.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) => Ok(Self(text.to_owned())),
            _ => Err(NameError::new("must be sha256: followed by 64 hexadecimal digits")),
        }
    }
}

impl TryFrom<String> for ImageDigest {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ImageDigest> for String {
    fn from(digest: ImageDigest) -> Self {
        digest.0
    }
}

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The port of a `web` process inside its container, where its image has no port of its own.
pub const PORT: u16 = 8080;

/// How a process of the image starts: an argument vector inside the container, never a shell of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub command: Vec<String>,
    /// Absolute path in the image; none means the image's own working directory.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// Where it listens, if it takes traffic and its image does not ask what `PORT` says; none means the platform's own port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

pub type Processes = BTreeMap<ProcessName, Process>;

/// What a release changed of what runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseKind {
    /// New replicas took over, or should have.
    #[default]
    Rollout,
    /// The replicas of the live release before it run on; their number or their checks changed. As good as that one.
    Settings,
}

#[derive(Debug, Clone)]
pub struct Release {
    pub id: ReleaseId,
    pub environment_id: EnvironmentId,
    /// 1, 2, 3 … within the environment; shown as `v3`.
    pub number: i64,
    pub build_id: Option<BuildId>,
    /// Full commit id of the pushed tree, when the release came from a push.
    pub commit: Option<String>,
    pub image: ImageDigest,
    pub processes: Processes,
    pub variables_version: i64,
    pub formation: Formation,
    /// Where the platform counts instead; what it counted is no part of a release.
    pub scaling: Scalings,
    pub hosts: Vec<DomainName>,
    /// `app.json` of the pushed tree.
    pub manifest: Manifest,
    /// Those that people set; `app.json` has its own.
    pub checks: Checks,
    pub sizes: Sizes,
    /// Where volumes are; what is in them is no part of a release.
    pub mounts: Mounts,
    pub kind: ReleaseKind,
    /// What made it, for people: "push 1f0c…", "set A, B", "rollback to v3".
    pub description: String,
    pub created_by: Option<UserId>,
    pub created_at: Timestamp,
    /// When its image was given up: from then on it is a record, and cannot be deployed.
    pub image_gone_at: Option<Timestamp>,
}
