//! From what shall receive traffic to the proxy's immutable table. Upstreams outlive tables, so
//! that their counters of requests in flight and their connections do.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::watch;

use crate::base::model::{EnvironmentState, Host, Replica};
use crate::machinery::proxy::{RouteTable, Target, TargetState, Upstream};

/// What one environment contributes.
pub struct Entry {
    pub app: String,
    pub hosts: Vec<Host>,
    /// Ids of ready replicas.
    pub routed: Vec<String>,
    pub state: EnvironmentState,
}

/// Comparable picture of a table; the same picture is not published twice.
type Picture = BTreeMap<String, (String, Vec<String>, TargetState)>;

pub struct Publisher {
    sender: watch::Sender<Arc<RouteTable>>,
    api: Option<(Host, std::net::SocketAddr)>,
    upstreams: HashMap<String, Arc<Upstream>>,
    picture: Option<Picture>,
}

impl Publisher {
    pub fn new(sender: watch::Sender<Arc<RouteTable>>, api: Option<(Host, std::net::SocketAddr)>) -> Self {
        Self { sender, api, upstreams: HashMap::new(), picture: None }
    }

    /// Whether the replica stands in the published table and its requests in flight.
    pub fn traffic(&self, replica: &str) -> Option<(bool, usize)> {
        let upstream = self.upstreams.get(replica)?;
        let routed =
            self.picture.as_ref().is_some_and(|p| p.values().any(|(_, ids, _)| ids.iter().any(|i| i == replica)));
        Some((routed, upstream.in_flight()))
    }

    /// Publishes the table if it differs from the last one; returns the replicas that left it.
    pub fn publish(&mut self, entries: &[Entry], replicas: &[Replica]) -> Option<Vec<String>> {
        let addresses: HashMap<&str, _> =
            replicas.iter().filter_map(|r| r.address.map(|a| (r.id.as_str(), a))).collect();
        let mut picture = Picture::new();
        for entry in entries {
            let state = target_state(entry);
            for host in &entry.hosts {
                picture.insert(host.to_string(), (entry.app.clone(), entry.routed.clone(), state));
            }
        }
        if self.picture.as_ref() == Some(&picture) {
            self.forget_gone(replicas);
            return None;
        }
        let mut routes = HashMap::new();
        for entry in entries {
            let mut upstreams = Vec::new();
            for id in &entry.routed {
                if let Some(address) = addresses.get(id.as_str()) {
                    let upstream =
                        self.upstreams.entry(id.clone()).or_insert_with(|| Upstream::new(*address, id.clone()));
                    // A restart may have given it another address.
                    if upstream.address() != *address {
                        *upstream = Upstream::new(*address, id.clone());
                    }
                    upstream.admit();
                    upstreams.push(Arc::clone(upstream));
                }
            }
            let target = Arc::new(Target { app: entry.app.clone(), upstreams, state: target_state(entry) });
            for host in &entry.hosts {
                routes.insert(host.clone(), Arc::clone(&target));
            }
        }
        self.sender.send_replace(Arc::new(RouteTable::new(self.api.clone(), routes)));
        let before = self.picture.replace(picture).unwrap_or_default();
        let now = self.picture.iter().flat_map(|p| p.values()).flat_map(|(_, ids, _)| ids).collect::<Vec<_>>();
        let mut left: Vec<String> =
            before.into_values().flat_map(|(_, ids, _)| ids).filter(|id| !now.contains(&id)).collect();
        left.sort();
        left.dedup();
        // From here on nothing enters them, so that no request in flight means none to come.
        left.iter().filter_map(|id| self.upstreams.get(id)).for_each(|upstream| upstream.retire());
        self.forget_gone(replicas);
        Some(left)
    }

    fn forget_gone(&mut self, replicas: &[Replica]) {
        self.upstreams.retain(|id, _| replicas.iter().any(|r| r.id == *id));
    }
}

fn target_state(entry: &Entry) -> TargetState {
    match entry.state {
        EnvironmentState::Stopped => TargetState::Stopped,
        EnvironmentState::Converging if entry.routed.is_empty() => TargetState::Starting,
        _ => TargetState::Live,
    }
}
