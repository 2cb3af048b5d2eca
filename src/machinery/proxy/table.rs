//! Which host is answered by which replicas. A table is immutable: a change is a new table that
//! shares the targets and upstreams that stay.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{Certificates, Challenges, Meter, Rules, Upstream};
use crate::base::model::{DomainName, Host, Https};

/// `Upstream`s carry counters and open connections, so the next table must hold the same `Arc` for
/// a replica that stays; see [`RouteTable::upstreams`].
#[derive(Debug, Default, Clone)]
pub struct RouteTable {
    api: Option<(Host, SocketAddr)>,
    routes: Arc<Routes>,
    /// Routes of all hosts below one, by that one.
    below: Arc<Routes>,
    certificates: Arc<Certificates>,
    challenges: Arc<Challenges>,
}

type Routes = HashMap<Box<str>, (DomainName, Arc<Target>)>;

/// One environment of an app, as far as requests matter.
#[derive(Debug)]
pub struct Target {
    /// For the access log only.
    pub app: String,
    pub upstreams: Vec<Arc<Upstream>>,
    /// Upstreams that a percentage of the requests goes to, instead of to the others.
    pub canary: Option<Portion>,
    pub state: TargetState,
    /// Rung by requests that find the target asleep.
    pub bell: Arc<Bell>,
    /// The same one as long as the environment has a route.
    pub meter: Arc<Meter>,
    /// None: every request goes to an upstream as it is. The same ones as long as they say the same.
    pub rules: Option<Arc<Rules>>,
    pub https: Https,
}

#[derive(Debug)]
pub struct Portion {
    /// 0 to 100.
    pub percent: u8,
    pub upstreams: Vec<Arc<Upstream>>,
}

impl Target {
    /// The upstreams of a request that drew `lot`, of 0 to 99, and those that it goes to when none of the first takes it.
    pub fn groups(&self, lot: u8) -> (&[Arc<Upstream>], &[Arc<Upstream>]) {
        match &self.canary {
            None => (&self.upstreams, &[]),
            Some(canary) if lot < canary.percent => (&canary.upstreams, &self.upstreams),
            Some(canary) => (&self.upstreams, &canary.upstreams),
        }
    }

    /// Of both groups.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.upstreams.iter().chain(self.canary.iter().flat_map(|canary| &canary.upstreams))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// Requests go to an upstream; without one they are answered 503.
    Live,
    /// Every request is answered 503, upstreams or not.
    Stopped,
    /// Requests go to an upstream; without one they wait for a table that has one.
    Starting,
    /// As `Starting`; a request that has to wait rings the bell.
    Asleep,
}

/// How the proxy tells whoever sends its tables that requests wait for replicas that are not there.
#[derive(Debug, Default)]
pub struct Bell {
    rung: AtomicU64,
    listener: Arc<Notify>,
}

impl Bell {
    /// Each ring notifies the listener.
    pub fn new(listener: Arc<Notify>) -> Self {
        Self { rung: AtomicU64::new(0), listener }
    }

    pub fn ring(&self) {
        self.rung.fetch_add(1, Ordering::Relaxed);
        self.listener.notify_one();
    }

    /// Whether it was rung since it was last asked.
    pub fn was_rung(&self) -> bool {
        self.rung.swap(0, Ordering::Relaxed) > 0
    }
}

/// Where a host leads.
pub(super) enum Entry<'a> {
    Api(SocketAddr),
    App(&'a Arc<Target>),
}

impl RouteTable {
    /// A route for the host of the API is left out and logged. Of two routes for one host the last counts.
    pub fn new(api: Option<(Host, SocketAddr)>, routes: impl IntoIterator<Item = (DomainName, Arc<Target>)>) -> Self {
        let (mut whole, mut below) = (Routes::new(), Routes::new());
        for (host, target) in routes {
            if api.as_ref().is_some_and(|(own, _)| own.as_str() == host.as_str()) {
                tracing::warn!(app = target.app, host = %host, "a route for the host of the API is left out");
                continue;
            }
            let place = if host.below().is_some() { &mut below } else { &mut whole };
            place.insert(host.bare().into(), (host, target));
        }
        let (certificates, challenges) = Default::default();
        Self { api, routes: Arc::new(whole), below: Arc::new(below), certificates, challenges }
    }

    /// The same routes.
    #[must_use]
    pub fn with(&self, certificates: Arc<Certificates>) -> Self {
        Self { certificates, ..self.clone() }
    }

    /// The same routes, while these are looked for.
    #[must_use]
    pub fn showing(&self, challenges: Arc<Challenges>) -> Self {
        Self { challenges, ..self.clone() }
    }

    /// The same routes, with what is another's to change in the table of before.
    #[must_use]
    pub fn keeping(&self, before: &Self) -> Self {
        let (certificates, challenges) = (Arc::clone(&before.certificates), Arc::clone(&before.challenges));
        Self { certificates, challenges, ..self.clone() }
    }

    pub fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }

    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    pub fn api(&self) -> Option<&(Host, SocketAddr)> {
        self.api.as_ref()
    }

    /// Of the route of that very name.
    pub fn target(&self, name: &DomainName) -> Option<&Arc<Target>> {
        let place = if name.below().is_some() { &self.below } else { &self.routes };
        place.get(name.bare()).map(|(_, target)| target)
    }

    /// In no order.
    pub fn routes(&self) -> impl Iterator<Item = (&DomainName, &Arc<Target>)> {
        self.routes.values().chain(self.below.values()).map(|(host, target)| (host, target))
    }

    /// Every upstream, as often as there are routes to it: what the next table should hold on to.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.routes().flat_map(|(_, target)| target.all())
    }

    pub fn len(&self) -> usize {
        self.routes.len() + self.below.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A route of the host itself goes before one of all hosts below another.
    fn app(&self, host: &str) -> Option<&Arc<Target>> {
        let below = || self.below.get(host.split_once('.')?.1);
        self.routes.get(host).or_else(below).map(|(_, target)| target)
    }

    /// `host` in lower case, without port and trailing dot.
    pub(super) fn find(&self, host: &str) -> Option<Entry<'_>> {
        match &self.api {
            Some((own, address)) if own.as_str() == host => Some(Entry::Api(*address)),
            _ => self.app(host).map(Entry::App),
        }
    }
}
