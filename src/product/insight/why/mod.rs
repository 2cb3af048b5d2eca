//! Why an environment is as it is: the chain of causes with its evidence, what is wanted beside what is seen, and what
//! to do next. Gathers; what follows from it is `chain.rs`, which is pure.

mod chain;
mod text;

use std::collections::BTreeMap;

use crate::base::access::{Action, Actor};
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::{App, Environment, Event, Release};
use crate::product::apps::{self, ReplicaView};
use crate::product::{Ctx, routing};
use crate::state::store::{self, events, releases};

/// Events that are looked at; what lies further back explains nothing of now.
const EVENTS: i64 = 300;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// Nothing is wrong.
    pub well: bool,
    pub summary: String,
    /// In the order of time; each brought about the next.
    pub chain: Vec<Link>,
    pub wanted: Side,
    pub seen: Side,
    /// Where the two differ.
    pub drift: Vec<String>,
    /// What a person can do.
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub at: Timestamp,
    pub text: String,
    /// Lines of a log, or of a reason.
    pub evidence: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Side {
    /// Number of the release.
    pub release: Option<i64>,
    /// Replicas per process: those wanted, or those that are ready.
    pub processes: BTreeMap<String, u32>,
    pub urls: Vec<String>,
}

/// All that the answer is made of.
pub struct Facts {
    now: Timestamp,
    app: String,
    environment: Environment,
    wanted: Option<Release>,
    live: Option<Release>,
    urls: Vec<String>,
    processes: BTreeMap<String, u32>,
    replicas: Vec<ReplicaView>,
    /// None: the engine does not answer.
    engine_answers: bool,
    /// Oldest first.
    events: Vec<Event>,
}

pub async fn why(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment) -> Result<Why> {
    actor.may(Action::ViewApp, &app.into())?;
    let processes = apps::processes(ctx, actor, app, environment).await?;
    let replicas = ctx.observatory.replicas(&environment.id).await;
    let scope = actor.scope();
    let mut tx = ctx.store.read().await?;
    let mut release = async |id| match id {
        Some(id) => releases::find(&mut tx, &scope, id).await,
        None => Ok(None),
    };
    let wanted = release(environment.spec.release.as_ref()).await?;
    let live = release(environment.status.live_release.as_ref()).await?;
    let hosts = store::routes::of_environment(&mut tx, &environment.id).await?;
    let of = events::Of { app: Some(app.id.clone()), environment: Some(environment.id.clone()) };
    let mut events = events::newest(&mut tx, &scope, &of, None, EVENTS).await?;
    events.reverse();
    let facts = Facts {
        now: ctx.now(),
        app: app.name.to_string(),
        environment: environment.clone(),
        wanted,
        live,
        urls: hosts.iter().map(|route| routing::url(&ctx.config, &route.host)).collect(),
        processes: processes.into_iter().map(|p| (p.name.to_string(), p.wanted)).collect(),
        engine_answers: replicas.is_ok(),
        replicas: replicas.unwrap_or_default(),
        events,
    };
    Ok(chain::explain(&facts))
}

#[cfg(test)]
mod tests;
