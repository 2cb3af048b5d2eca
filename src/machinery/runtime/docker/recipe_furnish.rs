//! What a command of a Dockerfile finds mounted: volumes prepared, filled once the container runs, and what was put into the
//! container's own file system taken away before anything is committed.

use bollard::models::{ContainerCreateBody, HostConfig, Mount};
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder, KillContainerOptionsBuilder,
    UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::tarball::{self, Kind, Reader};
use super::super::{ByteStream, EngineError, ExecSpec, RecipeCommand, RecipeFault, RecipeMount, RecipeRun, Result};
use super::images::patient;
use super::names;
use super::recipe_mounts::{of_memory, of_volume};
use super::{Docker, LONG, QUICK, faults};
use crate::base::model::AppId;
use crate::base::secret::Secret;

/// Where secrets are found.
pub(super) const SECRETS: &str = "/run/secrets";
/// A script of several lines, beside the secrets: in memory as they are.
pub(super) const SCRIPT: &str = ".script";
/// Bytes of a file of the image in whose place another one is mounted.
const LARGEST_COVERED: usize = 8 << 20;
/// Of a mode in Go's form.
const IS_DIRECTORY: u32 = 1 << 31;

type Done<T> = Result<T, RecipeFault>;

/// What is to be done about mounts once the container runs, and after.
pub(super) struct Prepared {
    pub mounts: Vec<Mount>,
    /// Image, path in it, and the directory that gets what it holds.
    trees: Vec<(String, String, String)>,
    /// The same for files.
    files: Vec<(String, String, String)>,
    /// Directories of new caches.
    given: Vec<(String, (u64, u64), u32)>,
    /// For the directory of secrets.
    secrets: Secret<Vec<u8>>,
    /// Links to secrets: where, and to what.
    links: Vec<(String, String)>,
}

/// A file in whose place something was put; none: nothing was there.
pub(super) struct Covered {
    target: String,
    before: Option<Bytes>,
}

impl Default for Prepared {
    fn default() -> Self {
        Self {
            mounts: Vec::new(),
            trees: Vec::new(),
            files: Vec::new(),
            given: Vec::new(),
            secrets: Secret::new(Vec::new()),
            links: Vec::new(),
        }
    }
}

impl Docker {
    /// Volumes for the mounts, and what has to be put into them.
    pub(super) async fn prepared(&self, run: &RecipeRun) -> Done<Prepared> {
        let (mut prepared, mut secrets) = (Prepared::default(), Vec::new());
        for (at, mount) in run.mounts.iter().enumerate() {
            match mount {
                RecipeMount::Tmpfs { target, bytes } => prepared.mounts.push(of_memory(target, *bytes)),
                RecipeMount::Cache { name, target, owner, mode, from } => {
                    let (volume, new) = self.ensure_cache(&run.app, name).await?;
                    prepared.mounts.push(of_volume(volume, target));
                    if new {
                        let from = from.iter().map(|(image, path)| (image.clone(), path.clone(), target.clone()));
                        prepared.trees.extend(from);
                        prepared.given.push((target.clone(), *owner, *mode));
                    }
                }
                RecipeMount::Tree { image, path, target } => {
                    let found = (image.clone(), path.clone(), target.clone());
                    if self.is_directory(&run.app, image, path).await? {
                        let volume = self.make_scratch(&run.app, &format!("tree-{at}"), false).await?;
                        prepared.mounts.push(of_volume(volume, target));
                        prepared.trees.push(found);
                    } else {
                        prepared.files.push(found);
                    }
                }
                RecipeMount::Secret { target, value, owner, mode } => {
                    let usual = target.strip_prefix(SECRETS).and_then(|rest| rest.strip_prefix('/'));
                    let name = usual.map_or_else(|| format!(".{at}"), str::to_owned);
                    tarball::append_file(&mut secrets, &name, *mode, *owner, value.reveal().as_bytes());
                    if usual.is_none() {
                        prepared.links.push((target.clone(), format!("{SECRETS}/{name}")));
                    }
                }
            }
        }
        if let RecipeCommand::Script(text) = &run.command {
            tarball::append_file(&mut secrets, SCRIPT, 0o755, (0, 0), text.as_bytes());
        }
        if !secrets.is_empty() {
            tarball::finish(&mut secrets);
            let volume = self.make_scratch(&run.app, "secrets", true).await?;
            prepared.mounts.push(of_volume(volume, SECRETS));
            prepared.secrets = Secret::new(secrets);
        }
        Ok(prepared)
    }

    pub(super) async fn furnished(&self, run: &RecipeRun, container: &str, prepared: &Prepared) -> Done<Vec<Covered>> {
        for (image, path, target) in &prepared.trees {
            let source = self.source(&run.app, image).await?;
            let tree = self.archive(&source, &format!("{}/.", path.trim_end_matches('/'))).await?;
            self.unpacked(container, target, tree).await?;
            self.discard(&source).await?;
        }
        for (target, owner, mode) in &prepared.given {
            self.give(container, target, *owner, *mode).await?;
        }
        if !prepared.secrets.reveal().is_empty() {
            let body = Bytes::copy_from_slice(prepared.secrets.reveal());
            self.unpacked(container, SECRETS, stream::iter([Ok(body)]).boxed()).await?;
        }
        let mut covered = Vec::new();
        for (target, to) in &prepared.links {
            covered.push(self.covered(container, target).await?);
            let mut link = Vec::new();
            tarball::append_for_root(&mut link, relative(target), Kind::Link, 0o777, to, b"");
            tarball::finish(&mut link);
            self.unpacked(container, "/", stream::iter([Ok(Bytes::from(link))]).boxed()).await?;
        }
        for (image, path, target) in &prepared.files {
            covered.push(self.covered(container, target).await?);
            let source = self.source(&run.app, image).await?;
            let mut archive = Reader::new(self.archive(&source, path).await?);
            let entry = archive.next_entry().await.map_err(|fault| unreadable(path, fault))?;
            let Some(entry) = entry.filter(|entry| entry.kind == Kind::File) else {
                return Err(RecipeFault::Said(format!("{path} is neither a file nor a directory")));
            };
            let content = stream::try_unfold(archive, |mut archive| async move {
                Ok(archive.chunk().await?.map(|piece| (piece, archive)))
            });
            let file = tarball::one_file(relative(target), entry.mode, entry.size, content.boxed());
            self.unpacked(container, "/", file).await?;
            self.discard(&source).await?;
        }
        Ok(covered)
    }

    /// Takes away what was put in place of files, ends all that still runs, and puts back what was there.
    pub(super) async fn uncovered(&self, container: &str, covered: Vec<Covered>) -> Done<()> {
        let new = covered.iter().filter(|file| file.before.is_none()).map(|file| file.target.clone());
        let rm: Vec<String> = ["rm", "-f", "--"].map(str::to_owned).into_iter().chain(new).collect();
        if rm.len() > 3 {
            let spec = ExecSpec {
                command: rm,
                user: Some("0:0".into()),
                working_dir: Some("/".into()),
                variables: Default::default(),
                stdin: None,
            };
            let mut exec = self.exec_container(container, "the build", spec).await?;
            while exec.output.try_next().await?.is_some() {}
            if exec.exit.await? != 0 {
                let cause = "what was mounted as a single file could not be taken away: the image needs rm for that";
                return Err(RecipeFault::Said(cause.into()));
            }
        }
        let options = KillContainerOptionsBuilder::new().signal("SIGKILL").build();
        let killed = |api: bollard::Docker| async move {
            match api.kill_container(container, Some(options)).await {
                // It is not running any more.
                Err(error) if faults::status(&error) == Some(409) => Ok(()),
                other => other,
            }
        };
        self.call("end", container, QUICK, killed).await?;
        for file in covered.into_iter().filter_map(|file| Some((file.target, file.before?))) {
            let (target, before) = file;
            let parent =
                target.rsplit_once('/').map_or("/", |(parent, _)| if parent.is_empty() { "/" } else { parent });
            self.unpacked(container, parent, stream::iter([Ok(before)]).boxed()).await?;
        }
        Ok(())
    }

    /// What stands at `target` before something else is put there.
    async fn covered(&self, container: &str, target: &str) -> Done<Covered> {
        let mut pieces = match self.archive(container, target).await {
            Err(EngineError::NotFound { .. }) => return Ok(Covered { target: target.to_owned(), before: None }),
            other => other?,
        };
        let mut before = Vec::new();
        while let Some(piece) = pieces.try_next().await.map_err(|fault| unreadable(target, fault))? {
            before.extend_from_slice(&piece);
            if before.len() > LARGEST_COVERED {
                return Err(RecipeFault::Said(format!(
                    "something large stands at {target}, where a file is to be mounted"
                )));
            }
        }
        Ok(Covered { target: target.to_owned(), before: Some(before.into()) })
    }

    async fn is_directory(&self, app: &AppId, image: &str, path: &str) -> Done<bool> {
        let source = self.source(app, image).await?;
        let options = ContainerArchiveInfoOptionsBuilder::new().path(path).build();
        let stat = self.call("look at", path, QUICK, |api| {
            let source = source.clone();
            async move { api.get_container_archive_info(&source, Some(options)).await }
        });
        let stat = stat.await;
        self.discard(&source).await?;
        match stat {
            Err(EngineError::NotFound { .. }) => Err(RecipeFault::Said(format!("there is no {path} to be mounted"))),
            other => Ok(other?.file_mode & IS_DIRECTORY != 0),
        }
    }

    /// A container of the image that never runs: to read from.
    pub(super) async fn source(&self, app: &AppId, image: &str) -> Result<String> {
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec!["none".into()]),
            cmd: Some(Vec::new()),
            labels: Some(self.labels_of_run(app)),
            host_config: Some(HostConfig { network_mode: Some("none".into()), ..Default::default() }),
            ..Default::default()
        };
        self.create(&names::recipe_part(&self.0.prefix, app, "source"), &body, "the image of a stage").await
    }

    pub(super) async fn archive(&self, container: &str, path: &str) -> Result<ByteStream> {
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let mut pieces = self.api()?.download_from_container(container, Some(options)).boxed();
        let first = self.call("read", path, LONG, |_| pieces.try_next()).await?;
        let rest = patient(pieces.map_err(std::io::Error::other).boxed());
        Ok(stream::iter(first.map(Ok)).chain(rest).boxed())
    }

    async fn unpacked(&self, container: &str, path: &str, archive: ByteStream) -> Result<()> {
        let options = UploadToContainerOptionsBuilder::new().path(path).build();
        let body = bollard::body_try_stream(archive);
        self.call("unpack into", path, LONG, |api| async move {
            api.upload_to_container(container, Some(options), body).await
        })
        .await
    }
}

fn relative(target: &str) -> &str {
    target.trim_start_matches('/')
}

fn unreadable(path: &str, source: std::io::Error) -> RecipeFault {
    EngineError::Refused { operation: "read", subject: path.to_owned(), source: source.into() }.into()
}
