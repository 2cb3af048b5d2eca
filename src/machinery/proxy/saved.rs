//! The last table on disk, so that apps are served before anything else has started. Upstreams
//! come back without counters, one object per address and replica.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Bell, Meter, Portion, RouteTable, Rules, Target, TargetState, Upstream};
use crate::base::model::{DomainName, Host, Https, Protocol, Traffic};

#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("write the route table {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("read the route table {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the saved route table {path} is damaged")]
    Damaged { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
}

impl TableError {
    pub fn is_temporary(&self) -> bool {
        !matches!(self, Self::Damaged { .. })
    }
}

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    format: u32,
    api: Option<SavedApi>,
    targets: Vec<SavedTarget>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedApi {
    host: Host,
    address: SocketAddr,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedTarget {
    app: String,
    #[serde(default)]
    environment: String,
    state: TargetState,
    hosts: Vec<DomainName>,
    upstreams: Vec<SavedUpstream>,
    #[serde(default, skip_serializing_if = "Https::is_silent")]
    https: Https,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    canary: Option<SavedPortion>,
    #[serde(default, skip_serializing_if = "Traffic::is_plain")]
    traffic: Traffic,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedPortion {
    percent: u8,
    upstreams: Vec<SavedUpstream>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedUpstream {
    address: SocketAddr,
    replica: String,
    #[serde(default, skip_serializing_if = "Protocol::is_plain")]
    protocol: Protocol,
}

/// Blocking. Atomic: after a crash, of the machine too, the file is the old table or the new one. Not for two writers at once.
pub fn save(table: &RouteTable, path: &Path) -> Result<(), TableError> {
    written(table, path, path)?;
    // What was noted is no newer than this.
    match std::fs::remove_file(noted(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(TableError::Write { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// Blocking. The same without waiting for the disk: it outlives this process, not a power cut, after which what was saved
/// counts. To be followed by `save` when there is time.
pub fn note(table: &RouteTable, path: &Path) -> Result<(), TableError> {
    written(table, path, &noted(path))
}

fn noted(path: &Path) -> PathBuf {
    path.with_extension("json.noted")
}

/// On the disk where `to` is the file itself.
fn written(table: &RouteTable, path: &Path, to: &Path) -> Result<(), TableError> {
    let fault = |source| TableError::Write { path: path.to_owned(), source };
    let text = encode(table).map_err(fault)?;
    let fresh = path.with_extension("json.new");
    let mut file = File::create(&fresh).map_err(fault)?;
    file.write_all(&text).map_err(fault)?;
    if to == path {
        file.sync_all().map_err(fault)?;
    }
    std::fs::rename(&fresh, to).map_err(fault)
}

/// Blocking. What was noted last, or saved. `None` when nothing ever was.
pub fn load(path: &Path) -> Result<Option<RouteTable>, TableError> {
    // A power cut may have damaged it.
    if let Ok(text) = std::fs::read(noted(path))
        && let Ok(table) = decode(&text, Bell::default)
    {
        return Ok(Some(table));
    }
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TableError::Read { path: path.to_owned(), source }),
    };
    decode(&text, Bell::default).map(Some).map_err(|source| TableError::Damaged { path: path.to_owned(), source })
}

/// The text of a table's file.
pub fn encode(table: &RouteTable) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec_pretty(&Saved::from(table))?)
}

/// Of such a text, each target with a bell.
pub fn decode(text: &[u8], bell: impl Fn() -> Bell) -> Result<RouteTable, Box<dyn std::error::Error + Send + Sync>> {
    let saved: Saved = serde_json::from_slice(text)?;
    if saved.format != FORMAT {
        return Err(format!("format {} is not {FORMAT}", saved.format).into());
    }
    Ok(saved.into_table(bell))
}

impl From<&RouteTable> for Saved {
    fn from(table: &RouteTable) -> Self {
        let mut targets: HashMap<*const Target, SavedTarget> = HashMap::new();
        for (host, target) in table.routes() {
            targets.entry(Arc::as_ptr(target)).or_insert_with(|| SavedTarget::from(&**target)).hosts.push(host.clone());
        }
        let mut targets: Vec<_> = targets.into_values().collect();
        targets.iter_mut().for_each(|target| target.hosts.sort());
        targets.sort_by(|a, b| a.hosts.cmp(&b.hosts));
        let api = table.api().map(|(host, address)| SavedApi { host: host.clone(), address: *address });
        Self { format: FORMAT, api, targets }
    }
}

impl From<&Target> for SavedTarget {
    fn from(target: &Target) -> Self {
        let saved = |u: &Arc<Upstream>| {
            let (address, replica, protocol) = (u.address(), u.replica().to_owned(), u.protocol());
            SavedUpstream { address, replica, protocol }
        };
        let upstreams = target.upstreams.iter().map(saved).collect();
        let portion = |canary: &Portion| SavedPortion {
            percent: canary.percent,
            upstreams: canary.upstreams.iter().map(saved).collect(),
        };
        let canary = target.canary.as_ref().map(portion);
        let environment = target.meter.environment().to_owned();
        let (app, state, https) = (target.app.clone(), target.state, target.https);
        let traffic = target.rules.as_ref().map(|rules| rules.traffic().clone()).unwrap_or_default();
        Self { app, environment, state, hosts: Vec::new(), upstreams, https, canary, traffic }
    }
}

impl Saved {
    fn into_table(self, bell: impl Fn() -> Bell) -> RouteTable {
        let mut known: HashMap<(SocketAddr, String), Arc<Upstream>> = HashMap::new();
        let mut routes = Vec::new();
        for target in self.targets {
            let mut revive = |saved: Vec<SavedUpstream>| {
                let one = |u: SavedUpstream| {
                    let key = (u.address, u.replica.clone());
                    let fresh = || Upstream::speaking(u.protocol, u.address, u.replica);
                    known.entry(key).or_insert_with(fresh).clone()
                };
                saved.into_iter().map(one).collect::<Vec<_>>()
            };
            let upstreams = revive(target.upstreams);
            let canary = target.canary.map(|c| Portion { percent: c.percent, upstreams: revive(c.upstreams) });
            let meter = Arc::new(Meter::new(target.environment));
            let bell = Arc::new(bell());
            let (app, state, https) = (target.app, target.state, target.https);
            let rules = (!target.traffic.is_plain()).then(|| Arc::new(Rules::new(target.traffic)));
            let whole = Arc::new(Target { app, upstreams, canary, state, bell, meter, rules, https });
            routes.extend(target.hosts.into_iter().map(|host| (host, Arc::clone(&whole))));
        }
        RouteTable::new(self.api.map(|api| (api.host, api.address)), routes)
    }
}
