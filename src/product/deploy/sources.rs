//! Sources that are no push: what somebody uploads becomes a quarantine as that of a push, and goes the way of one. No
//! branch moves: the objects are kept by a ref of the platform's own, one for each environment.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::NamedTempFile;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::fetching::Taken;
use super::intake::{self, Origin};
use super::options::Manner;
use super::{guide, image, messages};
use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{App, AppId, Build, CommitId, Environment, Id, JobId};
use crate::machinery::git::{GitError, Imported, Limits, Quarantine, Repositories, TreeLimits, import_archive};
use crate::machinery::image::is_image;
use crate::product::Ctx;
use crate::product::apps::VariableChanges;

/// Bytes that are looked through to tell an image from an app's files.
const LARGEST_IMAGE: u64 = 16 << 30;

/// Where uploads lie until they are objects. Whatever is there when the platform starts is nobody's.
pub struct Sources {
    repositories: Arc<Repositories>,
    spool: PathBuf,
}

/// An archive on its way in. Dropping it removes it.
pub struct Upload {
    spooled: NamedTempFile,
    file: File,
    written: u64,
    most: u64,
}

impl Sources {
    /// Blocking. `spool` is emptied.
    pub fn open(repositories: Arc<Repositories>, spool: PathBuf) -> std::io::Result<Self> {
        match std::fs::remove_dir_all(&spool) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::create_dir_all(&spool)?;
        Ok(Self { repositories, spool })
    }

    pub(super) fn repositories(&self) -> Arc<Repositories> {
        Arc::clone(&self.repositories)
    }

    pub(super) async fn upload(&self, most: u64) -> Result<Upload> {
        let spool = self.spool.clone();
        let made = tokio::task::spawn_blocking(move || {
            let spooled = NamedTempFile::new_in(spool)?;
            let file = spooled.reopen()?;
            Ok::<_, std::io::Error>((spooled, file))
        });
        let (spooled, file) = made.await.map_err(Error::internal)?.map_err(not_kept)?;
        Ok(Upload { spooled, file: File::from_std(file), written: 0, most })
    }
}

impl Upload {
    /// Bytes.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub async fn write(&mut self, part: &[u8]) -> Result<()> {
        self.written = self.written.saturating_add(part.len() as u64);
        if self.written > self.most {
            let text =
                format!("the archive is larger than {} bytes (git.max_pack_bytes); leave out what is built", self.most);
            return Err(Error::new(Kind::LimitReached, text));
        }
        self.file.write_all(part).await.map_err(not_kept)
    }

    /// The archive, if it is one of an image. Its name may go then: an open file stays.
    async fn as_image(&self) -> Result<Option<std::fs::File>> {
        let (opened, most) = (self.spooled.reopen().map_err(not_kept)?, LARGEST_IMAGE);
        let looked = tokio::task::spawn_blocking(move || Ok(is_image(&opened, most)?.then_some(opened)));
        looked.await.map_err(Error::internal)?.map_err(not_kept)
    }
}

/// An archive may come: the actor may deploy, nothing is held, and there is room.
pub async fn begin_upload(ctx: &Ctx, actor: &Actor, app: &App) -> Result<Upload> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let mut tx = ctx.store.read().await?;
    guide::nothing_held(&mut tx, app).await?;
    drop(tx);
    if let Some(text) = ctx.disk.too_full(ctx).await {
        return Err(Error::new(Kind::Unavailable, text));
    }
    ctx.sources.upload(ctx.config.git.max_pack_bytes).await
}

/// Builds and deploys what was uploaded, as if it had been pushed. The build goes on by itself.
pub async fn deploy_upload(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    mut upload: Upload,
    manner: Manner,
) -> Result<Build> {
    actor.may(Action::Deploy, &Place::from(app))?;
    upload.file.flush().await.map_err(not_kept)?;
    if let Some(image) = upload.as_image().await? {
        return image::deploy_archive(ctx, actor, app, environment, (image, manner)).await;
    }
    let Taken { mut quarantine, key, tip } =
        import(ctx, &app.id, upload, "Uploaded archive").await?.map_err(not_taken)?;
    let tip: CommitId = tip.to_string().parse().map_err(|e| Error::internal(std::io::Error::other(format!("{e}"))))?;
    quarantine.keep();
    let none = VariableChanges::new();
    match intake::accept_from(ctx, actor, app, environment, (Origin::Archive, tip), &key, (manner, &none)).await {
        Ok((_, build)) => Ok(build),
        Err(error) => {
            discard(quarantine).await;
            Err(error)
        }
    }
}

/// What was uploaded, or fetched, as objects. They go when nobody keeps them.
pub(super) async fn import(
    ctx: &Ctx,
    app: &AppId,
    mut upload: Upload,
    message: &'static str,
) -> Result<Result<Taken, GitError>> {
    upload.file.flush().await.map_err(not_kept)?;
    let sources = Arc::clone(&ctx.sources);
    let (owner, git, now) = (app.to_string(), ctx.config.git.clone(), ctx.now());
    let imported = tokio::task::spawn_blocking(move || {
        let repository = sources.repositories.create(&owner)?;
        let key = JobId::fresh().to_string();
        let tree = TreeLimits {
            entries: super::push::MOST_ENTRIES,
            total_bytes: git.max_pack_bytes,
            file_bytes: git.max_object_bytes as u64,
            depth: super::push::DEEPEST,
        };
        let limits =
            Limits { pack_bytes: git.max_pack_bytes, objects: git.max_objects, object_bytes: git.max_object_bytes };
        let what = Imported { message, time: now.0 / 1000 };
        let path = upload.spooled.path();
        let (quarantine, tip) = import_archive(&repository, &key, path, &sources.spool, (&tree, &limits), &what)?;
        Ok(Taken { quarantine, key, tip })
    });
    imported.await.map_err(Error::internal)
}

async fn discard(quarantine: Quarantine) {
    let done = tokio::task::spawn_blocking(move || quarantine.discard());
    if let Ok(Err(error)) = done.await {
        tracing::warn!(%error, "an archive that was not deployed could not be removed");
    }
}

fn not_kept(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::StorageFull => Error::new(Kind::Unavailable, messages::DISK_FULL),
        _ => Error::internal(error),
    }
}

fn not_taken(error: GitError) -> Error {
    let Some(text) = error.public() else { return Error::internal(error) };
    match error {
        GitError::TooLarge(_) => Error::new(Kind::LimitReached, text),
        GitError::Storage { .. } => Error::new(Kind::Unavailable, text),
        _ => Error::invalid("archive", text),
    }
}
