//! What is lent to an order while it is tried: its row, with the key to come sealed, and the proxy's table.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::base::error::{Error, Result};
use crate::base::model::{CertificateOrder, DomainName, OrderId};
use crate::base::secret::Secret;
use crate::machinery::certs::{Answer, Desk, DeskError, Draft};
use crate::machinery::proxy::{self, Challenge, RouteTable};
use crate::product::Ctx;
use crate::product::routing::certificates::PLATFORM;
use crate::state::store::orders;

pub(super) struct OrderDesk<'a> {
    pub(super) ctx: &'a Ctx,
    pub(super) order: &'a CertificateOrder,
    pub(super) directory: &'a str,
    pub(super) table: watch::Sender<Arc<RouteTable>>,
}

#[async_trait]
impl Desk for OrderDesk<'_> {
    async fn draft(&self) -> std::result::Result<Draft, DeskError> {
        self.read().await.map_err(opaque)
    }

    async fn keep(&self, draft: &Draft) -> std::result::Result<(), DeskError> {
        self.write(draft).await.map_err(opaque)
    }

    fn show(&self, name: &DomainName, answer: Answer) -> std::result::Result<Box<dyn Send + Sync>, DeskError> {
        let challenge = match answer {
            Answer::Http { token, text } => Challenge::Text { token, text },
            Answer::Tls { chain, key } => {
                Challenge::Name { name: name.clone(), certificate: proxy::Certificate::of_challenge(&chain, &key)? }
            }
        };
        let change = |table: &mut Arc<RouteTable>| {
            let mut all = proxy::Challenges::clone(table.challenges());
            all.add(&challenge);
            *table = Arc::new(table.showing(Arc::new(all)));
        };
        self.table.send_modify(change);
        Ok(Box::new(Shown { table: self.table.clone(), challenge }))
    }
}

impl OrderDesk<'_> {
    async fn read(&self) -> Result<Draft> {
        let mut tx = self.ctx.store.read().await?;
        // What another authority knows of is of no use.
        let kept = orders::draft(&mut tx, &self.order.id).await?.filter(|kept| kept.directory == self.directory);
        let Some(kept) = kept else { return Ok(Draft::default()) };
        let bound = bound_to(&self.order.id);
        let plain = self.ctx.vault.unseal(&mut tx, PLATFORM, &bound, &kept.sealed).await?;
        let text = std::str::from_utf8(plain.reveal()).map_err(|_| Error::internal("a key that is no text"))?;
        Ok(Draft { url: kept.url, key: Some(Secret::new(text.to_owned())) })
    }

    async fn write(&self, draft: &Draft) -> Result<()> {
        let key = draft.key.as_ref().ok_or_else(|| Error::internal("an order without a key"))?;
        let mut tx = self.ctx.store.begin().await?;
        let bound = bound_to(&self.order.id);
        let sealed = self.ctx.vault.seal(&mut tx, PLATFORM, &bound, key.reveal().as_bytes()).await?;
        let kept = orders::Draft { directory: self.directory.to_owned(), url: draft.url.clone(), sealed };
        if !orders::keep(&mut tx, &self.order.id, &kept).await? {
            return Err(Error::conflict("the order was dropped"));
        }
        tx.commit().await
    }
}

/// In the table for as long as it lives.
struct Shown {
    table: watch::Sender<Arc<RouteTable>>,
    challenge: Challenge,
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.table.send_modify(|table| {
            let mut all = proxy::Challenges::clone(table.challenges());
            all.remove(&self.challenge);
            *table = Arc::new(table.showing(Arc::new(all)));
        });
    }
}

fn bound_to(id: &OrderId) -> String {
    format!("certificate_orders/{id}")
}

fn opaque(error: Error) -> DeskError {
    error.for_log().into()
}
