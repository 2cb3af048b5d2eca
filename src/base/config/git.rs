//! The SSH git server and its bounds.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Git {
    pub listen: SocketAddr,
    /// Host in printed git addresses.
    pub public_host: String,
    /// A push to an app that does not exist creates it when the pusher may.
    pub create_on_push: bool,
    pub max_pack_bytes: u64,
    pub max_objects: u32,
    pub max_object_bytes: usize,
    pub max_sessions: usize,
    pub max_sessions_per_address: usize,
}

impl Default for Git {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 2222)),
            public_host: "localhost".into(),
            create_on_push: true,
            max_pack_bytes: 2 << 30,
            max_objects: 2_000_000,
            max_object_bytes: 100 << 20,
            max_sessions: 256,
            max_sessions_per_address: 32,
        }
    }
}

impl Git {
    pub(super) fn validate(&self, faults: &mut Vec<String>) {
        let host = &self.public_host;
        if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b)) {
            faults.push("git.public_host: must be a host name or address".into());
        }
        for (key, zero) in [
            ("max_pack_bytes", self.max_pack_bytes == 0),
            ("max_objects", self.max_objects == 0),
            ("max_object_bytes", self.max_object_bytes == 0),
            ("max_sessions", self.max_sessions == 0),
            ("max_sessions_per_address", self.max_sessions_per_address == 0),
        ] {
            if zero {
                faults.push(format!("git.{key}: must be at least 1"));
            }
        }
    }
}
