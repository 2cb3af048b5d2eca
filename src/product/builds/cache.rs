//! What is remembered of an app's last build, in `<data>/caches/<app id>.json`: what its build image is made of, and
//! its layers with the blobs that hold them. Losing the file costs time and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::export;
use super::pack::Ingredient;
use crate::base::model::{AppId, ImageDigest};
use crate::machinery::image::Digest;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Cache {
    pub build_ingredients: BTreeSet<Ingredient>,
    pub layers: Vec<KeptLayer>,
    /// By directory of the buildpack below `/layers`: its `store.toml`.
    pub stores: BTreeMap<String, String>,
    /// Bills of materials of what the last build was made with: digest and size of a layer with them.
    pub build_boms: Option<(String, u64)>,
    /// The last image.
    pub image: Option<ImageDigest>,
    /// Bytes of the cache before this one, which had outgrown its bound; until somebody was told.
    pub dropped: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptLayer {
    /// Directory of its buildpack below `/layers`.
    pub buildpack: String,
    pub name: String,
    pub launch: bool,
    /// Rows of before there was this held no layer that was for builds only and not cached.
    #[serde(default)]
    pub build: bool,
    pub cache: bool,
    /// The layer's toml without types.
    pub metadata: String,
    /// Of the content when `blob` was made of it.
    pub fingerprint: Option<String>,
    /// Of one for launch: what images need to know of it when its buildpack leaves it as it is in the last one.
    #[serde(default)]
    pub parts: Vec<String>,
    #[serde(default)]
    pub scripts: Vec<String>,
    /// By folder and file, with a slash between them.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Bills of materials: by kind, digest and size of a layer with the file.
    #[serde(default)]
    pub boms: BTreeMap<String, (String, u64)>,
    #[serde(with = "blob")]
    pub blob: Option<(Digest, u64)>,
}

impl KeptLayer {
    pub fn path(&self) -> String {
        format!("{}/{}", self.buildpack, self.name)
    }

    /// The table `metadata` of its toml; null where there is none.
    pub fn data(&self) -> serde_json::Value {
        let file: toml::Table = toml::from_str(&self.metadata).unwrap_or_default();
        file.get("metadata").map_or(serde_json::Value::Null, json_of)
    }
}

impl Cache {
    pub fn load(dir: &Path, app: &AppId) -> Self {
        let text = std::fs::read_to_string(path(dir, app));
        text.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Best effort: what is not remembered is made again.
    pub fn save(&self, dir: &Path, app: &AppId) {
        let text = serde_json::to_vec(self).expect("plain data is JSON");
        if let Err(error) = export::write_file(&path(dir, app), &text) {
            tracing::warn!(app.id = %app, %error, "the build cache of an app could not be written");
        }
    }

    pub fn remove(dir: &Path, app: &AppId) {
        // Already gone is as good.
        let _ = std::fs::remove_file(path(dir, app));
    }

    /// Apps of which something is remembered.
    pub fn apps(dir: &Path) -> Vec<AppId> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json")?.parse().ok()).collect()
    }

    /// Blobs of layers, for builds and for images.
    pub fn blobs(&self) -> impl Iterator<Item = (Digest, u64)> {
        let own = self.layers.iter().filter_map(|layer| layer.blob);
        let bom = |(digest, size): &(String, u64)| Some((digest.parse().ok()?, *size));
        let own = own.chain(self.layers.iter().flat_map(|layer| layer.boms.values()).filter_map(bom));
        let brought = self.build_ingredients.iter().filter_map(Ingredient::brought);
        own.chain(brought.map(|layer| (layer.digest, layer.size))).chain(self.build_boms())
    }

    pub fn build_boms(&self) -> Option<(Digest, u64)> {
        self.build_boms.as_ref().and_then(|(digest, size)| Some((digest.parse().ok()?, *size)))
    }

    pub fn layer(&self, path: &str) -> Option<&KeptLayer> {
        self.layers.iter().find(|layer| layer.path() == path)
    }
}

fn path(dir: &Path, app: &AppId) -> PathBuf {
    dir.join(format!("{app}.json"))
}

/// Dates and times, which JSON does not have, are texts.
fn json_of(value: &toml::Value) -> serde_json::Value {
    match value {
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(values) => values.iter().map(json_of).collect(),
        toml::Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), json_of(value))).collect(),
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(is) => (*is).into(),
    }
}

/// A digest and a size as a list of two.
mod blob {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::machinery::image::Digest;

    pub(super) fn serialize<S: Serializer>(blob: &Option<(Digest, u64)>, serializer: S) -> Result<S::Ok, S::Error> {
        blob.map(|(digest, size)| (digest.to_string(), size)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<(Digest, u64)>, D::Error> {
        let blob: Option<(String, u64)> = Option::deserialize(deserializer)?;
        blob.map(|(digest, size)| Ok((digest.parse().map_err(D::Error::custom)?, size))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::model::Id;

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let app = AppId::fresh();
        let layer = KeptLayer {
            buildpack: "hythe_nodejs".into(),
            name: "node".into(),
            launch: true,
            build: false,
            cache: true,
            metadata: "[metadata]\n".into(),
            fingerprint: None,
            parts: vec!["bin".into()],
            scripts: Vec::new(),
            environment: BTreeMap::from([("env/A".into(), "1".into())]),
            boms: BTreeMap::from([("cdx.json".into(), (Digest::of(b"y").to_string(), 1))]),
            blob: Some((Digest::of(b"x"), 1)),
        };
        let cache = Cache { layers: vec![layer.clone()], ..Default::default() };
        cache.save(dir.path(), &app);
        assert_eq!(Cache::load(dir.path(), &app).layer("hythe_nodejs/node"), Some(&layer));
        std::fs::write(path(dir.path(), &app), "garbage").unwrap();
        assert!(Cache::load(dir.path(), &app).layers.is_empty());
        Cache::remove(dir.path(), &app);
        Cache::remove(dir.path(), &app);
    }
}
