//! Certificates of an environment: what people upload, and what is kept of each. Keys are sealed before they are written,
//! and opened for the proxy only.

use crate::base::access::{Action, Actor, Place};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{
    App, Certificate, CertificateId, CertificateOrigin, DomainName, Environment, EnvironmentId, Happened, Id,
    OrganizationId, Route,
};
use crate::base::secret::Secret;
use crate::machinery::certs::{self, CertError};
use crate::machinery::proxy::{self, TlsError};
use crate::product::Ctx;
use crate::state::store::certificates::{self as rows, Kept};
use crate::state::store::events::{self, NewEvent, Subject};
use crate::state::store::{Tx, environments, routes};

const MOST_CERTIFICATES: usize = 20;
const LONGEST_CHAIN: usize = 64 << 10;
const LONGEST_KEY: usize = 16 << 10;
/// Whose data key seals what is the platform's own.
pub(super) const PLATFORM: &str = "platform";

#[derive(Debug, Clone)]
pub struct CertificateView {
    pub certificate: Certificate,
    /// Names of the environment that it is good for.
    pub covers: Vec<DomainName>,
}

/// Oldest first.
pub async fn certificates(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
) -> Result<Vec<CertificateView>> {
    actor.may(Action::ViewApp, &Place::from(app))?;
    let mut tx = ctx.store.read().await?;
    let routes = routes::of_environment(&mut tx, &environment.id).await?;
    let all = rows::of_environment(&mut tx, &environment.id).await?;
    Ok(all.into_iter().map(|certificate| view(certificate, &routes)).collect())
}

/// It answers from now on for the names of the environment that it covers, instead of any other.
pub async fn add_certificate(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    (chain, key): (&str, &Secret<String>),
) -> Result<CertificateView> {
    actor.may(Action::Deploy, &Place::from(app))?;
    for (field, length, longest) in
        [("certificate", chain.len(), LONGEST_CHAIN), ("key", key.reveal().len(), LONGEST_KEY)]
    {
        if length > longest {
            return Err(Error::invalid(field, format!("must have at most {longest} bytes")));
        }
    }
    let now = ctx.now();
    let facts = certs::judge(chain, now).map_err(|error| match error {
        CertError::Unfit(text) => Error::invalid("certificate", text),
        other => Error::internal(other),
    })?;
    proxy::Certificate::from_pem(chain, key).map_err(unfit)?;
    let mut tx = ctx.store.begin().await?;
    let found = environments::find(&mut tx, &actor.scope(), &environment.id).await?;
    let environment = found.filter(|e| e.app_id == app.id).ok_or_else(|| Error::not_found("environment"))?;
    let own = rows::of_environment(&mut tx, &environment.id).await?;
    if own.iter().filter(|one| one.origin == CertificateOrigin::Uploaded).count() >= MOST_CERTIFICATES {
        let text = format!("an environment has at most {MOST_CERTIFICATES} uploaded certificates; remove one first");
        return Err(Error::limit(text));
    }
    let certificate = Certificate {
        id: CertificateId::fresh(),
        environment_id: Some(environment.id.clone()),
        origin: CertificateOrigin::Uploaded,
        names: facts.names,
        issuer: facts.issuer,
        chain: chain.to_owned(),
        not_before: facts.not_before,
        not_after: facts.not_after,
        created_at: now,
    };
    let routes = routes::of_environment(&mut tx, &environment.id).await?;
    let view = view(certificate, &routes);
    if view.covers.is_empty() {
        let (of, has) = (listed(&view.certificate.names), listed(routes.iter().map(|route| &route.host)));
        let text = format!("is for {of}, but this environment answers on {has}; add and verify the domain first");
        return Err(Error::invalid("certificate", text));
    }
    add(ctx, &mut tx, Some(&app.organization_id), &view.certificate, key).await?;
    let (names, until) = (names(&view.certificate), view.certificate.not_after);
    tell(&mut tx, ctx, actor, &environment, Happened::CertificateAdded { names, until }).await?;
    tx.commit().await?;
    ctx.certificates.notify_one();
    tracing::info!(app.id = %app.id, certificate.id = %view.certificate.id, user.id = %actor.user.id, "certificate uploaded");
    Ok(view)
}

pub async fn remove_certificate(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    id: &str,
) -> Result<()> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let absent = || Error::not_found("certificate");
    let mut tx = ctx.store.begin().await?;
    let own = rows::of_environment(&mut tx, &environment.id).await?;
    let certificate = own.into_iter().find(|one| one.id.as_str() == id).ok_or_else(absent)?;
    rows::delete(&mut tx, &certificate.id).await?;
    let happened = Happened::CertificateRemoved { names: names(&certificate) };
    tell(&mut tx, ctx, actor, environment, happened).await?;
    tx.commit().await?;
    ctx.certificates.notify_one();
    tracing::info!(app.id = %app.id, certificate.id = %certificate.id, user.id = %actor.user.id, "certificate removed");
    Ok(())
}

/// The certificate of the platform's own authority, for who wants to trust it; PEM.
pub async fn authority(ctx: &Ctx, actor: &Actor) -> Result<String> {
    actor.may_act()?;
    let all = rows::all(&mut ctx.store.read().await?).await?;
    let own = all.into_iter().find(|kept| kept.certificate.origin == CertificateOrigin::Authority);
    own.map(|kept| kept.certificate.chain)
        .ok_or_else(|| Error::not_found("an authority of this server's own (certs.issuer = \"self-signed\" makes one)"))
}

pub(super) async fn add(
    ctx: &Ctx,
    tx: &mut Tx,
    organization: Option<&OrganizationId>,
    certificate: &Certificate,
    key: &Secret<String>,
) -> Result<()> {
    let bound = bound_to(&certificate.id);
    let sealed = ctx.vault.seal(tx, scope(organization), &bound, key.reveal().as_bytes()).await?;
    rows::insert(tx, certificate, &sealed).await
}

pub(super) async fn key(ctx: &Ctx, tx: &mut Tx, kept: &Kept) -> Result<Secret<String>> {
    let bound = bound_to(&kept.certificate.id);
    let plain = ctx.vault.unseal(tx, scope(kept.organization.as_ref()), &bound, &kept.sealed).await?;
    let text = std::str::from_utf8(plain.reveal()).map_err(|_| Error::internal("a key that is no text"))?;
    Ok(Secret::new(text.to_owned()))
}

pub(super) async fn open(ctx: &Ctx, tx: &mut Tx, kept: &Kept) -> Result<proxy::Certificate> {
    let key = key(ctx, tx, kept).await?;
    let ready = proxy::Certificate::from_pem(&kept.certificate.chain, &key).map_err(Error::internal)?;
    Ok(if kept.certificate.origin == CertificateOrigin::SelfSigned { ready.untrusted() } else { ready })
}

pub(super) async fn organization(tx: &mut Tx, id: &EnvironmentId) -> Result<Option<OrganizationId>> {
    let platform = crate::base::access::Scope::Platform;
    let Some(environment) = environments::find(tx, &platform, id).await? else { return Ok(None) };
    let app = crate::state::store::apps::find(tx, &platform, &environment.app_id).await?;
    Ok(app.map(|app| app.organization_id))
}

/// When one that the platform renews is made anew.
pub(super) fn renewal(certificate: &Certificate) -> Timestamp {
    // The end of an id is random.
    let end = certificate.id.as_str().get(20..).unwrap_or_default();
    let salt = end.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    certs::renew_at(certificate.not_before, certificate.not_after, salt)
}

fn unfit(error: TlsError) -> Error {
    match &error {
        TlsError::Key(_) => Error::invalid("key", "must be the PEM text of a private key without a password"),
        TlsError::Unusable(_) => Error::invalid("key", "is not the one that the certificate was made for"),
        _ => Error::invalid("certificate", "cannot be served"),
    }
    .because(error)
}

fn scope(organization: Option<&OrganizationId>) -> &str {
    organization.map_or(PLATFORM, Id::as_str)
}

fn bound_to(id: &CertificateId) -> String {
    format!("certificates/{id}")
}

fn view(certificate: Certificate, routes: &[Route]) -> CertificateView {
    let hosts = routes.iter().map(|route| &route.host);
    let covers = hosts.filter(|host| certificate.covers(host)).cloned().collect();
    CertificateView { certificate, covers }
}

fn names(certificate: &Certificate) -> Vec<String> {
    certificate.names.iter().map(ToString::to_string).collect()
}

fn listed<'a>(names: impl IntoIterator<Item = &'a DomainName>) -> String {
    let mut all: Vec<_> = names.into_iter().map(ToString::to_string).collect();
    let more = all.len().saturating_sub(5);
    all.truncate(5);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", all.join(", "))
}

async fn tell(tx: &mut Tx, ctx: &Ctx, actor: &Actor, environment: &Environment, happened: Happened) -> Result<()> {
    let (of, subject, actor) = (Subject::Environment(&environment.id), environment.name.to_string(), &actor.user.id);
    let event = NewEvent { at: ctx.now(), of, happened, subject, actor: Some(actor), cause: None, once: None };
    events::insert(tx, &event).await.map(drop)
}
