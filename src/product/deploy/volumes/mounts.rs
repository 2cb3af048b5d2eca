//! Where processes see volumes. A mount is part of a release, so mounting and unmounting are deployments; going back to a
//! release brings its mounts back, and never what was in the volumes then.

use super::live;
use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Result};
use crate::base::model::{
    App, Deployment, Environment, MOST_MOUNTS, Mount, MountPath, ProcessName, Release, VolumeName,
};
use crate::product::Ctx;
use crate::product::deploy::settings::{self, find, refuse, unknown_process};
use crate::product::deploy::shape::{Shape, ShapeChange, crowd_fault, mount_faults};
use crate::product::deploy::sizes::apply;

/// Mounts it, or moves it to another path. None: kept for the first release.
pub async fn mount_volume(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    name: &str,
    process: &ProcessName,
    path: MountPath,
) -> Result<Option<Deployment>> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let volume = live(&mut tx, &environment, name).await?;
    let current = settings::good(&mut tx, &environment).await?;
    let mount = Mount { volume: volume.name.clone(), id: volume.id, path, shared: volume.shared };
    let before = Shape::of_spec(&environment.spec);
    let change = ShapeChange::Mount { process: process.clone(), mount: mount.clone() };
    let after = before.clone().changed(std::slice::from_ref(&change));
    if after == before {
        return Ok(None);
    }
    let mut faults = Vec::new();
    if process.as_str() == "release" {
        faults.push(("process".to_owned(), "release runs once and sees the volumes of web".to_owned()));
    } else if let Some(text) = unknown_process(current.as_ref(), process) {
        faults.push(("process".to_owned(), format!("{process} {text}")));
    }
    faults.extend(current.as_ref().and_then(|release| hides(release, process, &mount.path)));
    faults.extend(mount_faults(&after.mounts));
    if after.mounts.get(process).is_some_and(|here| here.len() > MOST_MOUNTS) {
        faults.push(("process".to_owned(), format!("{process} has more than {MOST_MOUNTS} volumes")));
    }
    let bounds = environment.spec.scaling.get(process).map(|scaling| scaling.max);
    let most = bounds.or(environment.spec.formation.get(process).copied()).unwrap_or(1);
    faults.extend(
        crowd_fault(&after.mounts, process, most)
            .map(|text| ("process".to_owned(), format!("{process} may have {most} replicas and {text}"))),
    );
    refuse(faults)?;
    let description = format!("mount {} at {} of {process}", volume.name, mount.path);
    Ok(apply(ctx, tx, actor, app, environment, current, vec![change], description).await?.1)
}

/// Its data stays. None for `process` is every process type that has it. None: there was no release to change.
pub async fn unmount_volume(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    name: &str,
    process: Option<&ProcessName>,
) -> Result<Option<Deployment>> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut tx = ctx.store.begin().await?;
    let environment = find(&mut tx, actor, app, environment).await?;
    let current = settings::good(&mut tx, &environment).await?;
    let name: VolumeName = name.parse().map_err(|_| Error::not_found("volume"))?;
    let wanted = |known: &&ProcessName| process.is_none_or(|process| process == *known);
    let changes: Vec<_> = super::of(&environment.spec.mounts, &name)
        .keys()
        .filter(wanted)
        .map(|process| ShapeChange::Unmount { process: process.clone(), volume: name.clone() })
        .collect();
    if changes.is_empty() {
        let place = process.map(|process| format!(" by {process}")).unwrap_or_default();
        return Err(Error::conflict(format!("the volume {name} is not mounted{place}")));
    }
    Ok(apply(ctx, tx, actor, app, environment, current, changes, format!("unmount {name}")).await?.1)
}

/// A volume in the place of the directory that the process works in would leave it without its program.
fn hides(release: &Release, process: &ProcessName, path: &MountPath) -> Option<(String, String)> {
    let place = release.processes.get(process)?.working_dir.as_deref()?;
    let text = format!("must not be {path}: it would hide {place}, where {process} works; choose a directory below it");
    path.covers(place).then(|| ("path".to_owned(), text))
}
