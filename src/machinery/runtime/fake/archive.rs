//! Reading a docker-archive as an engine does: which images it names, and which layers it brings.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::super::tarball::{Kind, Reader};
use super::super::{ByteStream, EngineError, Result};
use super::refused;

pub(super) struct Archive {
    pub(super) images: Vec<Loaded>,
}

pub(super) struct Loaded {
    pub(super) tags: Vec<String>,
    /// Digest of each layer, and whether its file came along.
    pub(super) layers: Vec<(String, bool)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

pub(super) async fn read(archive: ByteStream) -> Result<Archive> {
    let wrong = |cause: String| refused("load", "image", cause);
    let broken = |source: std::io::Error| EngineError::Refused {
        operation: "read archive of",
        subject: "image".into(),
        source: source.into(),
    };
    let mut reader = Reader::new(archive);
    let mut documents = HashMap::new();
    let mut present = HashSet::new();
    while let Some(entry) = reader.next_entry().await.map_err(broken)? {
        let path = entry.path.trim_start_matches("./").to_owned();
        // Documents are small and start with a brace or bracket; of layers only the path counts.
        if entry.kind == Kind::File && entry.size <= 1 << 20 {
            documents.insert(path.clone(), reader.whole().await.map_err(broken)?);
        }
        present.insert(path);
    }
    let manifest = documents.get("manifest.json").ok_or_else(|| wrong("the archive has no manifest.json".into()))?;
    let items: Vec<Item> = serde_json::from_slice(manifest).map_err(|e| wrong(e.to_string()))?;
    let mut images = Vec::new();
    for item in items {
        let config = documents.get(&item.config).ok_or_else(|| wrong(format!("the archive lacks {}", item.config)))?;
        let config: Config = serde_json::from_slice(config).map_err(|e| wrong(e.to_string()))?;
        if config.rootfs.diff_ids.len() != item.layers.len() {
            return Err(wrong("invalid manifest, layers length mismatch".into()));
        }
        let layers = config.rootfs.diff_ids.into_iter().zip(&item.layers);
        let layers = layers.map(|(digest, path)| (digest, present.contains(path))).collect();
        images.push(Loaded { tags: item.repo_tags.unwrap_or_default(), layers });
    }
    Ok(Archive { images })
}
