//! Bills of materials that buildpacks write of their layers and of the image (buildpack specification,
//! "Software-Bill-of-Materials"): kept with the layers, and put together in one layer of the image (platform
//! specification, "SBOM"), as they are, beside what the platform itself finds in the layers of the app. The label
//! `io.buildpacks.lifecycle.metadata` names that layer, so that whoever pulls the image finds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::BuildFailure;
use super::builder::{Builder, batch_rules, refused};
use super::cache::{Cache, KeptLayer};
use super::export::Refused;
use super::phases::Outcome;
use super::place::Place;
use crate::base::model::AppId;
use crate::machinery::image::{Batch, BlobStore, Digest, ImageError, Layer, LayerWriter, read_files};

/// Bytes of one.
const LONGEST: u64 = 32 << 20;
const MOST: usize = 200;
/// No buildpack can take this place: an id with a slash has become one with `_`, and this one is not a group of its own.
const PLATFORM_S: &str = "layers/sbom/launch/hythe/app/sbom.cdx.json";

/// Layers of one file each, by its path below `/layers`.
pub(super) type Boms = BTreeMap<String, Layer>;

impl Builder {
    pub(super) async fn take_boms(
        &self,
        place: &Place,
        outcome: &Outcome,
        batch: &Arc<Batch>,
    ) -> Result<Boms, BuildFailure> {
        let mut boms = Boms::new();
        for path in outcome.sboms.iter().take(MOST) {
            let Some((buildpack, file)) = path.split_once('/') else { continue };
            let of = file.split(".sbom.").next().unwrap_or(file);
            let kept = |layer: &&super::result::FoundLayer| layer.buildpack == buildpack && layer.name == of;
            let is_kept = outcome.layers.iter().find(kept).is_some_and(|layer| !layer.is_ignored());
            if !["launch", "build"].contains(&of) && !is_kept {
                continue;
            }
            let whole = format!("layers/{path}");
            let layer = self.fetch(place, &format!("/{whole}"), batch_rules(batch, file, &whole)).await;
            boms.insert(path.clone(), layer.map_err(|error| refused(&whole, &error))?);
        }
        Ok(boms)
    }

    /// Those of what was for the build, as they are remembered.
    pub(super) async fn keep_build_boms(
        &self,
        outcome: &Outcome,
        boms: &Boms,
    ) -> Result<Option<(String, u64)>, BuildFailure> {
        if boms.is_empty() {
            return Ok(None);
        }
        // Those of all layers that are not in the image ("build SBOM"), and of those that are in both.
        let for_build = outcome.layers.iter().filter(|layer| layer.build || !layer.launch);
        let for_build: Vec<_> = for_build.map(super::result::FoundLayer::path).collect();
        let (blobs, boms) = (self.blobs.clone(), boms.clone());
        let kept = tokio::task::spawn_blocking(move || layer(&blobs, &boms, &for_build, Side::Build));
        let kept = kept.await.map_err(std::io::Error::other).map_err(Refused::from).flatten();
        let kept = kept.map_err(|error| refused("bills of materials", &error))?;
        Ok(kept.map(|layer| (layer.digest.to_string(), layer.size)))
    }

    /// Puts those of layers that come back, with or without their files, into a fresh sandbox.
    pub(super) async fn restore_boms(
        &self,
        place: &Place,
        cache: &Cache,
        group: &[String],
    ) -> Result<(), BuildFailure> {
        let back =
            |layer: &&KeptLayer| group.contains(&layer.buildpack) && (layer.cache || layer.launch && !layer.build);
        for digest in cache.layers.iter().filter(back).flat_map(KeptLayer::bom_digests) {
            if self.blobs.has(&digest) {
                self.images.put(place.sandbox(), &digest).await?;
            }
        }
        Ok(())
    }
}

/// Of what an image has, with the platform's own bill, or of what it was built with.
#[derive(Clone, Copy)]
pub(super) enum Side<'a> {
    Launch { bill: &'a [u8] },
    Build,
}

/// Those of one side where the specification has them; `layers` are those of that side. For launch it is a layer of the
/// image. None without any. Blocks.
pub(super) fn layer(
    blobs: &BlobStore,
    boms: &Boms,
    layers: &[String],
    side: Side<'_>,
) -> Result<Option<Layer>, Refused> {
    let mut writer = LayerWriter::new(blobs);
    let (folder, mut any) = match side {
        Side::Launch { bill } => {
            writer.file(PLATFORM_S, 0o644, (0, 0), bill)?;
            ("launch", true)
        }
        Side::Build => ("build", false),
    };
    for (path, layer) in boms {
        let Some((of, kind)) = path.split_once(".sbom.") else { continue };
        let Some((buildpack, name)) = of.split_once('/') else { continue };
        let at = match name {
            name if name == folder => format!("layers/sbom/{folder}/{buildpack}/sbom.{kind}"),
            _ if layers.iter().any(|layer| layer == of) => {
                format!("layers/sbom/{folder}/{buildpack}/{name}/sbom.{kind}")
            }
            _ => continue,
        };
        let whole = format!("layers/{path}");
        let found = read_files(blobs.open_blob(&layer.digest)?, |path| path == whole, LONGEST, 1)?;
        let text = found.get(&whole).ok_or_else(|| ImageError::Document(format!("{whole} is no file")))?;
        writer.file(&at, 0o644, (0, 0), text)?;
        any = true;
    }
    Ok(if any { Some(writer.finish()?) } else { None })
}

/// A bill of materials of the last build.
#[derive(Debug, Clone, PartialEq)]
pub struct BuildBom {
    /// Id with `_` in place of `/`.
    pub buildpack: String,
    /// None: of all that it used.
    pub layer: Option<String>,
    /// `cdx.json` and its like.
    pub kind: String,
    /// As the buildpack wrote it.
    pub document: serde_json::Value,
}

impl Builder {
    /// What buildpacks said of what the app's last build was made with. Blocks.
    pub fn build_boms(&self, app: &AppId) -> Result<Vec<BuildBom>, ImageError> {
        let Some((digest, _)) = Cache::load(&self.caches, app).build_boms() else { return Ok(Vec::new()) };
        let files = read_files(self.blobs.open_blob(&digest)?, |_| true, LONGEST, MOST)?;
        Ok(files.iter().filter_map(|(path, text)| bom_at(path, text)).collect())
    }
}

fn bom_at(path: &str, text: &[u8]) -> Option<BuildBom> {
    let (of, kind) = path.strip_prefix("layers/sbom/build/")?.split_once("/sbom.")?;
    let (buildpack, layer) = of.split_once('/').map_or((of, None), |(buildpack, layer)| (buildpack, Some(layer)));
    Some(BuildBom {
        buildpack: buildpack.to_owned(),
        layer: layer.map(str::to_owned),
        kind: kind.to_owned(),
        document: serde_json::from_slice(text).ok()?,
    })
}

impl KeptLayer {
    pub(super) fn bom_digests(&self) -> impl Iterator<Item = Digest> {
        self.boms.values().filter_map(|(digest, _)| digest.parse().ok())
    }
}

/// Those of one layer, by kind, as they are remembered.
pub(super) fn of_layer(boms: &Boms, path: &str) -> BTreeMap<String, (String, u64)> {
    let own = boms.iter().filter_map(|(file, layer)| Some((file.strip_prefix(path)?.strip_prefix(".sbom.")?, layer)));
    own.map(|(kind, layer)| (kind.to_owned(), (layer.digest.to_string(), layer.size))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_launch_lie_where_the_specification_says() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path()).unwrap();
        let bom = |path: &str| {
            let mut writer = LayerWriter::new(&blobs);
            writer.file(&format!("layers/{path}"), 0o644, (1000, 1000), b"{}").unwrap();
            (path.to_owned(), writer.finish().unwrap())
        };
        let boms: Boms =
            ["a/x.sbom.cdx.json", "a/launch.sbom.spdx.json", "a/build-only.sbom.cdx.json", "a/build.sbom.spdx.json"]
                .map(bom)
                .into();
        let layer = layer(&blobs, &boms, &["a/x".to_owned()], Side::Launch { bill: b"{}" }).unwrap().unwrap();
        let found = read_files(blobs.open_blob(&layer.digest).unwrap(), |_| true, 9, 9).unwrap();
        let paths: Vec<_> = found.into_keys().collect();
        let own = "layers/sbom/launch/hythe/app/sbom.cdx.json";
        assert_eq!(paths, ["layers/sbom/launch/a/sbom.spdx.json", "layers/sbom/launch/a/x/sbom.cdx.json", own]);
        assert_eq!(of_layer(&boms, "a/x").into_keys().collect::<Vec<_>>(), ["cdx.json"]);
        let found = super::layer(&blobs, &Boms::new(), &[], Side::Launch { bill: b"{}" }).unwrap().unwrap();
        let found = read_files(blobs.open_blob(&found.digest).unwrap(), |_| true, 9, 9).unwrap();
        assert_eq!(found.into_keys().collect::<Vec<_>>(), [own]);
        assert!(super::layer(&blobs, &Boms::new(), &[], Side::Build).unwrap().is_none());

        let build = super::layer(&blobs, &boms, &["a/build-only".to_owned()], Side::Build).unwrap().unwrap();
        let found = read_files(blobs.open_blob(&build.digest).unwrap(), |_| true, 9, 9).unwrap();
        let told: Vec<_> = found.iter().filter_map(|(path, text)| bom_at(path, text)).collect();
        let told: Vec<_> = told.iter().map(|bom| (bom.layer.as_deref(), bom.kind.as_str())).collect();
        assert_eq!(told, [(Some("build-only"), "cdx.json"), (None, "spdx.json")]);
    }
}
