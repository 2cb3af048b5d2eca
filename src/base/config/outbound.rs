//! Connections that the platform opens because a user named an address.

use serde::Deserialize;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outbound {
    /// Private addresses (RFC 1918, loopback, unique local) may be connected to as well. Link-local ones, which cloud
    /// providers answer secrets on, never.
    pub private: bool,
}
