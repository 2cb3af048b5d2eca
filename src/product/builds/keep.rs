//! Layers between sandboxes and the store: what a build leaves is kept for its image and for the builds after it, and put
//! back where a sandbox lost it.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::admission;
use super::boms::{self, Boms};
use super::builder::{Builder, batch_rules, refused};
use super::cache::{Cache, KeptLayer};
use super::export::{self, Refused};
use super::phases::Outcome;
use super::place::Place;
use super::result::FoundLayer;
use super::{BuildFailure, Detected};
use crate::machinery::image::{Batch, Digest, Layer, LayerRules};

impl Builder {
    /// Puts the cached layers of the group back into a fresh sandbox; gives those that are there.
    pub(super) async fn restore<'c>(
        &self,
        place: &Place,
        detected: &Detected,
        cache: &'c Cache,
    ) -> Result<Vec<&'c KeptLayer>, BuildFailure> {
        let mut restored = Vec::new();
        for layer in &cache.layers {
            let of_group = detected.members.iter().any(|part| part.directory() == layer.buildpack);
            let Some((digest, _)) = layer.blob.filter(|(digest, _)| of_group && layer.cache && self.blobs.has(digest))
            else {
                continue;
            };
            self.images.put(place.sandbox(), &digest).await?;
            restored.push(layer);
        }
        // The directories above a layer came with it as the image has them; here the buildpacks must write into them.
        let above = detected.members.iter().map(|part| format!("layers/{}", part.directory()));
        self.images.own(place.sandbox(), std::iter::once("layers".to_owned()).chain(above).collect()).await?;
        Ok(restored)
    }

    /// What leaves the sandbox, for the image and for later builds: all within one batch, whose layers have no name yet.
    /// `workspace` is none where it was too large to come with an answer.
    pub(super) async fn export(
        &self,
        place: &Place,
        outcome: &Outcome,
        cache: &Cache,
        workspace: Option<Vec<Layer>>,
        batch: &Arc<Batch>,
    ) -> Result<(Boms, Vec<KeptLayer>, Vec<Layer>), BuildFailure> {
        let boms = self.take_boms(place, outcome, batch).await?;
        let kept = self.keep_layers(place, outcome, cache, &boms, batch).await?;
        let workspace = match workspace {
            Some(layers) => layers,
            None => self.fetch_workspace(place, &outcome.slices, batch).await?,
        };
        Ok((boms, kept, workspace))
    }

    /// What is remembered of each layer, with a blob for those that go into the image or come back into a fresh sandbox.
    /// Those whose content is as it was at their last export are not read; the others are read and hashed side by side.
    async fn keep_layers(
        &self,
        place: &Place,
        outcome: &Outcome,
        cache: &Cache,
        boms: &Boms,
        batch: &Arc<Batch>,
    ) -> Result<Vec<KeptLayer>, BuildFailure> {
        let layers = outcome.layers.iter().filter(|layer| !layer.is_ignored());
        let work: Vec<_> = layers.map(|layer| self.keep_layer(place, layer, cache, boms, batch)).collect();
        stream::iter(work).buffered(admission::processors()).try_collect().await
    }

    async fn keep_layer(
        &self,
        place: &Place,
        layer: &FoundLayer,
        cache: &Cache,
        boms: &Boms,
        batch: &Arc<Batch>,
    ) -> Result<KeptLayer, BuildFailure> {
        let before = cache.layer(&layer.path());
        let known = before.and_then(|before| before.blob).filter(|(digest, _)| self.blobs.has(digest));
        let is_as_before = layer.fingerprint.is_some() && before.is_some_and(|b| b.fingerprint == layer.fingerprint);
        let blob = match known {
            // A layer for launch without content is the one of the last image ("Launch layers").
            Some(known) if layer.launch && !layer.has_directory => Some(known),
            None if layer.launch && !layer.has_directory => {
                return Err(super::messages::layer_gone(&layer.buildpack, &layer.name));
            }
            Some(known) if layer.launch && is_as_before => Some(known),
            _ if layer.launch => Some(self.fetch_layer(place, layer, batch).await?),
            // No fingerprint is made of it: it is taken to change only together with what it says of itself.
            Some(known) if before.is_some_and(|before| before.metadata == layer.metadata) => Some(known),
            _ if layer.cache && layer.has_directory => match self.fetch_layer(place, layer, batch).await {
                Err(failure) if batch.is_spent() => return Err(failure),
                // That build was slow anyway. Without the blob, a build in a fresh sandbox is slower.
                fetched => fetched.ok(),
            },
            _ => None,
        };
        Ok(KeptLayer {
            buildpack: layer.buildpack.clone(),
            name: layer.name.clone(),
            launch: layer.launch,
            build: layer.build,
            cache: layer.cache,
            metadata: layer.metadata.clone(),
            fingerprint: layer.fingerprint.clone(),
            parts: layer.parts.clone(),
            scripts: layer.scripts.clone(),
            boms: boms::of_layer(boms, &layer.path()),
            environment: layer
                .environment
                .iter()
                .filter(|_| layer.launch)
                .map(|((folder, file), text)| (format!("{folder}/{file}"), text.clone()))
                .collect(),
            blob,
        })
    }

    async fn fetch_layer(
        &self,
        place: &Place,
        layer: &FoundLayer,
        batch: &Arc<Batch>,
    ) -> Result<(Digest, u64), BuildFailure> {
        let path = format!("layers/{}", layer.path());
        let fetched = self.fetch(place, &format!("/{path}"), batch_rules(batch, &layer.name, &path)).await;
        let fetched = fetched.map_err(|error| refused(&format!("the layer {}", layer.path()), &error))?;
        Ok((fetched.digest, fetched.size))
    }

    /// The app's directory, where it was too large to come with an answer.
    async fn fetch_workspace(
        &self,
        place: &Place,
        slices: &[Vec<String>],
        batch: &Arc<Batch>,
    ) -> Result<Vec<Layer>, BuildFailure> {
        let fetched = async {
            let tar = self.engine.get(place.sandbox(), "/workspace").await.map_err(std::io::Error::other)?;
            let rules = batch_rules(batch, "workspace", "workspace");
            export::stored(&self.blobs, tar, rules, super::slices::writer(slices)).await
        };
        fetched.await.map_err(|error| refused("the workspace", &error))
    }

    pub(super) async fn fetch(&self, place: &Place, path: &str, rules: LayerRules) -> Result<Layer, Refused> {
        let tar = self.engine.get(place.sandbox(), path).await.map_err(std::io::Error::other)?;
        export::layer(&self.blobs, tar, rules).await
    }
}
