//! Sources that are no push: what somebody uploads becomes a quarantine as that of a push, and goes the way of one. No
//! branch moves: the objects are kept by a ref of the platform's own, one for each environment.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::NamedTempFile;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::guide;
use super::intake::{self, Origin};
use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{App, Build, CommitId, Environment, Id, JobId};
use crate::machinery::git::{
    GitError, Imported, Limits, Quarantine, Repositories, Repository, TreeLimits, import_archive,
};
use crate::product::Ctx;

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

    async fn upload(&self, most: u64) -> Result<Upload> {
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
    pub async fn write(&mut self, part: &[u8]) -> Result<()> {
        self.written = self.written.saturating_add(part.len() as u64);
        if self.written > self.most {
            let text =
                format!("the archive is larger than {} bytes (git.max_pack_bytes); leave out what is built", self.most);
            return Err(Error::new(Kind::LimitReached, text));
        }
        self.file.write_all(part).await.map_err(not_kept)
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
) -> Result<Build> {
    actor.may(Action::Deploy, &Place::from(app))?;
    upload.file.flush().await.map_err(not_kept)?;
    let sources = Arc::clone(&ctx.sources);
    let (owner, git, now) = (app.id.to_string(), ctx.config.git.clone(), ctx.now());
    let imported = tokio::task::spawn_blocking(move || -> Result<_, GitError> {
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
        let what = Imported { message: "Uploaded archive", time: now.0 / 1000 };
        let path = upload.spooled.path();
        let (mut quarantine, tip) = import_archive(&repository, &key, path, &sources.spool, (&tree, &limits), &what)?;
        quarantine.keep();
        Ok((repository, key, tip))
    });
    let (repository, key, tip) = imported.await.map_err(Error::internal)?.map_err(not_taken)?;
    let tip: CommitId = tip.to_string().parse().map_err(|e| Error::internal(std::io::Error::other(format!("{e}"))))?;
    let accepted = intake::accept_from(ctx, actor, app, environment, (Origin::Archive, tip), &key).await;
    match accepted {
        Ok((_, build)) => Ok(build),
        Err(error) => {
            discard(repository, key).await;
            Err(error)
        }
    }
}

pub(super) async fn discard(repository: Repository, key: String) {
    let done = tokio::task::spawn_blocking(move || match Quarantine::reopen(&repository, &key)? {
        Some(quarantine) => quarantine.discard(),
        None => Ok(()),
    });
    if let Ok(Err(error)) = done.await {
        tracing::warn!(%error, "an archive that was not deployed could not be removed");
    }
}

fn not_kept(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::StorageFull => Error::new(
            Kind::Unavailable,
            "the disk of the server is full; nothing was changed. Free space there, then try again",
        ),
        _ => Error::internal(error),
    }
}

pub(super) fn not_taken(error: GitError) -> Error {
    let Some(text) = error.public() else { return Error::internal(error) };
    match error {
        GitError::TooLarge(_) => Error::new(Kind::LimitReached, text),
        GitError::Storage { .. } => Error::new(Kind::Unavailable, text),
        _ => Error::invalid("archive", text),
    }
}
