//! The proxy, the API and the host names.

use std::net::{Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use serde::Deserialize;

use crate::base::model::{AppName, Host};

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    pub proxy_listen: SocketAddr,
    /// Where the proxy speaks TLS; nowhere by default.
    pub tls_listen: Option<SocketAddr>,
    /// API, registry; the proxy forwards the host `hythe.<base_domain>` to it.
    pub api_listen: SocketAddr,
    /// An app answers on `<app>.<base_domain>`.
    pub base_domain: Host,
    /// Port in printed addresses, when it is not the proxy's own (behind a port forward).
    pub public_port: Option<u16>,
    /// The same for TLS; told to apps as well (`X-Forwarded-Port`).
    pub public_tls_port: Option<u16>,
    /// Networks of load balancers in front, which say by the PROXY protocol whose each connection is.
    pub balancers: Vec<IpNet>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            proxy_listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)),
            api_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            base_domain: "localhost".parse().unwrap_or_else(|_| unreachable!("a constant host")),
            public_port: None,
            tls_listen: None,
            public_tls_port: None,
            balancers: Vec::new(),
        }
    }
}

impl Http {
    pub(super) fn validate(&self, faults: &mut Vec<String>) {
        if self.proxy_listen == self.api_listen && self.proxy_listen.port() != 0 {
            faults.push("http.api_listen: must differ from http.proxy_listen".into());
        }
        let taken = [self.proxy_listen, self.api_listen];
        if self.tls_listen.is_some_and(|tls| tls.port() != 0 && taken.contains(&tls)) {
            faults.push("http.tls_listen: must differ from http.proxy_listen and http.api_listen".into());
        }
    }

    pub fn api_host(&self) -> String {
        format!("hythe.{}", self.base_domain)
    }

    pub fn app_host(&self, app: &AppName) -> String {
        format!("{app}.{}", self.base_domain)
    }
}
