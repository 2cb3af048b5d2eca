//! The proxy, the API and the host names.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;

use crate::base::model::{AppName, Host};

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    pub proxy_listen: SocketAddr,
    /// API, registry; the proxy forwards the host `hythe.<base_domain>` to it.
    pub api_listen: SocketAddr,
    /// An app answers on `<app>.<base_domain>`.
    pub base_domain: Host,
    /// Port in printed addresses, when it is not the proxy's own (behind a port forward).
    pub public_port: Option<u16>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            proxy_listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)),
            api_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            base_domain: "localhost".parse().unwrap_or_else(|_| unreachable!("a constant host")),
            public_port: None,
        }
    }
}

impl Http {
    pub(super) fn validate(&self, faults: &mut Vec<String>) {
        if self.proxy_listen == self.api_listen && self.proxy_listen.port() != 0 {
            faults.push("http.api_listen: must differ from http.proxy_listen".into());
        }
    }

    pub fn api_host(&self) -> String {
        format!("hythe.{}", self.base_domain)
    }

    pub fn app_host(&self, app: &AppName) -> String {
        format!("{app}.{}", self.base_domain)
    }

    /// `bound` is the port that the proxy really listens on.
    pub fn url(&self, host: &str, bound: u16) -> String {
        match self.public_port.unwrap_or(bound) {
            80 => format!("http://{host}"),
            port => format!("http://{host}:{port}"),
        }
    }
}
