//! One try of one order, from the account at the authority to the certificate that is kept.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};

use super::desk::OrderDesk;
use super::plan;
use crate::base::config::{ChallengeChoice, DnsChoice, KeyType};
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{Certificate, CertificateId, CertificateOrder, CertificateOrigin, Happened, Id};
use crate::machinery::certs::{
    self, Acme, AcmeDns, DnsChanger, IssueError, Issued, Issuer, KeyKind, Means, Method, Pace, Updates, Wish,
};
use crate::machinery::proxy::{self, RouteTable};
use crate::product::Ctx;
use crate::product::routing::certificates::{self, PLATFORM};
use crate::state::store::events::{self, NewEvent, Subject};
use crate::state::store::{Tx, certificates as rows, orders};

const POLL: Duration = Duration::from_millis(500);
/// An order is put off rather than waited for any longer; it is gone on with later.
const PATIENCE: Duration = Duration::from_secs(90);

pub(super) struct Work {
    ctx: Ctx,
    table: watch::Sender<Arc<RouteTable>>,
    /// An account is made once, however many orders want it.
    accounts: Mutex<()>,
}

/// Why a try did not bring a certificate.
enum Fault {
    Issue(IssueError),
    Platform(Error),
}

impl From<IssueError> for Fault {
    fn from(error: IssueError) -> Self {
        Self::Issue(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Platform(error)
    }
}

impl Work {
    pub(super) fn new(ctx: Ctx, table: watch::Sender<Arc<RouteTable>>) -> Self {
        Self { ctx, table, accounts: Mutex::default() }
    }

    /// One try; what came of it is written when this returns, or the row stands as a life before left it.
    pub(super) async fn carry_out(&self, order: &CertificateOrder) {
        let acme = &self.ctx.config.acme;
        let directory = plan::authority(&acme.directory, acme.second_directory.as_deref(), order.attempts);
        let tried = self.issue(order, directory).await;
        let written = match tried {
            Ok((issued, issuer)) => self.keep(order, issued, issuer).await,
            Err(fault) => self.put_off(order, directory, fault).await,
        };
        if let Err(error) = written {
            tracing::error!(order.id = %order.id, domain.name = %order.name, error = error.for_log(), "what came of an order cannot be written");
        }
    }

    async fn issue(&self, order: &CertificateOrder, directory: &str) -> Result<(Issued, String), Fault> {
        let place = self.place(directory).await?;
        let desk = OrderDesk { ctx: &self.ctx, order, directory, table: self.table.clone() };
        let wanted = Wish { name: &order.name, now: self.ctx.now(), attempts: order.attempts };
        let issued = match self.open(&place).await?.issue(&wanted, &desk).await {
            // Another one is made with the same key, once.
            Err(IssueError::NoAccount { .. }) => {
                self.register(directory, None).await?;
                self.open(&place).await?.issue(&wanted, &desk).await?
            }
            other => other?,
        };
        let facts = certs::read(&issued.chain).map_err(IssueError::from)?;
        proxy::Certificate::from_pem(&issued.chain, &issued.key).map_err(Error::internal)?;
        if !facts.names.contains(&order.name) || facts.not_after <= self.ctx.now() {
            let text = format!("is not for {} and now", order.name);
            return Err(IssueError::Unfit(certs::CertError::Unfit(text)).into());
        }
        Ok((issued, facts.issuer))
    }

    async fn place(&self, directory: &str) -> Result<certs::Place> {
        let roots = match &self.ctx.config.acme.root_ca {
            None => None,
            Some(path) => Some(tokio::fs::read(path).await.map_err(|error| {
                Error::conflict(format!("acme.root_ca {} cannot be read: {error}", path.display()))
            })?),
        };
        Ok(certs::Place { directory: directory.to_owned(), roots })
    }

    /// With the account, which is made where there is none. Its key is kept before the authority is told of it.
    async fn open(&self, place: &certs::Place) -> Result<Acme, Fault> {
        let _turn = self.accounts.lock().await;
        let mut tx = self.ctx.store.begin().await?;
        let bound = format!("acme_accounts/{}", place.directory);
        let kept = orders::account(&mut tx, &place.directory).await?;
        let (key, url) = match kept {
            Some(kept) => (self.ctx.vault.unseal(&mut tx, PLATFORM, &bound, &kept.sealed).await?, kept.url),
            None => {
                let key = certs::account_key()?;
                let sealed = self.ctx.vault.seal(&mut tx, PLATFORM, &bound, key.reveal()).await?;
                orders::insert_account(&mut tx, &place.directory, &sealed, self.ctx.now()).await?;
                (key, None)
            }
        };
        tx.commit().await?;
        let url = match url {
            Some(url) => url,
            None => {
                let url = Acme::register(place, &key, self.ctx.config.acme.contact.as_deref()).await?;
                self.register(&place.directory, Some(&url)).await?;
                tracing::info!(acme.directory = place.directory, acme.account = url, "account at an authority");
                url
            }
        };
        Ok(Acme::open(place, &key, &url, means(&self.ctx)?).await?)
    }

    async fn register(&self, directory: &str, url: Option<&str>) -> Result<()> {
        let mut tx = self.ctx.store.begin().await?;
        orders::register(&mut tx, directory, url).await?;
        tx.commit().await
    }

    /// The certificate in the place of those that it renews, and no order any more.
    async fn keep(&self, order: &CertificateOrder, issued: Issued, issuer: String) -> Result<()> {
        let mut tx = self.ctx.store.begin().await?;
        // Dropped meanwhile: the name is another's, or nobody's.
        if !orders::delete(&mut tx, &order.id).await? {
            return Ok(());
        }
        let organization = match &order.environment_id {
            None => None,
            Some(id) => {
                Some(certificates::organization(&mut tx, id).await?.ok_or_else(|| Error::not_found("environment"))?)
            }
        };
        let certificate = Certificate {
            id: CertificateId::fresh(),
            environment_id: order.environment_id.clone(),
            origin: CertificateOrigin::Acme,
            names: vec![order.name.clone()],
            issuer,
            chain: issued.chain,
            not_before: issued.not_before,
            not_after: issued.not_after,
            created_at: self.ctx.now(),
        };
        let before = rows::all(&mut tx).await?;
        certificates::add(&self.ctx, &mut tx, organization.as_ref(), &certificate, &issued.key).await?;
        for old in before.iter().map(|kept| &kept.certificate) {
            let same = old.origin == certificate.origin && old.environment_id == certificate.environment_id;
            if same && old.names == certificate.names {
                rows::delete(&mut tx, &old.id).await?;
            }
        }
        let names = vec![order.name.to_string()];
        let happened =
            Happened::CertificateIssued { names, issuer: certificate.issuer.clone(), until: certificate.not_after };
        self.tell(&mut tx, order, happened).await?;
        tx.commit().await?;
        self.ctx.insight.tell();
        tracing::info!(
            certificate.id = %certificate.id, domain.name = %order.name, certificate.issuer = certificate.issuer,
            certificate.until = %certificate.not_after, "certificate issued"
        );
        Ok(())
    }

    async fn put_off(&self, order: &CertificateOrder, directory: &str, fault: Fault) -> Result<()> {
        let now = self.ctx.now();
        let config = &self.ctx.config.acme;
        let (text, after, limit, goes_on) = match &fault {
            Fault::Issue(error) => (error.to_string(), error.after(), error.is_limit(), error.is_temporary()),
            Fault::Platform(error) if error.kind == Kind::Conflict => (error.to_string(), None, false, true),
            Fault::Platform(_) => ("the platform has a fault of its own; its log says which".into(), None, false, true),
        };
        let elsewhere = limit && config.second_directory.is_some();
        let attempts =
            if elsewhere { plan::attempts_at_limit(order.attempts) } else { order.attempts.saturating_add(1) };
        let asked = after.filter(|_| !elsewhere).and_then(|after| i64::try_from(after.as_millis()).ok());
        let pace = Pace { first_millis: i64::from(config.retry_seconds) * 1000 };
        let next_at = pace.next_at(now, attempts, asked, limit && !elsewhere);
        let fresh = order.error.as_deref() != Some(text.as_str());
        let failed =
            CertificateOrder { attempts, error: Some(text.clone()), failed_at: Some(now), next_at, ..order.clone() };
        let mut tx = self.ctx.store.begin().await?;
        if !orders::fail(&mut tx, &failed, goes_on).await? {
            return Ok(());
        }
        if fresh {
            let happened = Happened::CertificateFailed { names: vec![order.name.to_string()], reason: text.clone() };
            self.tell(&mut tx, order, happened).await?;
        }
        tx.commit().await?;
        self.ctx.insight.tell();
        let cause = match &fault {
            Fault::Platform(error) => error.for_log(),
            Fault::Issue(IssueError::Desk(source)) => source.to_string(),
            Fault::Issue(_) => text,
        };
        tracing::warn!(
            order.id = %order.id, domain.name = %order.name, acme.directory = directory, order.attempts = attempts,
            order.next_at = %next_at, cause, "no certificate"
        );
        Ok(())
    }

    async fn tell(&self, tx: &mut Tx, order: &CertificateOrder, happened: Happened) -> Result<()> {
        let Some(environment) = &order.environment_id else { return Ok(()) };
        let event = NewEvent {
            at: self.ctx.now(),
            of: Subject::Environment(environment),
            happened,
            subject: order.name.to_string(),
            actor: None,
            cause: None,
            once: None,
        };
        events::insert(tx, &event).await.map(drop)
    }
}

/// As the configuration has them.
pub(super) fn means(ctx: &Ctx) -> Result<Means> {
    let acme = &ctx.config.acme;
    let method = |choice: &ChallengeChoice| match choice {
        ChallengeChoice::Http => Method::Http,
        ChallengeChoice::TlsAlpn => Method::TlsAlpn,
        ChallengeChoice::Dns => Method::Dns,
    };
    // Nobody listens for it.
    let served = |method: &Method| *method != Method::TlsAlpn || ctx.config.http.tls_listen.is_some();
    let lacking = || Error::conflict("acme.dns lacks a setting, or acme.dns_key is no base64 text");
    let zone = acme.dns_zone.as_ref().map(|zone| zone.as_str().to_owned());
    let (user, key) = (acme.dns_user.clone(), acme.dns_key.clone());
    let dns: Option<Arc<dyn DnsChanger>> = match acme.dns {
        DnsChoice::None => None,
        DnsChoice::Rfc2136 => {
            let all = (acme.dns_server, zone, user, key);
            let (Some(server), Some(zone), Some(user), Some(key)) = all else { return Err(lacking()) };
            Some(Arc::new(Updates::new(server, &zone, &user, &key).ok_or_else(lacking)?))
        }
        DnsChoice::AcmeDns => {
            let all = (acme.dns_api.clone(), zone, acme.dns_subdomain.clone(), user, key);
            let (Some(api), Some(name), Some(subdomain), Some(user), Some(key)) = all else { return Err(lacking()) };
            Some(Arc::new(AcmeDns { api, name, subdomain, user, key }))
        }
    };
    let key = match acme.key_type {
        KeyType::EcdsaP256 => KeyKind::EcdsaP256,
        KeyType::Rsa2048 => KeyKind::Rsa2048,
    };
    let methods = acme.challenges.iter().map(method).filter(served).collect();
    Ok(Means { methods, dns, key, poll: POLL, patience: PATIENCE })
}
