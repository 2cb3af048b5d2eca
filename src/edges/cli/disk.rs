//! What lies on the disk.

use super::Session;
use super::args::{AppWord, DiskVerb};
use super::failure::Result;
use super::text::bytes;
use crate::edges::api::types::{AppDiskView, PlatformDiskView};

pub(super) async fn run(s: &mut Session, verb: DiskVerb) -> Result<()> {
    match verb {
        DiskVerb::Disk => show(s).await,
        DiskVerb::DiskClean => clean(s).await,
        DiskVerb::BuildsCacheClear(app) => clear_cache(s, &app).await,
    }
}

async fn show(s: &mut Session) -> Result<()> {
    let disk = s.client.disk().await?;
    if s.json {
        return Ok(s.io.json(&disk).await?);
    }
    if !disk.apps.is_empty() {
        let rows: Vec<_> = disk.apps.iter().map(row).collect();
        let head = ["APP", "REPOSITORY", "IMAGES", "OWN", "SHARED", "CACHE", "LOGS", "VOLUMES", "PUSHED"];
        s.print(&head, &rows).await?;
    }
    match disk.platform {
        Some(platform) => {
            for line in whole(&platform) {
                s.io.out(&line).await?;
            }
            Ok(())
        }
        None if disk.apps.is_empty() => Ok(s.io.say("you have no apps, so nothing here is yours").await?),
        None => Ok(()),
    }
}

fn row(app: &AppDiskView) -> Vec<String> {
    let images = [app.images_own_bytes, app.images_shared_bytes];
    let others = [app.cache_bytes, app.log_bytes, app.volume_bytes, app.pushed_bytes];
    let head = [app.name.clone(), bytes(app.repository_bytes), app.images.to_string()];
    head.into_iter().chain(images.into_iter().chain(others).map(bytes)).collect()
}

fn whole(platform: &PlatformDiskView) -> Vec<String> {
    let reserved = bytes(platform.reserved_bytes);
    let free = match (platform.free_bytes, platform.total_bytes, &platform.place) {
        (Some(free), Some(total), Some(place)) => {
            let short = if free < platform.reserved_bytes { ": TOO LITTLE, pushes are refused" } else { "" };
            format!("{} of {} at {place}; {reserved} are kept free{short}", bytes(free), bytes(total))
        }
        _ => format!("unknown; {reserved} are kept free"),
    };
    let reserved_files = platform.reserved_files;
    let files = match platform.free_files {
        Some(free) => {
            let short = if free < reserved_files { ": TOO FEW, pushes are refused" } else { "" };
            format!("{free} more; {reserved_files} are kept free{short}")
        }
        None => "not bounded".to_owned(),
    };
    vec![
        String::new(),
        format!("free          {free}"),
        format!("files         {files}"),
        format!(
            "image store   {} in {} blobs, {} of it of no app (bases, and what is yet to be removed)",
            bytes(platform.blob_bytes),
            platform.blobs,
            bytes(platform.blob_other_bytes)
        ),
        format!("engine        {} images, {}", platform.engine_images, bytes(platform.engine_image_bytes)),
        format!("build caches  {}", bytes(platform.cache_bytes)),
        format!("volumes       {}", bytes(platform.volume_bytes)),
        format!("repositories  {}", bytes(platform.repository_bytes)),
        format!("logs          {}", bytes(platform.log_bytes)),
        format!("database      {}", bytes(platform.database_bytes)),
    ]
}

async fn clean(s: &mut Session) -> Result<()> {
    let cleaned = s.client.clean_disk().await?;
    if s.json {
        return Ok(s.io.json(&cleaned).await?);
    }
    let counts = [
        (cleaned.blobs, "blobs"),
        (cleaned.engine_images, "images of the engine"),
        (cleaned.caches, "build caches"),
        (cleaned.networks, "networks"),
    ];
    let gone: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let text = match gone.is_empty() {
        true => "nothing to remove".to_owned(),
        false => format!("removed {} ({} of the image store)", gone.join(", "), bytes(cleaned.blob_bytes)),
    };
    s.io.out(&text).await?;
    if cleaned.releases > 0 {
        s.io.out(&format!(
            "{} releases beyond those that are kept cannot be rolled back to any more",
            cleaned.releases
        ))
        .await?;
    }
    if cleaned.young_blobs > 0 {
        let text = format!("{} blobs were used a moment ago and go later (disk.grace_seconds)", cleaned.young_blobs);
        s.io.out(&text).await?;
    }
    Ok(())
}

async fn clear_cache(s: &mut Session, app: &AppWord) -> Result<()> {
    let app = s.app_word(app)?;
    s.client.clear_cache(&app).await?;
    Ok(s.io.say(&format!("the build cache of {app} is empty; its next build starts from nothing")).await?)
}
