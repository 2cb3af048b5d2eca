//! Volumes, and the way to the verbs about sizes.

use super::Session;
use super::args::{AtFlag, AtWord, VolumeVerb};
use super::delivery::follow;
use super::failure::{Failure, Result};
use super::text::{bytes, time};
use crate::base::clock::{Clock, SystemClock};
use crate::edges::api::types::{MountBody, MountsChanged, NewVolumeBody, RestoreBody, VolumeView};

pub(super) async fn run(s: &mut Session, verb: VolumeVerb) -> Result<()> {
    match verb {
        VolumeVerb::PsSize { at, words } => super::processes::size(s, &at, &words).await,
        VolumeVerb::Sizes => super::processes::sizes(s).await,
        VolumeVerb::Volumes { at, destroyed } => list(s, &at, destroyed).await,
        VolumeVerb::VolumesCreate { at, name, shared } => create(s, &at, name, shared).await,
        VolumeVerb::VolumesInfo { at, name } => show(s, &at, &name).await,
        VolumeVerb::VolumesMount { at, name, path, process } => mount(s, &at, &name, path, &process).await,
        VolumeVerb::VolumesUnmount { at, name, process } => unmount(s, &at, &name, process.as_deref()).await,
        VolumeVerb::VolumesDestroy { at, name, confirm } => destroy(s, &at, &name, confirm.as_deref()).await,
        VolumeVerb::VolumesRestore { at, volume, name } => restore(s, &at, &volume, name).await,
    }
}

async fn list(s: &mut Session, at: &AtWord, destroyed: bool) -> Result<()> {
    let all = match destroyed {
        true => s.client.destroyed_volumes().await?.items,
        false => s.client.volumes(&s.app_word(&at.app)?, &at.environment.environment).await?.items,
    };
    if s.json {
        return Ok(s.io.json(&all).await?);
    }
    if all.is_empty() {
        let hint = "no volumes; make one with: hythe volumes:create NAME";
        return Ok(s.io.say(if destroyed { "no destroyed volumes are kept" } else { hint }).await?);
    }
    let row = |v: &VolumeView| {
        let name = if destroyed { v.id.clone() } else { v.name.clone() };
        vec![name, if destroyed { format!("{} of {}", v.name, v.origin) } else { used(v) }, place(v)]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    let head = if destroyed { ["ID", "NAME", "STATE"] } else { ["NAME", "USED", "MOUNTED"] };
    s.print(&head, &rows).await
}

async fn show(s: &mut Session, at: &AtFlag, name: &str) -> Result<()> {
    let volume = s.client.volume(&s.app_flag(&at.app)?, &at.environment.environment, name).await?;
    if s.json {
        return Ok(s.io.json(&volume).await?);
    }
    s.io.out(&format!("{}  {}  (created {})", volume.name, volume.id, time(&volume.created_at))).await?;
    s.io.out(&format!("belongs to  {}", volume.origin)).await?;
    s.io.out(&format!("used        {}", used(&volume))).await?;
    s.io.out(&format!(
        "for         {}",
        if volume.shared { "several replicas at once" } else { "one replica at a time" }
    ))
    .await?;
    s.io.out(&format!("mounted     {}", place(&volume))).await?;
    Ok(())
}

fn used(volume: &VolumeView) -> String {
    volume.used_bytes.map_or_else(|| "unknown".to_owned(), bytes)
}

/// Where it is mounted, or how long it is kept.
fn place(volume: &VolumeView) -> String {
    if let Some(until) = &volume.kept_until {
        return format!("destroyed, kept {} (until {} UTC)", left(until), time(until));
    }
    let each: Vec<_> = volume.mounts.iter().map(|(process, path)| format!("{process}:{path}")).collect();
    if each.is_empty() { "nowhere".into() } else { each.join(" ") }
}

/// `6 days more`
fn left(until: &str) -> String {
    let Ok(until) = until.parse::<jiff::Timestamp>() else { return "for a while".into() };
    let seconds = until.as_second() - SystemClock.now().0 / 1000;
    match seconds.max(0) {
        s @ 0..120 => format!("{s} seconds more"),
        s @ 120..7_200 => format!("{} minutes more", s / 60),
        s @ 7_200..172_800 => format!("{} hours more", s / 3600),
        s => format!("{} days more", s / 86_400),
    }
}

async fn create(s: &mut Session, at: &AtFlag, name: String, shared: bool) -> Result<()> {
    let body = NewVolumeBody { name, shared };
    let volume = s.client.create_volume(&s.app_flag(&at.app)?, &at.environment.environment, &body).await?;
    if s.json {
        return Ok(s.io.json(&volume).await?);
    }
    Ok(s.io.say(&format!("created {0}; mount it with: hythe volumes:mount {0} /data", volume.name)).await?)
}

async fn mount(s: &mut Session, at: &AtFlag, name: &str, path: String, process: &str) -> Result<()> {
    let (app, environment) = (s.app_flag(&at.app)?, &at.environment.environment);
    let changed = s.client.mount_volume(&app, environment, (name, process), &MountBody { path }).await?;
    told(s, &app, environment, &changed).await
}

async fn unmount(s: &mut Session, at: &AtFlag, name: &str, process: Option<&str>) -> Result<()> {
    let (app, environment) = (s.app_flag(&at.app)?, &at.environment.environment);
    let changed = s.client.unmount_volume(&app, environment, name, process).await?;
    told(s, &app, environment, &changed).await
}

async fn told(s: &mut Session, app: &str, environment: &str, changed: &MountsChanged) -> Result<()> {
    match &changed.deployment {
        Some(deployment) => follow(s, app, environment, deployment).await,
        None if s.json => Ok(s.io.json(changed).await?),
        None => Ok(s.io.say("kept for the next release; what runs is as it was").await?),
    }
}

async fn destroy(s: &mut Session, at: &AtFlag, name: &str, confirm: Option<&str>) -> Result<()> {
    let app = s.app_flag(&at.app)?;
    if confirm != Some(name) {
        return Err(Failure::usage(format!(
            "this destroys the volume {name} of {app}; to do it, add --confirm {name}"
        )));
    }
    let volume = s.client.destroy_volume(&app, &at.environment.environment, name).await?;
    if s.json {
        return Ok(s.io.json(&volume).await?);
    }
    let until = volume.kept_until.as_deref().map(time).unwrap_or_default();
    Ok(s.io
        .say(&format!("destroyed {name}; until {until} UTC it comes back with: hythe volumes:restore {name}"))
        .await?)
}

async fn restore(s: &mut Session, at: &AtFlag, volume: &str, name: Option<String>) -> Result<()> {
    let (app, environment) = (s.app_flag(&at.app)?, &at.environment.environment);
    let volume = s.client.restore_volume(&app, environment, volume, &RestoreBody { name }).await?;
    if s.json {
        return Ok(s.io.json(&volume).await?);
    }
    Ok(s.io
        .say(&format!("restored {0} to {1}; mount it with: hythe volumes:mount {0} PATH", volume.name, volume.origin))
        .await?)
}
