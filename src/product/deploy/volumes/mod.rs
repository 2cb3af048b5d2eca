//! Volumes: named data of an environment.
//!
//! Invariants: a volume is nobody's path on the machine, it is known to the engine by its id alone. Destroying one leaves
//! a tombstone: its data stays until the time that the configuration gives has passed, and one verb brings it back, also
//! into another app of the same organization. So does destroying the environment or the app that has it. What a
//! release mounts is not destroyed.

mod mounts;

use std::collections::BTreeMap;

use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{
    App, Environment, Happened, Id, MountPath, Mounts, ProcessName, Volume, VolumeId, VolumeName, VolumeState,
};
use crate::product::{Ctx, apps};
use crate::state::store::{self, Tx, volumes as rows};

use super::settings::{find, nothing_under_way};
pub use mounts::{mount_volume, unmount_volume};

const MOST_VOLUMES: i64 = 50;

/// A volume with what people ask next.
#[derive(Debug, Clone)]
pub struct VolumeView {
    pub volume: Volume,
    /// Where the release that shall be live has it.
    pub mounts: BTreeMap<ProcessName, MountPath>,
    /// None: the engine does not say, or nothing ever mounted it.
    pub bytes: Option<u64>,
}

/// Empty; its place in the engine is made when something mounts it.
pub async fn create_volume(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    name: VolumeName,
    shared: bool,
) -> Result<Volume> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    if rows::count_live(&mut tx, &environment.id).await? >= MOST_VOLUMES {
        return Err(Error::limit(format!("an environment has at most {MOST_VOLUMES} volumes")));
    }
    let volume = Volume {
        id: VolumeId::fresh(),
        organization_id: app.organization_id.clone(),
        space_id: app.space_id.clone(),
        environment_id: Some(environment.id.clone()),
        name,
        shared,
        origin: origin(app, &environment),
        state: VolumeState::Live,
        created_at: ctx.now(),
        destroyed_at: None,
        kept_until: None,
    };
    rows::insert(&mut tx, &volume).await.map_err(|error| taken(error, &volume.name))?;
    tell(&mut tx, ctx, actor, &environment, format!("volume {} created", volume.name)).await?;
    tx.commit().await?;
    tracing::info!(volume.id = %volume.id, volume.name = %volume.name, environment.id = %environment.id, user.id = %actor.user.id, "volume created");
    Ok(volume)
}

/// Live ones and tombstones of the environment, by name. `measured`: with their sizes, which takes the engine a while.
pub async fn volumes(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    measured: bool,
) -> Result<Vec<VolumeView>> {
    actor.may(Action::ViewApp, &Place::from(app))?;
    let (all, mounts) = {
        let mut tx = ctx.store.read().await?;
        let environment = find(&mut tx, actor, app, environment).await?;
        (rows::of_environment(&mut tx, &actor.scope(), &environment.id).await?, environment.spec.mounts)
    };
    let sizes = if all.is_empty() || !measured { BTreeMap::new() } else { sizes(ctx).await };
    let view = |volume: Volume| VolumeView {
        mounts: if volume.state == VolumeState::Live { of(&mounts, &volume.name) } else { BTreeMap::new() },
        bytes: sizes.get(&volume.id).copied(),
        volume,
    };
    Ok(all.into_iter().map(view).collect())
}

/// By name, the live one before tombstones; or by id.
pub async fn volume(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    name: &str,
    measured: bool,
) -> Result<VolumeView> {
    let all = volumes(ctx, actor, app, environment, measured).await?;
    let mut found: Vec<_> =
        all.into_iter().filter(|v| v.volume.name.as_str() == name || v.volume.id.as_str() == name).collect();
    found.sort_by_key(|view| view.volume.state != VolumeState::Live);
    found.into_iter().next().ok_or_else(|| Error::not_found("volume"))
}

/// Tombstones that the actor sees anywhere, those of destroyed apps and environments included; the first to go first.
pub async fn destroyed_volumes(ctx: &Ctx, actor: &Actor) -> Result<Vec<Volume>> {
    actor.may_act()?;
    rows::destroyed(&mut ctx.store.read().await?, &actor.scope()).await
}

/// Leaves a tombstone.
pub async fn destroy_volume(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    name: &str,
) -> Result<Volume> {
    actor.may(Action::DestroyApp, &Place::from(app))?;
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let volume = live(&mut tx, &environment, name).await?;
    nothing_under_way(&mut tx, &environment).await?;
    if let Some((process, path)) = mounted(&mut tx, &environment, &volume.name).await? {
        return Err(Error::conflict(format!(
            "{process} has it mounted at {path}; first: hythe volumes:unmount {}",
            volume.name
        )));
    }
    let now = ctx.now();
    let until = now.plus_millis(kept_millis(ctx));
    if !rows::destroy(&mut tx, &volume.id, now, until).await? {
        return Err(Error::not_found("volume"));
    }
    tell(&mut tx, ctx, actor, &environment, format!("volume {} destroyed", volume.name)).await?;
    tx.commit().await?;
    tracing::info!(volume.id = %volume.id, volume.name = %volume.name, user.id = %actor.user.id, kept_until = %until, "volume destroyed");
    Ok(Volume { state: VolumeState::Destroyed, destroyed_at: Some(now), kept_until: Some(until), ..volume })
}

/// Brings a tombstone back into the environment: one of its own by name, or any of the organization by id.
pub async fn restore_volume(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    tombstone: &str,
    name: Option<VolumeName>,
) -> Result<Volume> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let seen = rows::destroyed(&mut tx, &actor.scope()).await?;
    let here = |volume: &&Volume| match tombstone.parse::<VolumeId>() {
        Ok(id) => volume.id == id && volume.organization_id == app.organization_id,
        Err(_) => volume.name.as_str() == tombstone && volume.environment_id.as_ref() == Some(&environment.id),
    };
    // Of several of one name the one that was destroyed last.
    let found = seen.iter().filter(here).max_by_key(|volume| volume.destroyed_at).cloned();
    let Some(volume) = found.filter(|volume| volume.kept_until.is_none_or(|until| until > ctx.now())) else {
        return Err(Error::not_found("destroyed volume"));
    };
    // It comes from a place of its own: who may not deploy there may not carry its data away.
    if volume.environment_id.as_ref() != Some(&environment.id) {
        may_carry_away(&mut tx, actor, &volume).await?;
    }
    let name = name.unwrap_or_else(|| volume.name.clone());
    let origin = origin(app, &environment);
    let place = (&app.space_id, &environment.id);
    if !rows::restore(&mut tx, &volume.id, place, &name, &origin).await.map_err(|error| taken(error, &name))? {
        return Err(Error::not_found("destroyed volume"));
    }
    tell(&mut tx, ctx, actor, &environment, format!("volume {name} restored")).await?;
    tx.commit().await?;
    tracing::info!(volume.id = %volume.id, volume.name = %name, environment.id = %environment.id, user.id = %actor.user.id, "volume restored");
    Ok(Volume {
        name,
        origin,
        state: VolumeState::Live,
        environment_id: Some(environment.id),
        space_id: app.space_id.clone(),
        destroyed_at: None,
        kept_until: None,
        ..volume
    })
}

async fn may_carry_away(tx: &mut Tx, actor: &Actor, volume: &Volume) -> Result<()> {
    let app = match &volume.environment_id {
        Some(id) => store::environments::find(tx, &actor.scope(), id).await?.map(|environment| environment.app_id),
        None => None,
    };
    let (organization, space) = (volume.organization_id.clone(), Some(volume.space_id.clone()));
    actor.may(Action::Deploy, &Place { organization, space, app })
}

/// Volumes whose environment went away in this transaction become tombstones.
pub(super) async fn bury(tx: &mut Tx, ctx: &Ctx) -> Result<()> {
    let now = ctx.now();
    rows::bury(tx, now, now.plus_millis(kept_millis(ctx))).await.map(drop)
}

/// Removes the data of tombstones that were kept long enough. True: the engine does not let go of all of it yet.
pub async fn purge_volumes(ctx: &Ctx) -> Result<bool> {
    let mut tx = ctx.store.begin().await?;
    bury(&mut tx, ctx).await?;
    let due = rows::begin_purge(&mut tx, ctx.now()).await?;
    tx.commit().await?;
    let mut left = false;
    for volume in due {
        if let Err(fault) = ctx.desk.machine()?.engine.remove_volume(&volume.id).await {
            let error = Error::internal(fault);
            tracing::warn!(volume.id = %volume.id, error = error.for_log(), "a volume could not be removed yet");
            left = true;
            continue;
        }
        let mut tx = ctx.store.begin().await?;
        rows::end_purge(&mut tx, &volume.id).await?;
        tx.commit().await?;
        tracing::info!(volume.id = %volume.id, volume.name = %volume.name, origin = volume.origin, "removed what a destroyed volume had left");
    }
    Ok(left)
}

async fn live(tx: &mut Tx, environment: &Environment, name: &str) -> Result<Volume> {
    let absent = || Error::not_found("volume");
    let name: VolumeName = name.parse().map_err(|_| absent())?;
    rows::find_live(tx, &environment.id, &name).await?.ok_or_else(absent)
}

/// Who has it: in the spec, in the release that is live, in the one that stands by.
async fn mounted(
    tx: &mut Tx,
    environment: &Environment,
    name: &VolumeName,
) -> Result<Option<(ProcessName, MountPath)>> {
    let mut all = of(&environment.spec.mounts, name);
    let status = &environment.status;
    let standing_by = status.watch.as_ref().and_then(|watch| watch.previous_release.as_ref());
    for id in status.live_release.iter().chain(standing_by) {
        all.extend(of(&super::activate::find_release(tx, id).await?.mounts, name));
    }
    Ok(all.into_iter().next())
}

fn of(mounts: &Mounts, name: &VolumeName) -> BTreeMap<ProcessName, MountPath> {
    let each = mounts.iter().flat_map(|(process, here)| here.iter().map(move |mount| (process, mount)));
    each.filter(|(_, mount)| mount.volume == *name)
        .map(|(process, mount)| (process.clone(), mount.path.clone()))
        .collect()
}

/// An engine that cannot tell leaves them unknown.
async fn sizes(ctx: &Ctx) -> BTreeMap<VolumeId, u64> {
    let Ok(machine) = ctx.desk.machine() else { return BTreeMap::new() };
    machine.engine.volume_sizes().await.unwrap_or_else(|fault| {
        tracing::warn!(error = %Error::internal(fault).for_log(), "volumes could not be measured");
        BTreeMap::new()
    })
}

fn kept_millis(ctx: &Ctx) -> i64 {
    i64::from(ctx.config.runtime.volume_kept_seconds) * 1000
}

fn origin(app: &App, environment: &Environment) -> String {
    format!("{}/{}", app.name, environment.name)
}

async fn tell(tx: &mut Tx, ctx: &Ctx, actor: &Actor, environment: &Environment, what: String) -> Result<()> {
    apps::tell(tx, ctx, actor, environment, Happened::EnvironmentChanged { what: vec![what] }).await
}

fn taken(error: Error, name: &VolumeName) -> Error {
    match error.kind {
        Kind::Exists => Error::exists(format!("a volume named \"{name}\"")).because(error),
        _ => error,
    }
}
