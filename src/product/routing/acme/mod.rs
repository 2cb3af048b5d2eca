//! Certificates ordered from authorities of the web. An order is a row until there is a certificate: a platform that is
//! killed goes on with it in its next life, and no name has two. What is tried when is `plan.rs`; one try is `work.rs`.

mod desk;
mod plan;
mod standing;
mod view;
mod work;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::keeper::Wanted;
use super::{is_below, owns};
use crate::base::clock::Timestamp;
use crate::base::error::{Kind, Result};
use crate::base::model::{CertificateOrder, DomainName, EnvironmentId, Id, OrderId};
use crate::machinery::proxy::RouteTable;
use crate::product::Ctx;
use crate::state::store::certificates::Kept;
use crate::state::store::{Tx, orders as rows};
use standing::Rules;
use work::Work;

pub use view::{NameState, NameView, certificate_names, order_certificates};

/// Tried at the same time.
const AT_ONCE: usize = 4;

pub(super) struct Orders {
    ctx: Ctx,
    work: Arc<Work>,
    tasks: JoinSet<OrderId>,
    busy: BTreeSet<OrderId>,
    next_at: Option<Timestamp>,
}

impl Orders {
    pub(super) fn new(ctx: Ctx, table: watch::Sender<Arc<RouteTable>>) -> Self {
        let work = Arc::new(Work::new(ctx.clone(), table));
        Self { ctx, work, tasks: JoinSet::new(), busy: BTreeSet::new(), next_at: None }
    }

    /// Until a try has ended.
    pub(super) async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(done) => self.settle(done),
            None => std::future::pending().await,
        }
    }

    /// Until the next try is due.
    pub(super) fn pause(&self, now: Timestamp) -> Duration {
        let millis = self.next_at.map_or(i64::MAX, |at| at.since(now).max(0));
        Duration::from_millis(u64::try_from(millis).unwrap_or_default())
    }

    /// Writes which certificates are to be had, and begins what is due.
    pub(super) async fn look(
        &mut self,
        wanted: &[Wanted],
        kept: &[Kept],
        table: &RouteTable,
        now: Timestamp,
    ) -> Result<()> {
        while let Some(done) = self.tasks.try_join_next() {
            self.settle(done);
        }
        let mut tx = self.ctx.store.read().await?;
        let rules = Rules::read(&self.ctx, &mut tx).await?;
        let orders = rows::all(&mut tx).await?;
        drop(tx);
        let names = rules.names(wanted, kept, |name| table.target(name).is_some(), now);
        let plan = plan::plan(&names, &orders, &self.busy, (now, AT_ONCE));
        self.next_at = plan.next_at;
        if !plan.begin.is_empty() || !plan.drop.is_empty() {
            let mut tx = self.ctx.store.begin().await?;
            for id in &plan.drop {
                rows::delete(&mut tx, id).await?;
            }
            for (name, environment) in &plan.begin {
                self.begin(&mut tx, name, environment.as_ref(), now).await?;
            }
            tx.commit().await?;
        }
        let orders = if plan.begin.is_empty() { orders } else { rows::all(&mut self.ctx.store.read().await?).await? };
        // Those that were just written are due as well, as far as there is room.
        let fresh = |order: &&CertificateOrder| plan.begin.iter().any(|(name, _)| *name == order.name);
        let room = AT_ONCE.saturating_sub(self.busy.len() + plan.due.len());
        let due = orders.iter().filter(|order| plan.due.contains(&order.id));
        let due: Vec<_> = due.chain(orders.iter().filter(fresh).take(room)).cloned().collect();
        for order in due {
            self.busy.insert(order.id.clone());
            let work = Arc::clone(&self.work);
            self.tasks.spawn(async move {
                work.carry_out(&order).await;
                order.id
            });
        }
        Ok(())
    }

    async fn begin(
        &self,
        tx: &mut Tx,
        name: &DomainName,
        environment: Option<&EnvironmentId>,
        now: Timestamp,
    ) -> Result<()> {
        // A route is there for proven names only; to an authority nothing is said on trust.
        if let Some(environment) = environment.filter(|_| !is_below(&self.ctx.config, name))
            && !owns(tx, environment, name).await?
        {
            tracing::error!(domain.name = %name, environment.id = %environment, "a route of a domain that is not proven");
            return Ok(());
        }
        let order = CertificateOrder {
            id: OrderId::fresh(),
            environment_id: environment.cloned(),
            name: name.clone(),
            directory: None,
            url: None,
            attempts: 0,
            error: None,
            failed_at: None,
            next_at: now,
            created_at: now,
        };
        match rows::insert(tx, &order).await {
            Err(error) if error.kind == Kind::Exists => Ok(()),
            other => other,
        }
    }

    fn settle(&mut self, done: std::result::Result<OrderId, tokio::task::JoinError>) {
        match done {
            Ok(id) => drop(self.busy.remove(&id)),
            // Whose it was is not known any more: none is thought to be under way that is not.
            Err(error) => {
                tracing::error!(%error, "the work on an order broke off");
                if self.tasks.is_empty() {
                    self.busy.clear();
                }
            }
        }
    }
}
