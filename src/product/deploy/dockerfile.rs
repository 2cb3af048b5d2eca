//! Which way a pushed tree is built: by the buildpacks, or by its Dockerfile. The Dockerfile is taken where `app.json`
//! says so (`build`), and by itself where no buildpack knows the tree.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::commands;
use super::intake::PushOrder;
use super::push::{PushWork, failure, lines, object_id, output, told};
use crate::base::error::Error;
use crate::base::model::{BuildWish, Manifest};
use crate::machinery::git::{Changes, GitError, Quarantine, export_tree_but, read_file};
use crate::product::builds::dockerfile::{self, MakeContext, Recipe, RecipeBuilt, RecipeFiles, Terms, USUAL};
use crate::product::builds::{BuildLog, BuildRequest, Detected, Imaged};
use crate::state::jobs::{StepContext, StepError};

const PROCFILE: &str = "Procfile";
const IGNORE: &str = ".dockerignore";
const LARGEST_PROCFILE: u64 = 64 << 10;

/// What the first step of a push hands on.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Way {
    Dockerfile { recipe: Recipe },
    Buildpacks(Detected),
}

impl PushWork {
    pub(super) async fn choose(
        &self,
        order: &PushOrder,
        (request, manifest): (&BuildRequest, &Manifest),
        cx: &StepContext,
    ) -> Result<Value, StepError> {
        if let Some(wish) = &manifest.build {
            let recipe = Recipe::new(wish.clone());
            let Some(files) = self.files(order, &recipe).await? else {
                return Err(failure(&dockerfile::absent(&recipe.dockerfile), cx));
            };
            return self.by_dockerfile(request, recipe, files, true, cx).await;
        }
        let usual = Recipe::new(BuildWish::default());
        match self.builder().detect(request, self.source(order)?, lines(cx)).await {
            Ok(detected) => {
                if self.read(order, USUAL, dockerfile::LARGEST_DOCKERFILE).await.is_ok_and(|found| found.is_some()) {
                    dockerfile::announce_passed_over(&*lines(cx));
                }
                output(&Way::Buildpacks(detected))
            }
            // Who chooses buildpacks means them.
            Err(unknown) if request.wishes.buildpacks.is_empty() && dockerfile::only_dockerfile(&unknown) => {
                match self.files(order, &usual).await? {
                    Some(files) => self.by_dockerfile(request, usual, files, false, cx).await,
                    None => Err(failure(&unknown, cx)),
                }
            }
            Err(fault) => Err(failure(&fault, cx)),
        }
    }

    async fn by_dockerfile(
        &self,
        request: &BuildRequest,
        recipe: Recipe,
        files: RecipeFiles,
        chosen: bool,
        cx: &StepContext,
    ) -> Result<Value, StepError> {
        let log: Arc<dyn BuildLog> = lines(cx);
        dockerfile::announce(&*log, &recipe, chosen);
        let judged = self.builder().recipe_detect(request, &recipe, &files, log).await;
        judged.map_err(|fault| failure(&fault, cx))?;
        output(&Way::Dockerfile { recipe })
    }

    pub(super) async fn build_recipe(
        &self,
        order: &PushOrder,
        request: &BuildRequest,
        recipe: &Recipe,
        cx: &StepContext,
    ) -> Result<Value, StepError> {
        let files = self.files_again(order, recipe).await?;
        let source = (self.context(order)?, self.terms());
        let built = self.builder().recipe_build(request, recipe, &files, source, lines(cx)).await;
        output(&built.map_err(|fault| failure(&fault, cx))?)
    }

    pub(super) async fn image_of_recipe(
        &self,
        order: &PushOrder,
        request: &BuildRequest,
        (recipe, built): (&Recipe, &RecipeBuilt),
        cx: &StepContext,
    ) -> Result<Imaged, StepError> {
        let files = self.files_again(order, recipe).await?;
        let imaged = self.builder().recipe_image(request, recipe, built, &files, self.terms()).await;
        imaged.map_err(|fault| failure(&fault, cx))
    }

    fn terms(&self) -> Terms {
        let config = &self.ctx().config;
        Terms {
            private_addresses: config.outbound.private,
            largest_image: config.registry.app_bytes,
            shell: commands::of_foreign_line,
        }
    }

    async fn files_again(&self, order: &PushOrder, recipe: &Recipe) -> Result<RecipeFiles, StepError> {
        let files = self.files(order, recipe).await?;
        files.ok_or_else(|| Error::not_found("the Dockerfile of this build").into())
    }

    /// None: the tree has no such Dockerfile.
    async fn files(&self, order: &PushOrder, recipe: &Recipe) -> Result<Option<RecipeFiles>, StepError> {
        let Some(text) = self.read(order, &recipe.dockerfile, dockerfile::LARGEST_DOCKERFILE).await? else {
            return Ok(None);
        };
        let own = format!("{}{IGNORE}", recipe.dockerfile);
        let mut ignore = self.read(order, &own, dockerfile::LARGEST_IGNORE).await?;
        if ignore.is_none() {
            ignore = self.read(order, IGNORE, dockerfile::LARGEST_IGNORE).await?;
        }
        let procfile = self.read(order, PROCFILE, LARGEST_PROCFILE).await?;
        Ok(Some(RecipeFiles { dockerfile: text, ignore: ignore.unwrap_or_default(), procfile }))
    }

    async fn read(&self, order: &PushOrder, path: &str, most: u64) -> Result<Option<Vec<u8>>, StepError> {
        let repository = self.repository(order)?;
        let (key, commit, path) = (order.quarantine.clone(), object_id(&order.new), path.to_owned());
        let read = tokio::task::spawn_blocking(move || {
            let quarantine = Quarantine::reopen(&repository, &key)?;
            read_file(&repository, quarantine.as_ref(), &commit, &path, most)
        });
        match read.await.map_err(Error::internal)? {
            Ok(found) => Ok(found),
            Err(error @ GitError::TooLarge(_)) => Err(StepError::fail(error.to_string())),
            Err(error) => Err(Error::internal(error).into()),
        }
    }

    fn context(&self, order: &PushOrder) -> Result<MakeContext, StepError> {
        let repository = self.repository(order)?;
        let (key, commit) = (order.quarantine.clone(), object_id(&order.new));
        let limits = Arc::new(self.tree_limits());
        Ok(Box::new(move |ignore, instead| {
            let (repository, key, commit, limits) = (repository.clone(), key.clone(), commit, Arc::clone(&limits));
            Arc::new(move |out: &mut dyn io::Write| {
                let hides = |path: &[u8]| ignore.hides(path);
                let changes = Changes { hides: Some(&hides), instead: &instead };
                let quarantine = Quarantine::reopen(&repository, &key).map_err(told)?;
                export_tree_but(&repository, quarantine.as_ref(), &commit, &limits, &changes, out).map_err(told)?;
                Ok(())
            })
        }))
    }
}
