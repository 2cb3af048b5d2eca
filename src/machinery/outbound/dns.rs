//! Questions to the DNS that getaddrinfo(3) cannot ask, or that go to a server of the operator's choice. Each is asked
//! anew: nothing is kept from one to the next.

use std::io;
use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use tokio::time::timeout;

use super::{CONNECT, OutboundError, Result};

pub struct Dns(TokioResolver);

impl Dns {
    /// None: the servers of this machine.
    pub fn new(server: Option<SocketAddr>) -> Result<Self> {
        let built = match server {
            None => TokioResolver::builder_tokio(),
            Some(server) => {
                let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
                connections.iter_mut().for_each(|connection| connection.port = server.port());
                let servers = vec![NameServerConfig::new(server.ip(), true, connections)];
                let config = ResolverConfig::from_parts(None, Vec::new(), servers);
                Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
            }
        };
        let resolver = built.and_then(|mut builder| {
            let options = builder.options_mut();
            options.cache_size = 0;
            // What is asked of a server of its own is not answered by this machine's file.
            if server.is_some() {
                options.use_hosts_file = ResolveHosts::Never;
            }
            builder.build()
        });
        resolver.map(Self).map_err(|fault| unresolved("any name", io::Error::other(fault)))
    }

    /// TXT records, each in one piece; none are an empty list.
    pub async fn texts(&self, name: &str) -> Result<Vec<Vec<u8>>> {
        let asked = timeout(CONNECT, self.0.txt_lookup(full(name))).await;
        match asked.map_err(|late| unresolved(name, late.into()))? {
            Ok(found) => Ok(found.answers().iter().filter_map(|record| text(&record.data)).collect()),
            Err(fault) if is_nothing(&fault) => Ok(Vec::new()),
            Err(fault) => Err(unresolved(name, io::Error::other(fault))),
        }
    }

    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>> {
        let asked = timeout(CONNECT, self.0.lookup_ip(full(name))).await;
        match asked.map_err(|late| unresolved(name, late.into()))? {
            Ok(found) => Ok(found.iter().collect()),
            Err(fault) if is_nothing(&fault) => Ok(Vec::new()),
            Err(fault) => Err(unresolved(name, io::Error::other(fault))),
        }
    }
}

/// With its last dot: not looked for below the domain of this machine.
fn full(name: &str) -> String {
    format!("{name}.")
}

fn text(data: &RData) -> Option<Vec<u8>> {
    match data {
        RData::TXT(text) => Some(text.txt_data.concat()),
        _ => None,
    }
}

fn is_nothing(fault: &NetError) -> bool {
    fault.is_no_records_found()
}

fn unresolved(name: &str, source: io::Error) -> OutboundError {
    OutboundError::Unresolved { host: name.to_owned(), source }
}
