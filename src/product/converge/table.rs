//! From what shall receive traffic to the proxy's immutable table. Upstreams outlive tables, so
//! that their counters of requests in flight and their connections do.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::{Notify, watch};

use super::observed::{Answers, Routed};
use super::plan::Share;
use crate::base::model::{DomainName, EnvironmentId, EnvironmentState, Host, Https, Protocol, Replica, Traffic};
use crate::machinery::proxy::{Bell, Meter, Portion, RouteTable, Rules, Target, TargetState, Upstream};

/// What one environment contributes.
pub struct Entry {
    pub environment: EnvironmentId,
    pub app: String,
    pub hosts: Vec<DomainName>,
    /// Ids of ready replicas.
    pub routed: Vec<String>,
    /// What they speak; who is missing speaks what it spoke.
    pub protocols: BTreeMap<String, Protocol>,
    /// Those of them that receive a percentage of the requests.
    pub share: Option<Share>,
    pub state: EnvironmentState,
    pub traffic: Traffic,
    pub https: Https,
}

/// Comparable picture of a table; the same picture is not published twice.
type Picture = BTreeMap<String, Shown>;

#[derive(PartialEq, Eq)]
struct Shown {
    app: String,
    routed: Vec<(String, Protocol)>,
    share: Option<Share>,
    state: TargetState,
    traffic: Traffic,
    https: Https,
}

pub struct Publisher {
    sender: watch::Sender<Arc<RouteTable>>,
    api: Option<(Host, std::net::SocketAddr)>,
    upstreams: HashMap<String, Arc<Upstream>>,
    meters: HashMap<EnvironmentId, Arc<Meter>>,
    rules: HashMap<EnvironmentId, Arc<Rules>>,
    picture: Picture,
    /// Ids of all that the picture has.
    shown: HashSet<String>,
    /// Whether the picture is of a table of this process, and not of the one that was saved before it.
    published: bool,
    /// One for each environment, in every table.
    bells: HashMap<EnvironmentId, Arc<Bell>>,
    listener: Arc<Notify>,
}

impl Publisher {
    /// `listener` is notified when requests wait for an app that sleeps. What the table of before leads to keeps its route,
    /// and its requests are counted, until a look says otherwise.
    pub fn new(
        sender: watch::Sender<Arc<RouteTable>>,
        api: Option<(Host, std::net::SocketAddr)>,
        listener: Arc<Notify>,
    ) -> Self {
        let saved = Arc::clone(&sender.borrow());
        let upstreams = saved.upstreams().map(|u| (u.replica().to_owned(), Arc::clone(u))).collect();
        let ids = |target: &Target| target.all().map(|u| (u.replica().to_owned(), u.protocol())).collect();
        let traffic = |t: &Target| t.rules.as_ref().map(|rules| rules.traffic().clone()).unwrap_or_default();
        let target = |t: &Target| Shown {
            app: t.app.clone(),
            routed: ids(t),
            share: None,
            state: t.state,
            traffic: traffic(t),
            https: t.https,
        };
        let picture = saved.routes().map(|(host, of)| (host.to_string(), target(of))).collect();
        let (meters, bells, rules) = (HashMap::new(), HashMap::new(), HashMap::new());
        let shown = shown_in(&picture);
        Self { sender, api, upstreams, meters, rules, picture, shown, published: false, bells, listener }
    }

    /// As it was routed last.
    pub fn spoken(&self, replica: &str) -> Option<Protocol> {
        self.upstreams.get(replica).map(|upstream| upstream.protocol())
    }

    /// Requests that went into the replica since it was first routed.
    pub fn entered(&self, replica: &str) -> u64 {
        self.upstreams.get(replica).map_or(0, |upstream| upstream.entered())
    }

    /// Whether requests waited for the environment since this was last asked.
    pub fn was_rung(&self, environment: &EnvironmentId) -> bool {
        self.bells.get(environment).is_some_and(|bell| bell.was_rung())
    }

    pub fn traffic(&self, replica: &str) -> Option<Routed> {
        let upstream = self.upstreams.get(replica)?;
        let routed = self.shown.contains(replica);
        let (requests, faults, latency) = (upstream.requests(), upstream.faults(), upstream.latency());
        let answers = Answers { requests, faults, latency };
        Some(Routed { now: routed, in_flight: upstream.in_flight(), answers })
    }

    /// Publishes the table if it differs from the last one; returns the replicas that left it.
    pub fn publish(&mut self, entries: &[Entry], replicas: &[Replica]) -> Option<Vec<String>> {
        let addresses: HashMap<&str, _> =
            replicas.iter().filter_map(|r| r.address.map(|a| (r.id.as_str(), a))).collect();
        let mut picture = Picture::new();
        for entry in entries {
            let state = target_state(entry);
            for host in &entry.hosts {
                let routed = entry.routed.iter().map(|id| (id.clone(), self.protocol(entry, id))).collect();
                let (app, share) = (entry.app.clone(), entry.share.clone());
                let (traffic, https) = (entry.traffic.clone(), entry.https);
                picture.insert(host.to_string(), Shown { app, routed, share, state, traffic, https });
            }
        }
        if self.published && self.picture == picture {
            self.forget_gone(replicas);
            return None;
        }
        let mut routes = HashMap::new();
        for entry in entries {
            let (mut upstreams, mut canaries) = (Vec::new(), Vec::new());
            for id in &entry.routed {
                if let Some(address) = addresses.get(id.as_str()) {
                    let protocol = self.protocol(entry, id);
                    let fresh = || Upstream::speaking(protocol, *address, id.clone());
                    let upstream = self.upstreams.entry(id.clone()).or_insert_with(fresh);
                    // A restart may have given it another address.
                    if upstream.address() != *address {
                        *upstream = fresh();
                    }
                    upstream.speak(protocol);
                    upstream.admit();
                    let is_canary = entry.share.as_ref().is_some_and(|share| share.replicas.contains(id));
                    let group = if is_canary { &mut canaries } else { &mut upstreams };
                    group.push(Arc::clone(upstream));
                }
            }
            let bell = self.bells.entry(entry.environment.clone());
            let bell = Arc::clone(bell.or_insert_with(|| Arc::new(Bell::new(Arc::clone(&self.listener)))));
            let fresh = || Arc::new(Meter::new(entry.environment.to_string()));
            let meter = Arc::clone(self.meters.entry(entry.environment.clone()).or_insert_with(fresh));
            let (app, state) = (entry.app.clone(), target_state(entry));
            let percent = entry.share.as_ref().map_or(0, |share| share.percent);
            let canary = (!canaries.is_empty()).then_some(Portion { percent, upstreams: canaries });
            let (rules, https) = (self.rules_of(entry), entry.https);
            let target = Arc::new(Target { app, upstreams, canary, state, bell, meter, rules, https });
            for host in &entry.hosts {
                routes.insert(host.clone(), Arc::clone(&target));
            }
        }
        let known: HashSet<&EnvironmentId> = entries.iter().map(|entry| &entry.environment).collect();
        self.bells.retain(|id, _| known.contains(id));
        self.meters.retain(|id, _| known.contains(id));
        self.rules.retain(|id, _| known.contains(id));
        let table = RouteTable::new(self.api.clone(), routes);
        // Certificates and challenges are another's to change, in the same channel.
        self.sender.send_modify(|sent| *sent = Arc::new(table.keeping(sent)));
        self.published = true;
        self.picture = picture;
        let before = std::mem::replace(&mut self.shown, shown_in(&self.picture));
        let mut left: Vec<String> = before.into_iter().filter(|id| !self.shown.contains(id)).collect();
        left.sort();
        // From here on nothing enters them, so that no request in flight means none to come.
        left.iter().filter_map(|id| self.upstreams.get(id)).for_each(|upstream| upstream.retire());
        self.forget_gone(replicas);
        Some(left)
    }

    /// The same ones as before while they say the same: they count.
    fn rules_of(&mut self, entry: &Entry) -> Option<Arc<Rules>> {
        if entry.traffic.is_plain() {
            self.rules.remove(&entry.environment);
            return None;
        }
        let before = self.rules.get(&entry.environment).filter(|rules| *rules.traffic() == entry.traffic);
        let rules = before.cloned().unwrap_or_else(|| Arc::new(Rules::new(entry.traffic.clone())));
        self.rules.insert(entry.environment.clone(), Arc::clone(&rules));
        Some(rules)
    }

    fn protocol(&self, entry: &Entry, replica: &str) -> Protocol {
        let known = || self.upstreams.get(replica).map(|upstream| upstream.protocol());
        entry.protocols.get(replica).copied().or_else(known).unwrap_or_default()
    }

    fn forget_gone(&mut self, replicas: &[Replica]) {
        let ids: HashSet<&str> = replicas.iter().map(|r| r.id.as_str()).collect();
        self.upstreams.retain(|id, _| ids.contains(id.as_str()));
    }
}

fn shown_in(picture: &Picture) -> HashSet<String> {
    picture.values().flat_map(|shown| &shown.routed).map(|(id, _)| id.clone()).collect()
}

fn target_state(entry: &Entry) -> TargetState {
    match entry.state {
        EnvironmentState::Stopped => TargetState::Stopped,
        EnvironmentState::Asleep => TargetState::Asleep,
        EnvironmentState::Converging | EnvironmentState::Watching | EnvironmentState::Holding
            if entry.routed.is_empty() =>
        {
            TargetState::Starting
        }
        _ => TargetState::Live,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table that a life of the platform left to the next one: a canary beside what is live.
    #[test]
    fn who_had_the_route_before_has_it_in_the_next_life_a_canary_too() {
        let upstream = |port: u16, id: &str| Upstream::new(([127, 0, 0, 1], port).into(), id.to_owned());
        let canary = Portion { percent: 10, upstreams: vec![upstream(2, "new")] };
        let listener = Arc::new(Notify::new());
        let target = Target {
            app: "shop".into(),
            upstreams: vec![upstream(1, "old")],
            canary: Some(canary),
            state: TargetState::Live,
            bell: Arc::new(Bell::new(Arc::clone(&listener))),
            meter: Arc::new(Meter::new("env".to_owned())),
            rules: None,
            https: Https::default(),
        };
        let host: DomainName = "shop.example.com".parse().expect("a host");
        let saved = RouteTable::new(None, HashMap::from([(host, Arc::new(target))]));
        let publisher = Publisher::new(watch::channel(Arc::new(saved)).0, None, listener);
        for id in ["old", "new"] {
            assert!(publisher.traffic(id).is_some_and(|routed| routed.now), "{id}");
        }
        assert!(publisher.traffic("another").is_none());
    }
}
