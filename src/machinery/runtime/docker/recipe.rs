//! Dockerfiles, built by the engine's classic builder.
//!
//! Not by BuildKit: inside an engine that one knows neither bounds of memory and processor nor any network but the
//! engine's own or the host's, so a build could starve and reach what runs. The classic builder takes bounds and the
//! network of builds; `recipe_bounds` sees to the rest.
//!
//! Whoever writes the Dockerfile puts the labels of `build_labels` after each FROM: by them the containers of a build and
//! all that its cache holds are found, and no build is served what another app's left.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bollard::models::{BuildInfo, ImageSummary};
use bollard::query_parameters::{
    BuildImageOptionsBuilder, CreateImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
    TagImageOptionsBuilder,
};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::{ByteStream, EngineError, ForeignImage, RecipeFault, RecipeLine, RecipeLines, RecipeSpec, Result};
use super::faults::{self, gone_is_fine, refused};
use super::images::{patient, watched};
use super::rollout::CPU_PERIOD_MICROS;
use super::{Docker, LONG, QUICK, names};
use crate::base::clock::{Clock, SystemClock, Timestamp};
use crate::base::model::AppId;

/// Of 1024, which everything else has: where processor time is short, what runs goes before what is built.
pub(super) const CPU_SHARES: i32 = 128;
/// Stages that were not used again for so long are made anew.
const CACHE_KEPT: Duration = Duration::from_secs(7 * 86_400);

impl Docker {
    pub(super) async fn build_recipe(&self, spec: RecipeSpec) -> Result<RecipeLines> {
        let network = self.build_network().await?;
        let (context, broken) = watched(spec.context);
        let options = BuildImageOptionsBuilder::new()
            .dockerfile(&spec.dockerfile)
            .buildargs(&spec.arguments.into_iter().collect::<HashMap<_, _>>())
            .networkmode(&network)
            .nocache(spec.no_cache)
            .memory(fits(spec.limits.memory_bytes))
            // Equal to memory: no swap.
            .memswap(fits(spec.limits.memory_bytes))
            .cpuperiod(fits(CPU_PERIOD_MICROS))
            .cpuquota(fits(spec.limits.cpu_millis.saturating_mul(CPU_PERIOD_MICROS / 1000)))
            .cpushares(CPU_SHARES)
            .rm(true)
            .forcerm(true)
            .build();
        let (watching, mut broke) = self.watch_recipe(&spec.app, spec.limits, spec.disk_bytes, false).await?;
        let api = self.api()?;
        let docker = self.clone();
        let (to, from) = tokio::sync::mpsc::channel(32);
        self.0.tidying.spawn(async move {
            let until_end = watching;
            let work = async {
                let mut said = api.build_image(options, None, Some(bollard::body_try_stream(context))).boxed();
                loop {
                    let next = tokio::select! {
                        next = said.next() => next,
                        Some(fault) = broke.recv() => {
                            let _ = to.send(Err(fault)).await;
                            return;
                        }
                        // Nobody reads along any more: the engine ends a build whose client goes away.
                        () = to.closed() => return,
                    };
                    let line = match next {
                        None => return,
                        Some(Ok(info)) => line(&info).map(Ok),
                        Some(Err(error)) => Some(Err(docker.recipe_fault(error))),
                    };
                    let Some(mut line) = line else { continue };
                    if line.is_err()
                        && let Some(fault) = broken.lock().unwrap_or_else(|e| e.into_inner()).take()
                    {
                        line = Err(refused("read the context of", "the build", fault.to_string()).into());
                    }
                    if to.send(line).await.is_err() {
                        return;
                    }
                }
            };
            if tokio::time::timeout(spec.within, work).await.is_err() {
                let _ = to.send(Err(RecipeFault::TooLong)).await;
            }
            drop(until_end);
        });
        Ok(stream::unfold(from, |mut from| async move { from.recv().await.map(|line| (line, from)) }).boxed())
    }

    fn recipe_fault(&self, error: bollard::errors::Error) -> RecipeFault {
        let text = faults::text(&error);
        if let Some((_, code)) = text.rsplit_once("returned a non-zero code: ")
            && let Ok(code) = code.trim().parse()
        {
            return RecipeFault::Exit(code);
        }
        match self.fault("build", "the Dockerfile", error) {
            EngineError::Refused { source, .. } => RecipeFault::Said(source.to_string()),
            EngineError::NotFound { subject } => RecipeFault::Said(format!("{subject} does not exist")),
            other => other.into(),
        }
    }

    pub(super) async fn foreign(&self, reference: &str) -> Result<Option<ForeignImage>> {
        let found = self.call("inspect", reference, QUICK, |api| async move { api.inspect_image(reference).await });
        match found.await {
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(other) => Err(other),
            Ok(image) => {
                let config = image.config.unwrap_or_default();
                let variables = config.env.unwrap_or_default().into_iter();
                Ok(Some(ForeignImage {
                    id: image.id.unwrap_or_default(),
                    on_build: config.on_build.unwrap_or_default(),
                    labels: config.labels.unwrap_or_default().into_iter().collect(),
                    variables: variables.filter_map(|v| v.split_once('=').map(|(n, v)| (n.into(), v.into()))).collect(),
                    working_dir: config.working_dir.unwrap_or_default(),
                }))
            }
        }
    }

    pub(super) async fn pull_foreign(&self, reference: &str) -> Result<()> {
        // A digest goes where a tag goes; without either, the engine would fetch every tag.
        let (name, tag) = match reference.split_once('@') {
            Some((name, digest)) => (name, digest),
            None => reference.rsplit_once(':').unwrap_or((reference, "latest")),
        };
        let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        self.call("pull", reference, LONG, |api| async move {
            let mut said = api.create_image(Some(options), None, None).boxed();
            while said.try_next().await?.is_some() {}
            Ok(())
        })
        .await
    }

    pub(super) async fn saved_recipe(&self, app: &AppId) -> Result<ByteStream> {
        let reference = names::recipe(&self.0.prefix, app);
        let mut pieces = self.api()?.export_image(&reference).boxed();
        let first = self.call("read", &reference, LONG, |_| pieces.try_next()).await?;
        let rest = patient(pieces.map_err(std::io::Error::other).boxed());
        Ok(stream::iter(first.map(Ok)).chain(rest).boxed())
    }

    /// Names the app's result, and lets the last one go.
    pub(super) async fn name_recipe(&self, app: &AppId, image: &str) -> Result<()> {
        let before = self.built_id(app).await?;
        let (repository, tag) = (names::recipe_repository(&self.0.prefix), app.to_string());
        let options = TagImageOptionsBuilder::new().repo(&repository).tag(&tag).build();
        self.call("name", image, QUICK, |api| async move { api.tag_image(image, Some(options)).await }).await?;
        if let Err(error) = self.drop_superseded(app, before).await {
            tracing::info!(app.id = %app, %error, "the image of an earlier build could not be removed");
        }
        Ok(())
    }

    pub(super) async fn drop_recipe(&self, app: &AppId) -> Result<()> {
        self.drop_remains(Some(app), true).await?;
        self.drop_reference(&names::recipe(&self.0.prefix, app)).await?;
        self.prune_recipes(Some(app), None).await
    }

    /// Those of apps and what their builds left, for `remove_everything`.
    pub(super) async fn drop_all_recipes(&self) -> Result<()> {
        self.drop_remains(None, true).await?;
        let of_ours = vec![names::recipe_repository(&self.0.prefix)];
        let options = ListImagesOptionsBuilder::new().filters(&HashMap::from([("reference", of_ours)])).build();
        let found =
            self.call("list", "images", QUICK, |api| async move { api.list_images(Some(options)).await }).await?;
        let ours = format!("{}:", names::recipe_repository(&self.0.prefix));
        for tag in found.into_iter().flat_map(|image| image.repo_tags).filter(|tag| tag.starts_with(&ours)) {
            self.drop_reference(&tag).await?;
        }
        self.prune_recipes(None, None).await
    }

    pub(super) async fn list_recipes(&self) -> Result<Vec<AppId>> {
        let of_ours = vec![names::recipe_repository(&self.0.prefix)];
        let options = ListImagesOptionsBuilder::new().filters(&HashMap::from([("reference", of_ours)])).build();
        let found =
            self.call("list", "images", QUICK, |api| async move { api.list_images(Some(options)).await }).await?;
        let start = format!("{}:", names::recipe_repository(&self.0.prefix));
        let tags = found.into_iter().flat_map(|image| image.repo_tags);
        let mut apps: BTreeSet<AppId> = tags.filter_map(|tag| tag.strip_prefix(&start)?.parse().ok()).collect();
        apps.extend(self.list_caching().await?);
        Ok(apps.into_iter().collect())
    }

    async fn built_id(&self, app: &AppId) -> Result<Option<String>> {
        Ok(self.foreign(&names::recipe(&self.0.prefix, app)).await?.map(|image| image.id))
    }

    /// The image before this one has lost its name; stages that nothing was built upon for long go as well.
    async fn drop_superseded(&self, app: &AppId, before: Option<String>) -> Result<()> {
        if let Some(before) = before
            && self.built_id(app).await?.as_ref() != Some(&before)
        {
            self.drop_reference(&before).await?;
        }
        self.prune_recipes(Some(app), Some(CACHE_KEPT)).await
    }

    /// With the images below it that nothing else is built upon. One that something uses stays.
    async fn drop_reference(&self, reference: &str) -> Result<()> {
        let options = RemoveImageOptionsBuilder::new().force(false).noprune(false).build();
        let gone = |api: bollard::Docker| async move {
            match gone_is_fine(api.remove_image(reference, Some(options), None).await.map(|_| ())) {
                Err(error) if faults::status(&error) == Some(409) => Ok(()),
                other => other,
            }
        };
        self.call("remove image", reference, LONG, gone).await
    }

    /// Stages without a name, made so long ago. The engine's own way to prune is for one at a time in all the engine, and
    /// refuses the others.
    async fn prune_recipes(&self, app: Option<&AppId>, older_than: Option<Duration>) -> Result<()> {
        let mut labels = vec![format!("{}={}", names::PREFIX, self.0.prefix)];
        labels.push(app.map_or(names::RECIPE.to_owned(), |app| format!("{}={app}", names::RECIPE)));
        let filters = HashMap::from([("dangling", vec!["true".to_owned()]), ("label", labels)]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let found =
            self.call("list", "images", QUICK, |api| async move { api.list_images(Some(options)).await }).await?;
        let now = SystemClock.now();
        let age = |image: &ImageSummary| now.since(Timestamp(image.created.saturating_mul(1000)));
        let is_old = |image: &ImageSummary| older_than.is_none_or(|most| age(image) > most.as_millis() as i64);
        for image in found.into_iter().filter(is_old) {
            self.drop_reference(&image.id).await?;
        }
        Ok(())
    }
}

/// The builder's messages, of which a step's and a cache's are known by their form; all else is output.
fn line(info: &BuildInfo) -> Option<RecipeLine> {
    if let Some(id) = info.aux.as_ref().and_then(|made| made.id.clone()) {
        return Some(RecipeLine::Image(id));
    }
    let text = info.stream.as_deref()?;
    if let Some((step, _)) = text.strip_prefix("Step ").and_then(|rest| rest.split_once('/'))
        && let Ok(step) = step.parse()
    {
        return Some(RecipeLine::Step(step));
    }
    if text == " ---> Using cache\n" {
        return Some(RecipeLine::Cached);
    }
    let own = [" ---> ", "Removing intermediate container ", "Successfully built ", "Successfully tagged "];
    if text == "\n" || own.iter().any(|start| text.starts_with(start)) {
        return None;
    }
    Some(RecipeLine::Output(text.as_bytes().to_vec()))
}

fn fits(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builders_own_words_are_told_from_output() {
        let read = |text: &str| line(&BuildInfo { stream: Some(text.to_owned()), ..Default::default() });
        assert_eq!(read("Step 12/14 : RUN make"), Some(RecipeLine::Step(12)));
        assert_eq!(read(" ---> Using cache\n"), Some(RecipeLine::Cached));
        assert_eq!(read(" ---> 07c576d07382\n"), None);
        assert_eq!(read("\n"), None);
        assert_eq!(read("Step by step\n"), Some(RecipeLine::Output(b"Step by step\n".to_vec())));
        assert_eq!(fits(8 << 30), i32::MAX);
    }
}
