//! What people see of running apps: events, the chain of causes behind a state, logs, metrics. Reads what others wrote;
//! its collectors follow replicas, the proxy and jobs, and change nothing of them. Lines and events go out from here too.

mod access;
mod bucket;
mod collect;
mod drains;
mod events;
mod host;
mod logs;
mod metrics;
mod output;
mod prometheus;
mod replica;
mod sampler;
mod webhooks;
mod why;
mod written;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::base::config::Config;
use crate::base::error::{Error, Result};
use crate::base::model::{Measured, OutboundUrl};
use crate::machinery::outbound::Guard;
use crate::product::Ctx;
use crate::state::logs::kept::{AppLogs, Bounds};

pub use access::{BOOK, keep_access};
pub use collect::{Collector, sweep_logs};
pub use drains::{DrainHealth, add_drain, drains, remove_drain, run_drains};
pub use events::{EventStream, events, follow_events};
pub use logs::{LogQuery, logs};
pub use metrics::{MetricsQuery, host_metrics, metrics};
pub use output::keep_output;
pub use prometheus::prometheus;
pub use sampler::Sampler;
pub use webhooks::{Standing, add_webhook, deliveries, remove_webhook, replay, run_webhooks, webhooks};
pub use why::{Link, Side, Why, why};
pub use written::follow_written;

const DAY_MILLIS: i64 = 86_400_000;

/// Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Insight {
    pub(crate) logs: AppLogs,
    news: Arc<watch::Sender<()>>,
    /// What the sampler saw last.
    latest: Arc<Mutex<sampler::Latest>>,
    /// Bytes by replica.
    written: Arc<Mutex<Arc<HashMap<String, u64>>>>,
    drains: Arc<drains::Drains>,
}

impl Insight {
    /// `dir` is the data directory.
    pub fn open(dir: &Path, config: &Config) -> Result<Self> {
        let (bytes, days) = (config.logs.max_bytes, i64::from(config.logs.max_days));
        let logs = AppLogs::open(&dir.join("app-logs"), Bounds { bytes, age_millis: days * DAY_MILLIS })?;
        Ok(Self { logs, news: Arc::default(), latest: Arc::default(), written: Arc::default(), drains: Arc::default() })
    }

    /// Events were written: who follows them looks at once, and not only when its timer says so.
    pub fn tell(&self) {
        self.news.send_replace(());
    }

    /// What was measured last: each few seconds anew.
    pub fn measured(&self) -> Arc<Measured> {
        Arc::clone(&self.latest.lock().unwrap_or_else(PoisonError::into_inner).measured)
    }

    /// Bytes that each replica wrote to its own file system, as they were measured last.
    pub fn written(&self) -> Arc<HashMap<String, u64>> {
        Arc::clone(&self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }
}

/// A name is judged when it is connected to; what is an address already, at once.
fn check_address(ctx: &Ctx, url: &OutboundUrl) -> Result<()> {
    let guard = Guard { private: ctx.config.outbound.private };
    if url.host.parse().is_ok_and(|ip| !guard.allows(ip)) {
        return Err(Error::invalid(
            "url",
            "must lead to the public internet; an administrator can allow private addresses (outbound.private)",
        ));
    }
    Ok(())
}
