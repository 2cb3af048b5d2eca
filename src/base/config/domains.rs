//! How domains are proven to be their owners'.

use std::net::SocketAddr;

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Domains {
    /// DNS server that is asked; else those of this machine (`/etc/resolv.conf`).
    pub resolver: Option<SocketAddr>,
    /// Where the web server of a domain is asked for its file.
    pub check_port: u16,
}

impl Default for Domains {
    fn default() -> Self {
        Self { resolver: None, check_port: 80 }
    }
}
