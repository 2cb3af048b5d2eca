//! One command of a Dockerfile that the engine's own builder cannot run: with mounts, with secrets, without a network. It
//! runs in a container that is made for it, under the bounds that the builder's own containers have, and what it changed
//! is committed with the configuration of the image beneath.
//!
//! The container's first process is a shell that waits and does nothing. The command is an exec: its variables are in
//! no configuration that the engine writes down, and so in no image. Secrets are in a volume in memory, put there while
//! the container runs and gone with it. Files that are mounted alone are put into the container's own file system; they are
//! taken away, and what was there is put back, before anything is committed.

use std::collections::HashMap;

use bollard::models::{ContainerConfig, ContainerCreateBody, HostConfig, ImageConfig, Mount};
use bollard::query_parameters::{CommitContainerOptionsBuilder, ListImagesOptionsBuilder};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc::Sender;

use super::super::{
    ByteStream, EngineError, ExecSpec, RecipeCommand, RecipeFault, RecipeLine, RecipeLines, RecipeRun, Result,
};
use super::names::{self, Labels};
use super::recipe::CPU_SHARES;
use super::recipe_furnish::{SCRIPT, SECRETS};
use super::rollout::CPU_PERIOD_MICROS;
use super::{Docker, LONG, QUICK};
use crate::base::model::{AppId, Limits};

type Lines = Sender<Result<RecipeLine, RecipeFault>>;
type Done<T> = Result<T, RecipeFault>;

impl Docker {
    pub(super) async fn run_recipe(&self, run: RecipeRun) -> Result<RecipeLines> {
        if !run.no_cache
            && let Some(image) = self.ran_before(&run).await?
        {
            return Ok(stream::iter([Ok(RecipeLine::Cached), Ok(RecipeLine::Image(image))]).boxed());
        }
        self.drop_remains(Some(&run.app), false).await?;
        let (watching, mut broke) = self.watch_recipe(&run.app, run.limits, run.disk_bytes, true).await?;
        let docker = self.clone();
        let (to, from) = tokio::sync::mpsc::channel(32);
        self.0.tidying.spawn(async move {
            let done = tokio::select! {
                done = tokio::time::timeout(run.within, docker.committed(&run, &to)) => {
                    done.unwrap_or(Err(RecipeFault::TooLong)).map(RecipeLine::Image)
                }
                Some(fault) = broke.recv() => Err(fault),
                // Nobody reads along any more.
                () = to.closed() => Err(RecipeFault::TooLong),
            };
            drop(watching);
            // A cache that filled the disk would let no build through any more.
            let full = matches!(done, Err(RecipeFault::Outgrown(_)));
            if let Err(error) = docker.drop_remains(Some(&run.app), full).await {
                tracing::warn!(app.id = %run.app, %error, "what a command of a build left could not be removed yet");
            }
            let _ = to.send(done).await;
        });
        Ok(stream::unfold(from, |mut from| async move { from.recv().await.map(|line| (line, from)) }).boxed())
    }

    /// What an equal command upon the same image made; an image further up has the same label, but not the same parent.
    async fn ran_before(&self, run: &RecipeRun) -> Result<Option<String>> {
        let labels = vec![
            format!("{}={}", names::PREFIX, self.0.prefix),
            format!("{}={}", names::RECIPE, run.app),
            format!("{}={}", names::RECIPE_KEY, run.key),
        ];
        let filters = HashMap::from([("label", labels)]);
        let options = ListImagesOptionsBuilder::new().all(true).filters(&filters).build();
        let found =
            self.call("list", "images", QUICK, |api| async move { api.list_images(Some(options)).await }).await?;
        Ok(found.into_iter().find(|image| image.parent_id == run.image).map(|image| image.id))
    }

    async fn committed(&self, run: &RecipeRun, to: &Lines) -> Done<String> {
        let id = &run.image;
        let image = self.call("inspect", id, QUICK, |api| async move { api.inspect_image(id).await }).await?;
        let config = image.config.unwrap_or_default();
        let mut prepared = self.prepared(run).await?;
        let container = self.started(run, std::mem::take(&mut prepared.mounts)).await?;
        let covered = self.furnished(run, &container, &prepared).await?;
        let code = self.followed(run, &container, words(&run.command, &config), to).await?;
        if code != 0 {
            return Err(RecipeFault::Exit(code));
        }
        self.uncovered(&container, covered).await?;
        let options =
            CommitContainerOptionsBuilder::new().container(&container).comment(&run.told).pause(false).build();
        let config = kept(config, self.labels_of_result(run));
        let made =
            self.call("commit", &container, LONG, |api| async move { api.commit_container(options, config).await });
        Ok(made.await?.id)
    }

    async fn started(&self, run: &RecipeRun, mounts: Vec<Mount>) -> Done<String> {
        let network = match run.network {
            true => self.build_network().await?,
            false => "none".to_owned(),
        };
        let name = names::recipe_part(&self.0.prefix, &run.app, "run");
        let body = ContainerCreateBody {
            image: Some(run.image.clone()),
            entrypoint: Some(vec!["/bin/sh".into()]),
            cmd: Some(Vec::new()),
            open_stdin: Some(true),
            labels: Some(self.labels_of_run(&run.app)),
            host_config: Some(HostConfig { mounts: Some(mounts), ..bounded(&run.limits, network) }),
            ..Default::default()
        };
        let id = self.create(&name, &body, "the image of the stage").await?;
        match self.start_container(&id, &name).await {
            Ok(()) => Ok(id),
            Err(EngineError::Refused { source, .. }) if source.to_string().contains("/bin/sh") => Err(
                RecipeFault::Said("the image has no /bin/sh, which a RUN with mounts or of several lines needs".into()),
            ),
            Err(error) => Err(error.into()),
        }
    }

    async fn followed(&self, run: &RecipeRun, container: &str, command: Vec<String>, to: &Lines) -> Done<i64> {
        let mut variables = run.variables.clone();
        variables.extend(run.secrets.iter().map(|(name, value)| (name.clone(), value.reveal().clone())));
        let spec = ExecSpec { command, user: None, working_dir: None, variables, stdin: None };
        let mut exec = match self.exec_container(container, "the build", spec).await {
            Err(EngineError::Refused { source, .. }) => return Err(RecipeFault::Said(source.to_string())),
            other => other?,
        };
        while let Some(piece) = exec.output.next().await {
            let (_, bytes) = piece?;
            // Who does not read on closes the channel, and that ends all of this.
            let _ = to.send(Ok(RecipeLine::Output(bytes.to_vec()))).await;
        }
        Ok(exec.exit.await?)
    }

    /// What a path of an image holds, as an archive whose names begin with the last part of the path.
    pub(super) async fn read_recipe(&self, app: &AppId, image: &str, path: &str) -> Result<ByteStream> {
        let source = self.source(app, image).await?;
        let archive = self.archive(&source, path).await?;
        let docker = self.clone();
        let end =
            stream::once(
                async move { docker.discard(&source).await.map(|()| Bytes::new()).map_err(std::io::Error::other) },
            );
        Ok(archive.chain(end).boxed())
    }

    pub(super) fn labels_of_run(&self, app: &AppId) -> Labels {
        Labels::from([
            (names::PREFIX.into(), self.0.prefix.clone()),
            (names::RECIPE.into(), app.to_string()),
            (names::RECIPE_RUN.into(), app.to_string()),
        ])
    }

    /// The engine adds what the container has and this lacks.
    fn labels_of_result(&self, run: &RecipeRun) -> Labels {
        let mut labels = self.labels_of_run(&run.app);
        labels.insert(names::RECIPE_RUN.into(), String::new());
        labels.insert(names::RECIPE_KEY.into(), run.key.clone());
        labels
    }
}

/// As the builder's own containers have it, which keep the engine's default capabilities.
fn bounded(limits: &Limits, network: String) -> HostConfig {
    HostConfig {
        network_mode: Some(network),
        memory: Some(limits.memory_bytes),
        // Equal to memory: no swap.
        memory_swap: Some(limits.memory_bytes),
        cpu_period: Some(CPU_PERIOD_MICROS),
        cpu_quota: Some(limits.cpu_millis.saturating_mul(CPU_PERIOD_MICROS / 1000)),
        cpu_shares: Some(i64::from(CPU_SHARES)),
        pids_limit: Some(limits.pids),
        ..Default::default()
    }
}

fn words(command: &RecipeCommand, config: &ImageConfig) -> Vec<String> {
    match command {
        RecipeCommand::Words(words) => words.clone(),
        RecipeCommand::Script(_) => vec![format!("{SECRETS}/{SCRIPT}")],
        RecipeCommand::Line(line) => {
            let usual = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
            let mut words = config.shell.clone().filter(|shell| !shell.is_empty()).unwrap_or_else(usual);
            words.push(line.clone());
            words
        }
    }
}

/// The configuration of the image beneath. What is left out here, the engine would take from the container.
fn kept(image: ImageConfig, labels: Labels) -> ContainerConfig {
    let mut all = image.labels.unwrap_or_default();
    all.extend(labels);
    ContainerConfig {
        user: image.user,
        exposed_ports: image.exposed_ports,
        env: image.env,
        cmd: image.cmd,
        healthcheck: image.healthcheck,
        args_escaped: image.args_escaped,
        volumes: image.volumes,
        working_dir: image.working_dir,
        entrypoint: Some(image.entrypoint.unwrap_or_default()),
        on_build: image.on_build,
        labels: Some(all),
        stop_signal: image.stop_signal,
        shell: image.shell,
        ..Default::default()
    }
}
