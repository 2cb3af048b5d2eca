//! What people see of orders, and say of them.

use super::super::certificates::renewal;
use super::super::keeper::{Wanted, best};
use super::plan::Standing;
use super::standing::Rules;
use crate::base::access::{Action, Actor, Place};
use crate::base::clock::Timestamp;
use crate::base::config::IssuerChoice;
use crate::base::error::{Error, Result};
use crate::base::model::{
    App, Certificate, CertificateOrder, CertificateOrigin, DomainName, Environment, EnvironmentId, Happened,
};
use crate::machinery::certs::host_of;
use crate::product::Ctx;
use crate::state::store::events::{self, NewEvent, Subject};
use crate::state::store::{certificates as rows, orders, routes};

#[derive(Debug, Clone)]
pub struct NameView {
    pub name: DomainName,
    pub state: NameState,
    /// In words, where no certificate is to be had, or the last try failed.
    pub reason: Option<String>,
    /// The one that answers.
    pub certificate: Option<Certificate>,
    /// When it is made anew, where the platform does that.
    pub renews_at: Option<Timestamp>,
    pub attempts: u32,
    pub failed_at: Option<Timestamp>,
    pub next_at: Option<Timestamp>,
    /// Host of the authority that was asked last.
    pub authority: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameState {
    Served,
    Ordering,
    Failed,
    Off,
    Unfit,
    /// Until the first deployment.
    Waiting,
    /// This server orders none.
    None,
}

impl NameState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Ordering => "ordering",
            Self::Failed => "failed",
            Self::Off => "off",
            Self::Unfit => "unfit",
            Self::Waiting => "waiting",
            Self::None => "none",
        }
    }
}

/// Of each name that the environment answers on.
pub async fn certificate_names(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
) -> Result<Vec<NameView>> {
    actor.may(Action::ViewApp, &Place::from(app))?;
    let now = ctx.now();
    let mut tx = ctx.store.read().await?;
    let routes = routes::of_environment(&mut tx, &environment.id).await?;
    let kept = rows::all(&mut tx).await?;
    let all = orders::all(&mut tx).await?;
    let ordered = ctx.config.certs.issuer == IssuerChoice::Acme;
    let rules = if ordered { Some(Rules::read(ctx, &mut tx).await?) } else { None };
    let routed = environment.status.live_release.is_some();
    let view = |name: DomainName| {
        let want = Wanted { name: name.clone(), environment: Some(environment.id.clone()) };
        let certificate = best(&want, &kept, now).map(|kept| kept.certificate.clone());
        let standing = rules.as_ref().map(|rules| rules.standing(&want, &kept, |_| routed, now));
        let shared = rules.as_ref().and_then(|rules| rules.shared.as_ref()).filter(|one| one.covers(name.as_str()));
        let order = order_of(&all, &name, &environment.id, shared);
        view(name, certificate, standing, order)
    };
    Ok(routes.into_iter().map(|route| view(route.host)).collect())
}

/// The name's own, or that of the one that it shares.
fn order_of<'a>(
    all: &'a [CertificateOrder],
    name: &DomainName,
    environment: &EnvironmentId,
    shared: Option<&DomainName>,
) -> Option<&'a CertificateOrder> {
    all.iter().find(|order| match &order.environment_id {
        Some(of) => of == environment && order.name == *name,
        None => Some(&order.name) == shared,
    })
}

fn view(
    name: DomainName,
    certificate: Option<Certificate>,
    standing: Option<Standing>,
    order: Option<&CertificateOrder>,
) -> NameView {
    let failed = order.and_then(|order| order.error.clone());
    let (state, reason) = match standing {
        None => (if certificate.is_some() { NameState::Served } else { NameState::None }, None),
        Some(Standing::Off) => (NameState::Off, None),
        Some(Standing::Unfit(text)) => (NameState::Unfit, Some(text)),
        Some(Standing::Unrouted) if order.is_none() => (NameState::Waiting, None),
        Some(Standing::Served | Standing::Lacking | Standing::Unrouted) => match (failed, order) {
            (Some(text), _) => (NameState::Failed, Some(text)),
            (None, Some(_)) => (NameState::Ordering, None),
            (None, None) if certificate.is_some() => (NameState::Served, None),
            (None, None) => (NameState::Ordering, None),
        },
    };
    let renewed = |one: &&Certificate| one.origin != CertificateOrigin::Uploaded;
    let live = matches!(state, NameState::Ordering | NameState::Failed).then_some(order).flatten();
    NameView {
        name,
        state,
        reason,
        renews_at: certificate.as_ref().filter(renewed).map(renewal),
        certificate,
        attempts: live.map_or(0, |order| order.attempts),
        failed_at: live.and_then(|order| order.failed_at),
        next_at: live.filter(|order| order.error.is_some()).map(|order| order.next_at),
        authority: live.and_then(|order| order.directory.as_deref()).map(host_of),
    }
}

/// Says whether certificates are ordered for a name of the environment, or for all. What waits is tried at once.
pub async fn order_certificates(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    (named, ordered): (Option<&str>, bool),
) -> Result<()> {
    actor.may(Action::Deploy, &Place::from(app))?;
    if ctx.config.certs.issuer != IssuerChoice::Acme {
        let text = "this server orders no certificates; an administrator can set certs.issuer = \"acme\"";
        return Err(Error::conflict(text));
    }
    let mut tx = ctx.store.begin().await?;
    let routes = routes::of_environment(&mut tx, &environment.id).await?;
    let name = match named {
        None => None,
        Some(text) => {
            let written = DomainName::written(text).map_err(|e| Error::invalid("domain", e.to_string()))?;
            let known = routes.iter().any(|route| route.host == written);
            let absent =
                || Error::invalid("domain", format!("is {written}, which this environment does not answer on"));
            Some(known.then_some(written.clone()).ok_or_else(absent)?)
        }
    };
    orders::choose(&mut tx, &environment.id, name.as_ref(), ordered).await?;
    orders::hurry(&mut tx, &environment.id, name.as_ref(), ctx.now()).await?;
    let of = name.as_ref().map_or_else(|| "all names".to_owned(), ToString::to_string);
    let what = vec![format!("certificates for {of} {}", if ordered { "ordered" } else { "not ordered" })];
    let event = NewEvent {
        at: ctx.now(),
        of: Subject::Environment(&environment.id),
        happened: Happened::EnvironmentChanged { what },
        subject: environment.name.to_string(),
        actor: Some(&actor.user.id),
        cause: None,
        once: None,
    };
    events::insert(&mut tx, &event).await?;
    tx.commit().await?;
    ctx.certificates.notify_one();
    Ok(())
}
