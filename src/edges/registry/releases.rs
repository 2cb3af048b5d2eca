//! What releases bring into the repository of their app: images under their numbers and the names of their environments.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use super::Registry;
use super::refusal::Refusal;
use crate::base::access::Actor;
use crate::base::model::{App, ContentDigest, Id, ImageDigest, Release, TagName};
use crate::machinery::image::{Digest, ImageError, inspect};
use crate::product::{apps, images};

/// Tags reach back this far; digests of older releases are not found by name.
const NEWEST: i64 = 200;
/// Images whose blobs are remembered.
const REMEMBERED: usize = 1024;
const LATEST: &str = "latest";
const PRODUCTION: &str = "production";

impl Registry {
    /// Names that releases give, with what each is of: those of production by number, what is live in each environment by its
    /// name, and `latest` for production's.
    pub(super) async fn release_tags(&self, actor: &Actor, app: &App) -> Result<Vec<(String, Release)>, Refusal> {
        let mut tags = Vec::new();
        for environment in apps::environments(&self.ctx, actor, app).await? {
            let of_production = environment.name.as_str() == PRODUCTION;
            let mut releases = apps::releases(&self.ctx, actor, app, &environment, None, NEWEST).await?;
            releases.retain(|release| release.image_gone_at.is_none());
            // What is live, or shall be; a release that failed is only a number.
            let wanted = environment.status.live_release.as_ref().or(environment.spec.release.as_ref());
            let current = match releases.iter().find(|release| Some(&release.id) == wanted).or(releases.first()) {
                Some(release) => release.clone(),
                None => continue,
            };
            tags.push((environment.name.to_string(), current.clone()));
            if of_production {
                tags.push((LATEST.to_owned(), current));
                tags.extend(releases.into_iter().map(|release| (format!("v{}", release.number), release)));
            }
        }
        Ok(tags)
    }

    pub(super) async fn release_of(&self, actor: &Actor, app: &App, tag: &TagName) -> Result<Option<Release>, Refusal> {
        let tags = self.release_tags(actor, app).await?;
        Ok(tags.into_iter().find(|(name, _)| name == tag.as_str()).map(|(_, release)| release))
    }

    /// Digest under which the release's image was pushed, if it was and is still here: pulls give back what was pushed.
    pub(super) async fn origin(
        &self,
        actor: &Actor,
        app: &App,
        release: &Release,
    ) -> Result<Option<ContentDigest>, Refusal> {
        let Some(id) = &release.build_id else { return Ok(None) };
        let build = match apps::build(&self.ctx, actor, app, id.as_str()).await {
            Ok(build) => build,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Ok(digest) = build.commit.parse() else { return Ok(None) };
        Ok(images::manifest(&self.ctx, actor, app, &digest).await?.map(|manifest| manifest.digest))
    }

    /// Images of releases whose blobs may be fetched: those of all tags, and those that lost theirs a moment ago, so that a
    /// pull under way ends as it began.
    pub(super) async fn release_images(&self, actor: &Actor, app: &App) -> Result<Vec<ImageDigest>, Refusal> {
        let mut all = Vec::new();
        for environment in apps::environments(&self.ctx, actor, app).await? {
            let releases = apps::releases(&self.ctx, actor, app, &environment, None, NEWEST).await?;
            all.extend(releases.into_iter().map(|release| release.image));
        }
        Ok(all)
    }

    /// Whether one of the images has the blob as manifest, config or layer.
    pub(super) async fn is_named(&self, images: Vec<ImageDigest>, blob: Digest) -> Result<bool, Refusal> {
        let this = self.clone();
        let found = self.blocking(move |_| {
            for image in images {
                if Digest::from(&image) == blob || this.named_by(&image)?.contains(&blob) {
                    return Ok(true);
                }
            }
            Ok(false)
        });
        Ok(found.await?)
    }

    pub(super) fn named_by(&self, image: &ImageDigest) -> Result<Arc<HashSet<Digest>>, ImageError> {
        if let Some(known) = self.named.lock().unwrap_or_else(PoisonError::into_inner).get(image) {
            return Ok(known.clone());
        }
        let blobs: HashSet<Digest> = match inspect(&self.blobs, image) {
            Ok(facts) => facts.layers.iter().map(|layer| layer.digest).chain([facts.config]).collect(),
            // a release whose image was cleaned up hides no other
            Err(ImageError::Missing(_)) => return Ok(Arc::default()),
            Err(error) => return Err(error),
        };
        let blobs = Arc::new(blobs);
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() >= REMEMBERED {
            named.clear();
        }
        named.insert(image.clone(), blobs.clone());
        Ok(blobs)
    }
}
