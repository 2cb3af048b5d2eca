//! The last table on disk, so that apps are served before anything else has started. Upstreams
//! come back without counters, one object per address and replica.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Meter, Portion, RouteTable, Target, TargetState, Upstream};
use crate::base::model::Host;

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
    hosts: Vec<Host>,
    upstreams: Vec<SavedUpstream>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    canary: Option<SavedPortion>,
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
}

/// Blocking. Atomic: after a crash the file is the old table or the new one. Not for two writers at once.
pub fn save(table: &RouteTable, path: &Path) -> Result<(), TableError> {
    let fault = |source| TableError::Write { path: path.to_owned(), source };
    let text = serde_json::to_vec_pretty(&Saved::from(table)).map_err(|e| fault(e.into()))?;
    let fresh = path.with_extension("json.new");
    let mut file = File::create(&fresh).map_err(fault)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(fault)?;
    std::fs::rename(&fresh, path).map_err(fault)
}

/// Blocking. `None` when nothing was ever saved there.
pub fn load(path: &Path) -> Result<Option<RouteTable>, TableError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TableError::Read { path: path.to_owned(), source }),
    };
    let damaged = |source| TableError::Damaged { path: path.to_owned(), source };
    let saved: Saved = serde_json::from_slice(&text).map_err(|e| damaged(e.into()))?;
    if saved.format != FORMAT {
        return Err(damaged(format!("format {} is not {FORMAT}", saved.format).into()));
    }
    Ok(Some(saved.into()))
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
        let saved = |u: &Arc<Upstream>| SavedUpstream { address: u.address(), replica: u.replica().to_owned() };
        let upstreams = target.upstreams.iter().map(saved).collect();
        let portion = |canary: &Portion| SavedPortion {
            percent: canary.percent,
            upstreams: canary.upstreams.iter().map(saved).collect(),
        };
        let canary = target.canary.as_ref().map(portion);
        let environment = target.meter.environment().to_owned();
        Self { app: target.app.clone(), environment, state: target.state, hosts: Vec::new(), upstreams, canary }
    }
}

impl From<Saved> for RouteTable {
    fn from(saved: Saved) -> Self {
        let mut known: HashMap<(SocketAddr, String), Arc<Upstream>> = HashMap::new();
        let mut routes = Vec::new();
        for target in saved.targets {
            let mut revive = |saved: Vec<SavedUpstream>| {
                let one = |u: SavedUpstream| {
                    let key = (u.address, u.replica.clone());
                    known.entry(key).or_insert_with(|| Upstream::new(u.address, u.replica)).clone()
                };
                saved.into_iter().map(one).collect::<Vec<_>>()
            };
            let upstreams = revive(target.upstreams);
            let canary = target.canary.map(|c| Portion { percent: c.percent, upstreams: revive(c.upstreams) });
            let meter = Arc::new(Meter::new(target.environment));
            let bell = Arc::default();
            let whole = Arc::new(Target { app: target.app, upstreams, canary, state: target.state, bell, meter });
            routes.extend(target.hosts.into_iter().map(|host| (host, Arc::clone(&whole))));
        }
        Self::new(saved.api.map(|api| (api.host, api.address)), routes)
    }
}
