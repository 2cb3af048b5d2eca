//! Domains of an environment. A claim changes nothing; a proven domain is a route, and with that a part of what a release
//! is: each change of them makes one. The first app that proves a name has it, until it gives it up.

use std::fmt::Write as _;

use rand::TryRng;

use super::settings::{find, good, record};
use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{App, Domain, DomainId, DomainName, Environment, Happened, Id, Proof, ProofMethod, Route};
use crate::product::apps;
use crate::product::{Ctx, routing};
use crate::state::store::{self, Tx, domains as rows, routes};

const MOST_DOMAINS: usize = 100;

#[derive(Debug, Clone)]
pub struct DomainView {
    pub domain: Domain,
    pub state: DomainState,
    /// What proves it, each by itself.
    pub publications: Vec<Publication>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainState {
    /// Claimed only.
    Unverified,
    /// Requests for it come here.
    Routed,
    /// Verified, but the release that is live is from before it.
    Unrouted,
}

#[derive(Debug, Clone)]
pub struct Publication {
    pub method: ProofMethod,
    /// Of the TXT record, or the address of the file.
    pub place: String,
    pub text: String,
}

/// Oldest first.
pub async fn domains(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment) -> Result<Vec<DomainView>> {
    actor.may(Action::ViewApp, &Place::from(app))?;
    let mut tx = ctx.store.read().await?;
    let routes = routes::of_environment(&mut tx, &environment.id).await?;
    let all = rows::of_environment(&mut tx, &environment.id).await?;
    Ok(all.into_iter().map(|domain| view(ctx, domain, &routes)).collect())
}

/// Claims a name. Requests come once it is verified.
pub async fn add_domain(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    written: &str,
) -> Result<DomainView> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let name = DomainName::written(written).map_err(|e| Error::invalid("domain", e.to_string()))?;
    if routing::is_platforms(&ctx.config, &name) {
        let text = format!("is {name}, which belongs to the platform itself: apps have their own names there already");
        return Err(Error::invalid("domain", text));
    }
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let claimed = rows::of_app(&mut tx, &app.id).await?;
    if let Some(there) = claimed.iter().find(|domain| domain.name == name) {
        let at = store::environments::find(&mut tx, &actor.scope(), &there.environment_id).await?;
        let at = at.map_or_else(|| "another environment".into(), |environment| environment.name.to_string());
        return Err(Error::exists(format!("the domain {name} of {at}")));
    }
    if claimed.len() >= MOST_DOMAINS {
        return Err(Error::limit(format!("an app has at most {MOST_DOMAINS} domains; remove one first")));
    }
    not_elsewhere(&mut tx, actor, app, &name).await?;
    let domain = Domain {
        id: DomainId::fresh(),
        app_id: app.id.clone(),
        environment_id: environment.id.clone(),
        name,
        token: token()?,
        proof: None,
        created_at: ctx.now(),
    };
    rows::insert(&mut tx, &domain).await?;
    let happened = Happened::DomainAdded { domain: domain.name.to_string() };
    apps::tell(&mut tx, ctx, actor, &environment, happened).await?;
    tx.commit().await?;
    tracing::info!(app.id = %app.id, domain.id = %domain.id, domain.name = %domain.name, user.id = %actor.user.id, "domain claimed");
    Ok(view(ctx, domain, &[]))
}

/// Looks for the proof, and routes the domain here. One that was verified before is routed again.
pub async fn verify_domain(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    named: &str,
) -> Result<DomainView> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut domain = {
        let mut tx = ctx.store.read().await?;
        let domain = named_in(&mut tx, environment, named).await?;
        not_elsewhere(&mut tx, actor, app, &domain.name).await?;
        domain
    };
    let fresh = domain.proof.is_none();
    if fresh {
        let found = routing::prove(&ctx.config, &domain).await;
        let method = found.map_err(|found| Error::conflict(unproven(ctx, &domain, &found)))?;
        domain.proof = Some(Proof { method, at: ctx.now() });
    }
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    // It may have been given up, or proven by another, while the world was asked.
    named_in(&mut tx, &environment, domain.id.as_str()).await?;
    not_elsewhere(&mut tx, actor, app, &domain.name).await?;
    if let Some(proof) = domain.proof.as_ref().filter(|_| fresh) {
        let set = rows::set_proof(&mut tx, &domain.id, proof).await;
        set.map_err(|error| lost(error, &domain.name))?;
        let happened = Happened::DomainVerified { domain: domain.name.to_string(), method: proof.method };
        apps::tell(&mut tx, ctx, actor, &environment, happened).await?;
    }
    let routed = routes::find_by_host(&mut tx, &domain.name).await?;
    if routed.is_some_and(|route| route.environment_id == environment.id) {
        tx.commit().await?;
    } else {
        let opened = routing::open(&mut tx, ctx, &environment.id, &domain.name).await;
        opened.map_err(|error| lost(error, &domain.name))?;
        settle(ctx, tx, actor, environment.clone(), format!("domain {} added", domain.name)).await?;
        ctx.certificates.notify_one();
    }
    tracing::info!(app.id = %app.id, domain.id = %domain.id, domain.name = %domain.name, user.id = %actor.user.id, "domain verified");
    let routes = routes::of_environment(&mut ctx.store.read().await?, &environment.id).await?;
    Ok(view(ctx, domain, &routes))
}

pub async fn remove_domain(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment, named: &str) -> Result<()> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let domain = named_in(&mut tx, &environment, named).await?;
    rows::delete(&mut tx, &domain.id).await?;
    let happened = Happened::DomainRemoved { domain: domain.name.to_string() };
    apps::tell(&mut tx, ctx, actor, &environment, happened).await?;
    let route = routes::find_by_host(&mut tx, &domain.name).await?;
    match route.filter(|route| route.environment_id == environment.id) {
        None => tx.commit().await?,
        Some(route) => {
            routes::delete(&mut tx, &route.id).await?;
            settle(ctx, tx, actor, environment, format!("domain {} removed", domain.name)).await?;
        }
    }
    tracing::info!(app.id = %app.id, domain.id = %domain.id, domain.name = %domain.name, user.id = %actor.user.id, "domain removed");
    Ok(())
}

/// The release that has the routes as they are now.
async fn settle(ctx: &Ctx, mut tx: Tx, actor: &Actor, environment: Environment, description: String) -> Result<()> {
    let current = good(&mut tx, &environment).await?;
    let spec = environment.spec.clone();
    record(ctx, tx, actor, environment, current, spec, description).await.map(drop)
}

/// By name, however it is written, or id.
async fn named_in(tx: &mut Tx, environment: &Environment, named: &str) -> Result<Domain> {
    let name = DomainName::written(named).ok();
    let is_it = |domain: &Domain| domain.id.as_str() == named || name.as_ref() == Some(&domain.name);
    let mut all = rows::of_environment(tx, &environment.id).await?.into_iter();
    all.find(is_it).ok_or_else(|| Error::not_found("domain"))
}

/// Who has the name is told to those only who see that app anyway.
async fn not_elsewhere(tx: &mut Tx, actor: &Actor, app: &App, name: &DomainName) -> Result<()> {
    let Some(owner) = routing::owner_elsewhere(tx, app, name).await? else { return Ok(()) };
    match store::apps::find(tx, &actor.scope(), &owner.app_id).await? {
        Some(other) => Err(Error::conflict(format!(
            "{name} is the app {}'s, by its domain {}; remove it there first",
            other.name, owner.name
        ))),
        None => Err(taken(name)),
    }
}

fn taken(name: &DomainName) -> Error {
    Error::conflict(format!(
        "{name} was verified for another app of this platform; whoever runs it can tell whether that is right"
    ))
}

fn lost(error: Error, name: &DomainName) -> Error {
    if error.kind == Kind::Exists { taken(name).because(error) } else { error }
}

fn unproven(ctx: &Ctx, domain: &Domain, found: &str) -> String {
    let mut text = format!("{} is not verified: {found}. Publish this text:", domain.name);
    for publication in publications(ctx, domain) {
        let kind = match publication.method {
            ProofMethod::Dns => "as TXT record",
            ProofMethod::Http => "or as file",
        };
        let _ = write!(text, " {kind} {}", publication.place);
    }
    let _ = write!(text, ": {}. Changes of DNS take a while to be seen", routing::text(domain));
    text
}

fn publications(ctx: &Ctx, domain: &Domain) -> Vec<Publication> {
    let text = routing::text(domain);
    let dns = Publication { method: ProofMethod::Dns, place: domain.name.proof_name(), text: text.clone() };
    let http = domain.name.below().is_none().then(|| Publication {
        method: ProofMethod::Http,
        place: routing::file_url(&ctx.config, &domain.name),
        text,
    });
    std::iter::once(dns).chain(http).collect()
}

fn view(ctx: &Ctx, domain: Domain, routes: &[Route]) -> DomainView {
    let state = match &domain.proof {
        None => DomainState::Unverified,
        Some(_) if routes.iter().any(|route| route.host == domain.name) => DomainState::Routed,
        Some(_) => DomainState::Unrouted,
    };
    let publications = if domain.proof.is_none() { publications(ctx, &domain) } else { Vec::new() };
    DomainView { domain, state, publications }
}

fn token() -> Result<String> {
    let mut bits = [0; 16];
    rand::rngs::SysRng.try_fill_bytes(&mut bits).map_err(Error::internal)?;
    Ok(hex::encode(bits))
}
