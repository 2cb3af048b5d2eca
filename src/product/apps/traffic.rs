//! What an environment's owner wants of its requests.

use std::collections::BTreeMap;

use super::environments::{find, write};
use super::told::tell;
use crate::base::access::{Action, Actor};
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{App, Environment, Happened, Traffic};
use crate::base::secret::Secret;
use crate::machinery::proxy::hash_password;
use crate::product::Ctx;
use crate::state::store::releases;

/// Passwords shorter than this are guessed.
const SHORTEST_PASSWORD: usize = 8;
const LONGEST_PASSWORD: usize = 256;

/// A password to set, or a name to take away.
pub type UserChanges = BTreeMap<String, Option<Secret<String>>>;

/// `change` makes the new ones of the old ones; who may come by name is changed by `users`. They hold from now on, for whatever
/// release is live.
pub async fn change_traffic(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    name: &str,
    change: impl FnOnce(&mut Traffic),
    users: UserChanges,
) -> Result<Environment> {
    actor.may(Action::Deploy, &app.into())?;
    let mut hashes = BTreeMap::new();
    for (user, password) in users {
        let hash = match password {
            None => None,
            Some(password) => {
                let length = password.reveal().len();
                if !(SHORTEST_PASSWORD..=LONGEST_PASSWORD).contains(&length) {
                    let text = format!("must have a password of {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} bytes");
                    return Err(Error::invalid(&format!("users.{user}"), text));
                }
                let hashed = tokio::task::spawn_blocking(move || hash_password(password.reveal()));
                Some(hashed.await.map_err(Error::internal)?)
            }
        };
        hashes.insert(user, hash);
    }
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, name).await?;
    let mut spec = environment.spec.clone();
    change(&mut spec.traffic);
    for (user, hash) in hashes {
        match hash {
            Some(hash) => drop(spec.traffic.users.insert(user, hash)),
            None if spec.traffic.users.remove(&user).is_none() => return Err(Error::not_found("user")),
            None => {}
        }
    }
    // Where it has a value of its own there is nothing to except.
    let without = std::mem::take(&mut spec.traffic.without);
    spec.traffic.without = without.into_iter().filter(|rule| !spec.traffic.has(*rule)).collect();
    refuse(spec.traffic.faults())?;
    if spec == environment.spec {
        return Ok(environment);
    }
    let what = changed(&environment.spec.traffic, &spec.traffic);
    tell(&mut tx, ctx, actor, &environment, Happened::EnvironmentChanged { what }).await?;
    let environment = write(&mut tx, environment, spec).await?;
    tx.commit().await?;
    ctx.wake.notify_one();
    Ok(environment)
}

/// What the release says that answers, or that shall: it holds where the environment says nothing.
pub async fn traffic_beneath(ctx: &Ctx, actor: &Actor, app: &App, environment: &Environment) -> Result<Traffic> {
    actor.may(Action::ViewApp, &app.into())?;
    let Some(id) = environment.status.live_release.as_ref().or(environment.spec.release.as_ref()) else {
        return Ok(Traffic::default());
    };
    let mut tx = ctx.store.read().await?;
    let release = releases::find(&mut tx, &actor.scope(), id).await?;
    Ok(release.map(|release| release.manifest.traffic).unwrap_or_default())
}

fn refuse(faults: Vec<(String, String)>) -> Result<()> {
    let Some((name, text)) = faults.first() else { return Ok(()) };
    let public = format!("{name}: {text}");
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    faults.into_iter().for_each(|(name, text)| all.entry(name).or_default().push(text));
    Err(Error::new(Kind::Invalid(all), public))
}

/// For the event: which rules, never what they are.
fn changed(was: &Traffic, is: &Traffic) -> Vec<String> {
    let differs = [
        ("exceptions", was.without != is.without),
        ("maintenance", was.maintenance != is.maintenance),
        ("networks", was.allow != is.allow || was.deny != is.deny),
        ("users", was.users != is.users),
        ("rate", was.rate != is.rate),
        ("body", was.max_body_bytes != is.max_body_bytes),
        ("timeout", was.timeout_seconds != is.timeout_seconds),
        ("sticky", was.sticky != is.sticky),
        ("redirect", was.redirect != is.redirect),
        ("headers", was.request_headers != is.request_headers || was.response_headers != is.response_headers),
        ("cors", was.cors != is.cors),
        ("pages", was.pages != is.pages),
        ("canary", was.canary_cookie != is.canary_cookie),
        ("in flight", was.in_flight != is.in_flight),
        ("queue", was.queue != is.queue || was.wait_seconds != is.wait_seconds),
        ("compression", was.compression != is.compression),
        ("protocol", was.protocol != is.protocol),
        ("server-timing", was.server_timing != is.server_timing),
        ("access-log", was.access_log != is.access_log),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect()
}
