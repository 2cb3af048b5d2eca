//! Keeps the certificates of the proxy: which of those that are kept answers for which name, and new ones from the
//! platform's own authority, or ordered from one of the web, where that is wished. Desired are the routes and the host of the API; woken by a signal when
//! certificates or domains change, and by a timer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::acme::Orders;
use super::certificates::{add, open, organization, renewal};
use crate::base::clock::Timestamp;
use crate::base::config::IssuerChoice;
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{Certificate, CertificateId, CertificateOrigin, DomainName, EnvironmentId, Happened, Id};
use crate::machinery::certs::{Authority, Issuer, NoDesk, Wish};
use crate::machinery::proxy::{self, Certificates, RouteTable};
use crate::product::Ctx;
use crate::state::store::certificates::Kept;
use crate::state::store::events::{self, NewEvent, Subject};
use crate::state::store::{certificates as rows, routes};

const LOOK: Duration = Duration::from_secs(10);
/// New ones of one look: the others come with the next.
const MOST_ISSUED: usize = 50;
const WARN_MILLIS: i64 = 14 * 86_400_000;

/// A name that requests come for, and whose it is.
pub(super) struct Wanted {
    pub(super) name: DomainName,
    pub(super) environment: Option<EnvironmentId>,
}

pub struct CertificateKeeper {
    ctx: Ctx,
    table: watch::Sender<Arc<RouteTable>>,
    /// Ready to serve.
    open: HashMap<CertificateId, proxy::Certificate>,
    shown: BTreeMap<DomainName, CertificateId>,
    orders: Option<Orders>,
}

impl CertificateKeeper {
    pub fn new(ctx: Ctx, table: watch::Sender<Arc<RouteTable>>) -> Self {
        let ordered = ctx.config.certs.issuer == IssuerChoice::Acme;
        let orders = ordered.then(|| Orders::new(ctx.clone(), table.clone()));
        Self { ctx, table, open: HashMap::new(), shown: BTreeMap::new(), orders }
    }

    pub async fn run(mut self, shutdown: CancellationToken) {
        // What was deployed for the first time has a host that wants a certificate.
        let mut routes = self.table.subscribe();
        loop {
            routes.mark_unchanged();
            if let Err(error) = self.look().await {
                tracing::error!(error = error.for_log(), "certificates cannot be looked after now");
            }
            let pause = self.orders.as_ref().map_or(LOOK, |orders| orders.pause(self.ctx.now()).min(LOOK));
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = ended(&mut self.orders) => {}
                () = self.ctx.certificates.notified() => {}
                Ok(()) = routes.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One round; after it the proxy has what there is.
    pub async fn look(&mut self) -> Result<()> {
        let now = self.ctx.now();
        let (wanted, mut kept) = self.read().await?;
        if self.ctx.config.certs.issuer == IssuerChoice::SelfSigned && self.issue(&wanted, &kept, now).await? {
            kept = self.read().await?.1;
        }
        if let Some(orders) = &mut self.orders {
            let table = Arc::clone(&self.table.borrow());
            if let Err(error) = orders.look(&wanted, &kept, &table, now).await {
                tracing::error!(error = error.for_log(), "certificates cannot be ordered now");
            }
        }
        self.warn(&kept, now).await?;
        self.publish(&wanted, &kept, now).await
    }

    async fn read(&self) -> Result<(Vec<Wanted>, Vec<Kept>)> {
        let mut tx = self.ctx.store.read().await?;
        let api = self.ctx.config.http.api_host().parse().map_err(Error::internal)?;
        let routes = routes::all(&mut tx).await?.into_iter();
        let wanted = routes.map(|route| Wanted { name: route.host, environment: Some(route.environment_id) });
        let wanted = std::iter::once(Wanted { name: api, environment: None }).chain(wanted).collect();
        Ok((wanted, rows::all(&mut tx).await?))
    }

    async fn publish(&mut self, wanted: &[Wanted], kept: &[Kept], now: Timestamp) -> Result<()> {
        let mut chosen = BTreeMap::new();
        let mut tx = self.ctx.store.read().await?;
        // Hosts that nobody has are told so over TLS too.
        let shared = kept.iter().filter(|kept| is_shared(&kept.certificate)).flat_map(|kept| &kept.certificate.names);
        let shared: Vec<_> = shared.map(|name| Wanted { name: name.clone(), environment: None }).collect();
        for want in wanted.iter().chain(&shared) {
            let Some(best) = best(want, kept, now) else { continue };
            let id = &best.certificate.id;
            if !self.open.contains_key(id) {
                match open(&self.ctx, &mut tx, best).await {
                    Ok(ready) => drop(self.open.insert(id.clone(), ready)),
                    Err(error) => {
                        tracing::error!(certificate.id = %id, error = error.for_log(), "a certificate cannot be served");
                        continue;
                    }
                }
            }
            chosen.insert(want.name.clone(), id.clone());
        }
        drop(tx);
        if chosen != self.shown {
            let ready = |(name, id): (&DomainName, &CertificateId)| Some((name.clone(), self.open.get(id)?.clone()));
            let all = Arc::new(Certificates::new(chosen.iter().filter_map(ready)));
            self.table.send_modify(|table| *table = Arc::new(table.with(all)));
            self.shown = chosen;
        }
        let shown = &self.shown;
        self.open.retain(|id, _| shown.values().any(|there| there == id));
        Ok(())
    }

    /// Whether it made any.
    async fn issue(&self, wanted: &[Wanted], kept: &[Kept], now: Timestamp) -> Result<bool> {
        let lacks = |want: &&Wanted| best(want, kept, now).is_none_or(|best| is_due(&best.certificate, now));
        let lacking: Vec<_> = wanted.iter().filter(lacks).take(MOST_ISSUED).collect();
        if lacking.is_empty() {
            return Ok(false);
        }
        let authority = self.authority(kept, now).await?;
        for want in lacking {
            let wish = Wish { name: &want.name, now, attempts: 0 };
            let issued = Issuer::issue(&authority, &wish, &NoDesk).await.map_err(Error::internal)?;
            let certificate = Certificate {
                id: CertificateId::fresh(),
                environment_id: want.environment.clone(),
                origin: CertificateOrigin::SelfSigned,
                names: vec![want.name.clone()],
                issuer: called(&self.ctx),
                chain: issued.chain,
                not_before: issued.not_before,
                not_after: issued.not_after,
                created_at: now,
            };
            let mut tx = self.ctx.store.begin().await?;
            let organization = match &want.environment {
                None => None,
                // Destroyed meanwhile.
                Some(id) => match organization(&mut tx, id).await? {
                    Some(organization) => Some(organization),
                    None => continue,
                },
            };
            add(&self.ctx, &mut tx, organization.as_ref(), &certificate, &issued.key).await?;
            for old in kept.iter().map(|kept| &kept.certificate) {
                let same = old.origin == certificate.origin && old.environment_id == certificate.environment_id;
                if same && old.names == certificate.names {
                    rows::delete(&mut tx, &old.id).await?;
                }
            }
            tx.commit().await?;
            tracing::info!(certificate.id = %certificate.id, domain.name = %want.name, "certificate made by the own authority");
        }
        Ok(true)
    }

    /// Made when it is needed first, and kept.
    async fn authority(&self, kept: &[Kept], now: Timestamp) -> Result<Authority> {
        let own = |kept: &&Kept| kept.certificate.origin == CertificateOrigin::Authority;
        if let Some(kept) = kept.iter().find(own) {
            let mut tx = self.ctx.store.read().await?;
            let key = super::certificates::key(&self.ctx, &mut tx, kept).await?;
            return Authority::open(&kept.certificate.chain, &key).map_err(Error::internal);
        }
        let made = Authority::make(&called(&self.ctx), now).map_err(Error::internal)?;
        let certificate = Certificate {
            id: CertificateId::fresh(),
            environment_id: None,
            origin: CertificateOrigin::Authority,
            names: Vec::new(),
            issuer: called(&self.ctx),
            chain: made.chain.clone(),
            not_before: made.not_before,
            not_after: made.not_after,
            created_at: now,
        };
        let mut tx = self.ctx.store.begin().await?;
        add(&self.ctx, &mut tx, None, &certificate, &made.key).await.map_err(|error| match error.kind {
            Kind::Exists => Error::conflict("another server of this database made the authority").because(error),
            _ => error,
        })?;
        tx.commit().await?;
        tracing::info!(certificate.id = %certificate.id, "the authority for development was made");
        Authority::open(&made.chain, &made.key).map_err(Error::internal)
    }

    /// Once, of what nobody renews, or nobody could renew so far.
    async fn warn(&self, kept: &[Kept], now: Timestamp) -> Result<()> {
        for certificate in kept.iter().map(|kept| &kept.certificate) {
            let Some(environment) = &certificate.environment_id else { continue };
            let ordered = certificate.origin == CertificateOrigin::Acme;
            // Half of what is left when one is renewed.
            let life = certificate.not_after.since(certificate.not_before);
            let ahead = if ordered { WARN_MILLIS.min(life / 6) } else { WARN_MILLIS };
            let soon = certificate.not_after.plus_millis(-ahead) <= now;
            if !(ordered || certificate.origin == CertificateOrigin::Uploaded) || !soon {
                continue;
            }
            let names = certificate.names.iter().map(ToString::to_string).collect();
            let event = NewEvent {
                at: now,
                of: Subject::Environment(environment),
                happened: Happened::CertificateExpiring { names, until: certificate.not_after, ordered },
                subject: certificate.id.to_string(),
                actor: None,
                cause: None,
                once: Some(format!("certificate/{}/expiring", certificate.id)),
            };
            let mut tx = self.ctx.store.begin().await?;
            if events::insert(&mut tx, &event).await? {
                tx.commit().await?;
                self.ctx.insight.tell();
                tracing::warn!(certificate.id = %certificate.id, certificate.until = %certificate.not_after, "a certificate expires soon");
            }
        }
        Ok(())
    }
}

fn called(ctx: &Ctx) -> String {
    format!("Hythe authority for development of {}", ctx.config.http.base_domain)
}

async fn ended(orders: &mut Option<Orders>) {
    match orders {
        Some(orders) => orders.ended().await,
        None => std::future::pending().await,
    }
}

/// What people uploaded goes first, then what was ordered, and of several the newest.
pub(super) fn best<'a>(want: &Wanted, kept: &'a [Kept], now: Timestamp) -> Option<&'a Kept> {
    let serves = |kept: &&Kept| {
        let one = &kept.certificate;
        one.origin != CertificateOrigin::Authority
            && (one.environment_id == want.environment || is_shared(one))
            && one.not_after > now
            && one.covers(&want.name)
    };
    let rank = |kept: &&Kept| {
        let one = &kept.certificate;
        let origin = match one.origin {
            CertificateOrigin::Uploaded => 2,
            CertificateOrigin::Acme => 1,
            CertificateOrigin::SelfSigned | CertificateOrigin::Authority => 0,
        };
        (origin, one.created_at)
    };
    kept.iter().filter(serves).max_by_key(rank)
}

/// The wildcard of the base domain serves all below it, whose ever they are.
fn is_shared(certificate: &Certificate) -> bool {
    certificate.environment_id.is_none() && certificate.origin == CertificateOrigin::Acme
}

pub(super) fn is_due(certificate: &Certificate, now: Timestamp) -> bool {
    let renewed = matches!(certificate.origin, CertificateOrigin::SelfSigned | CertificateOrigin::Acme);
    renewed && renewal(certificate) <= now
}
