//! Bills of materials that buildpacks write of their layers and of the image (buildpack specification,
//! "Software-Bill-of-Materials"): kept with the layers, and put together in one layer of the image (platform
//! specification, "SBOM"), as they are.

use std::collections::BTreeMap;

use super::BuildFailure;
use super::builder::{Builder, refused};
use super::cache::{Cache, KeptLayer};
use super::export::Refused;
use super::phases::Outcome;
use super::place::Place;
use crate::machinery::image::{BlobStore, Digest, ImageError, Layer, LayerWriter, read_files};

/// Bytes of one.
const LONGEST: u64 = 32 << 20;
const MOST: usize = 200;

/// Layers of one file each, by its path below `/layers`.
pub(super) type Boms = BTreeMap<String, Layer>;

impl Builder {
    pub(super) async fn take_boms(&self, place: &Place, outcome: &Outcome) -> Result<Boms, BuildFailure> {
        let mut boms = Boms::new();
        for path in outcome.sboms.iter().take(MOST) {
            let Some((buildpack, file)) = path.split_once('/') else { continue };
            let of = file.split(".sbom.").next().unwrap_or(file);
            let kept = |layer: &&super::result::FoundLayer| layer.buildpack == buildpack && layer.name == of;
            let is_kept = outcome.layers.iter().find(kept).is_some_and(|layer| !layer.is_ignored());
            if of != "launch" && !is_kept {
                continue;
            }
            let whole = format!("layers/{path}");
            let layer = self.fetch(place, &format!("/{whole}"), file, &whole).await;
            boms.insert(path.clone(), layer.map_err(|error| refused(&whole, &error))?);
        }
        Ok(boms)
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

/// The layer of the image; none without any. Blocks.
pub(super) fn layer(blobs: &BlobStore, boms: &Boms, launched: &[String]) -> Result<Option<Layer>, Refused> {
    let mut writer = LayerWriter::new(blobs);
    let mut any = false;
    for (path, layer) in boms {
        let Some((of, kind)) = path.split_once(".sbom.") else { continue };
        let Some((buildpack, name)) = of.split_once('/') else { continue };
        let at = match name {
            "launch" => format!("layers/sbom/launch/{buildpack}/sbom.{kind}"),
            _ if launched.iter().any(|launched| launched == of) => {
                format!("layers/sbom/launch/{buildpack}/{name}/sbom.{kind}")
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
        let boms: Boms = ["a/x.sbom.cdx.json", "a/launch.sbom.spdx.json", "a/build-only.sbom.cdx.json"].map(bom).into();
        let layer = layer(&blobs, &boms, &["a/x".to_owned()]).unwrap().unwrap();
        let found = read_files(blobs.open_blob(&layer.digest).unwrap(), |_| true, 9, 9).unwrap();
        let paths: Vec<_> = found.into_keys().collect();
        assert_eq!(paths, ["layers/sbom/launch/a/sbom.spdx.json", "layers/sbom/launch/a/x/sbom.cdx.json"]);
        assert_eq!(of_layer(&boms, "a/x").into_keys().collect::<Vec<_>>(), ["cdx.json"]);
        assert!(super::layer(&blobs, &Boms::new(), &[]).unwrap().is_none());
    }
}
