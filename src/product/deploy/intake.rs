//! What happens to a push before it is a job: which app, who may, which ref goes where.

use serde::{Deserialize, Serialize};

use super::options::{Manner, PushOptions};
use super::{attempt, messages};
use crate::base::access::{Action, Actor, Place, Scope};
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{
    App, AppId, BranchName, Build, BuildId, CommitId, DeploymentId, Environment, EnvironmentId, Id, JobId, UserId,
};
use crate::product::Ctx;
use crate::product::apps::{self, NewApp, VariableChanges};
use crate::state::store;

/// One command of a push, as far as policy needs it.
#[derive(Debug, Clone)]
pub struct RefUpdate {
    /// As the client sent it, not yet known to be sane.
    pub name: String,
    pub deletes: bool,
}

/// The one update of a push that deploys.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Its place in the list of updates.
    pub index: usize,
    pub environment: Environment,
}

/// Everything the job of a push needs; stored as its payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PushOrder {
    pub app: AppId,
    pub environment: EnvironmentId,
    pub branch: BranchName,
    /// The tip that the branch had; none for a new branch.
    pub old: Option<CommitId>,
    pub new: CommitId,
    /// Key of the quarantine that holds the pushed objects.
    pub quarantine: String,
    /// It came as an archive: no branch moves, and `branch` only names the environment's.
    #[serde(default)]
    pub archive: bool,
    /// Where it was fetched from, as releases tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<String>,
    #[serde(default, skip_serializing_if = "Manner::is_usual")]
    pub manner: Manner,
    pub user: UserId,
    pub build: BuildId,
    pub deployment: DeploymentId,
}

/// The app of a git address (`APP`, `ORG/APP`, with or without `.git`), made if it is new and the pusher may.
/// True when it was made now.
pub async fn open_for_push(ctx: &Ctx, actor: &Actor, path: &str) -> Result<(App, bool)> {
    let name = address(path)?;
    match apps::resolve(ctx, actor, name).await {
        Ok(app) => {
            actor.may(Action::Deploy, &Place::from(&app))?;
            Ok((app, false))
        }
        Err(error) if error.is_not_found() && actor.bound.is_some() => Err(error),
        Err(error) if error.is_not_found() && !ctx.config.git.create_on_push => {
            Err(Error::not_found(format!("app \"{name}\" (make it first: hythe apps:create {name})")))
        }
        Err(error) if error.is_not_found() => {
            let (organization, app) = name.rsplit_once('/').map_or((None, name), |(org, app)| (Some(org), app));
            let organization = organization.map(str::parse).transpose();
            let organization = organization.map_err(|_| Error::not_found(format!("app \"{name}\"")))?;
            let app = app.parse().map_err(|e| Error::invalid("the app's name", format!("{e}")))?;
            let new = NewApp { name: app, organization };
            Ok((apps::create(ctx, actor, new).await?, true))
        }
        Err(error) => Err(error),
    }
}

pub async fn open_for_fetch(ctx: &Ctx, actor: &Actor, path: &str) -> Result<App> {
    let app = apps::resolve(ctx, actor, address(path)?).await?;
    actor.may(Action::ViewApp, &Place::from(&app))?;
    Ok(app)
}

fn address(path: &str) -> Result<&str> {
    let name = path.trim_start_matches('/');
    let name = name.strip_suffix('/').unwrap_or(name);
    let name = name.strip_suffix(".git").unwrap_or(name);
    let sane = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let parts = name.split('/');
    let well = !name.is_empty()
        && name.len() <= 100
        && parts.clone().count() <= 2
        && parts.clone().all(|p| !p.is_empty() && p.bytes().all(sane));
    if well {
        Ok(name)
    } else {
        Err(Error::new(
            Kind::NotFound,
            "the address names no app; it reads ssh://git@HOST:PORT/APP.git, with APP of a-z, 0-9 and -",
        ))
    }
}

/// For each update the reason why it is refused; the one that is not is what deploys: where its branch does, or in the
/// environment of that name.
pub async fn decide(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    updates: &[RefUpdate],
    named: Option<&str>,
) -> Result<(Option<Accepted>, Vec<Option<String>>)> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let environments = {
        let mut tx = ctx.store.read().await?;
        store::environments::of_app(&mut tx, &actor.scope(), &app.id).await?
    };
    let known = environments.iter().map(|e| e.branch.as_str()).collect::<Vec<_>>().join(" or ");
    let held = environments.iter().find_map(super::guide::held_text);
    let held = match held {
        None => ctx.disk.too_full(ctx).await,
        held => held,
    };
    let mut accepted: Option<Accepted> = None;
    let mut reasons = Vec::with_capacity(updates.len());
    for (index, update) in updates.iter().enumerate() {
        reasons.push(match place(update, &environments, (named, &known)) {
            Err(reason) => Some(reason),
            Ok(_) if accepted.is_some() => {
                Some("only one branch can be deployed by a push; push this one by itself".into())
            }
            Ok(_) if held.is_some() => held.clone(),
            Ok(environment) => {
                accepted = Some(Accepted { index, environment: environment.clone() });
                None
            }
        });
    }
    Ok((accepted, reasons))
}

fn place<'a>(
    update: &RefUpdate,
    environments: &'a [Environment],
    (named, known): (Option<&str>, &str),
) -> Result<&'a Environment, String> {
    let Some(branch) = update.name.strip_prefix("refs/heads/") else {
        return Err(format!("only branches are deployed; push to {known}"));
    };
    let branch: BranchName = branch.parse().map_err(|e| format!("{e}"))?;
    if let Some(name) = named.filter(|_| !update.deletes) {
        let found = environments.iter().find(|environment| environment.name.as_str() == name);
        return found.ok_or_else(|| messages::unknown_environment(environments.iter().map(|e| e.name.as_str())));
    }
    let found = environments.iter().find(|e| e.branch == branch);
    match found {
        Some(_) if update.deletes => {
            Err("deleting a deployed branch is refused; to remove the app: hythe apps:destroy".into())
        }
        Some(environment) => Ok(environment),
        None => Err(messages::unknown_branch(branch.as_str(), known)),
    }
}

/// What brought the objects.
pub(super) enum Origin {
    /// A push to the branch, which had this tip.
    Branch {
        old: Option<CommitId>,
    },
    Archive,
}

/// Makes the push a job. From here on it no longer needs the client.
pub async fn accept(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    (old, new): (Option<CommitId>, CommitId),
    quarantine: &str,
    options: &PushOptions,
) -> Result<(JobId, Build)> {
    let origin = Origin::Branch { old };
    let manner = (options.manner.clone(), &options.variables);
    accept_from(ctx, actor, app, environment, (origin, new), quarantine, manner).await
}

pub(super) async fn accept_from(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    (origin, new): (Origin, CommitId),
    quarantine: &str,
    (manner, variables): (Manner, &VariableChanges),
) -> Result<(JobId, Build)> {
    actor.may(Action::Deploy, &Place::from(app))?;
    if !variables.is_empty() {
        actor.may(Action::WriteVariables, &Place::from(app))?;
    }
    manner.check()?;
    let (old, archive) = match origin {
        Origin::Branch { old } => (old, false),
        Origin::Archive => (None, true),
    };
    let mut order = PushOrder {
        app: app.id.clone(),
        environment: environment.id.clone(),
        branch: environment.branch.clone(),
        old,
        new: new.clone(),
        quarantine: quarantine.to_owned(),
        archive,
        fetched: None,
        manner,
        user: actor.user.id.clone(),
        build: BuildId::fresh(),
        deployment: DeploymentId::fresh(),
    };
    let mut tx = ctx.store.begin().await?;
    if !variables.is_empty() {
        let (organization, id) = (&app.organization_id, order.build.as_str());
        order.manner.sealed = Some(apps::seal_changes(&mut tx, ctx, organization, id, variables).await?);
    }
    let payload = serde_json::to_value(&order).map_err(Error::internal)?;
    let job_id = ctx.queue.enqueue(&mut tx, super::push::KIND, app.id.as_str(), payload).await?;
    let build = attempt::build(ctx, &order.build, app, &job_id, new);
    attempt::begin(&mut tx, &build, (&order.deployment, &environment.id), order.user, order.manner.course).await?;
    tx.commit().await?;
    ctx.queue.notify();
    Ok((job_id, build))
}

/// Keys of quarantines that unfinished jobs of the app still need.
pub async fn quarantines_in_use(ctx: &Ctx, app: &AppId) -> Result<Vec<String>> {
    let mut tx = ctx.store.read().await?;
    let jobs = store::jobs::unfinished(&mut tx, app.as_str()).await?;
    let mut keys = Vec::new();
    for job in jobs {
        if job.kind == super::fetching::KIND {
            let steps = store::jobs::steps(&mut tx, &job.id).await?;
            keys.extend(steps.first().and_then(|step| super::fetching::quarantine_of(&step.output)));
        } else if let Ok(order) = serde_json::from_value::<PushOrder>(job.payload) {
            keys.push(order.quarantine);
        }
    }
    Ok(keys)
}

/// Used where a row is read for the platform's own work.
pub(super) const PLATFORM: Scope = Scope::Platform;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_apps() {
        for (path, name) in
            [("/shop.git", "shop"), ("shop", "shop"), ("acme/shop.git", "acme/shop"), ("/acme/shop/", "acme/shop")]
        {
            assert_eq!(address(path).ok(), Some(name));
        }
        for path in
            ["", "/", "../shop", "a/b/c", "sh op", "'shop'", "$(id)", "Shop", "-oProxyCommand=id;", "%2e%2e/x", "a//b"]
        {
            assert!(
                address(path).is_err()
                    || address(path).is_ok_and(|n| n.parse::<crate::base::model::AppName>().is_err()),
                "{path}"
            );
        }
    }
}
