//! What `docker save` writes, taken into the store: a tar with `manifest.json`, configs and layers (the form since Docker
//! 1.10, and as newer engines write it, with an OCI layout around). Every digest of what is handed on is counted here, from
//! what came; what the archive calls its files is of no weight. Blocks.

use std::collections::HashMap;
use std::io::{self, Read};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tar::EntryType;

use super::document::OCI_MANIFEST;
use super::packing::Packing;
use super::source::Source;
use super::{BlobStore, Contents, Digest, EPOCH_TEXT, ImageError, Result};
use crate::base::model::ContentDigest;

/// Of `manifest.json` and of a config.
const LARGEST_DOCUMENT: u64 = 4 << 20;
/// Of all documents that are held in memory.
const LARGEST_DOCUMENTS: u64 = 64 << 20;
const MOST_ENTRIES: usize = 10_000;
pub(super) const MANIFEST: &str = "manifest.json";

/// An image as it came, for `unpack`.
#[derive(Debug)]
pub struct Saved {
    pub contents: Contents,
    pub manifest: ContentDigest,
}

/// One image in `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    config: String,
    layers: Vec<String>,
}

/// Those of an archive, by their paths.
pub(super) type Files = HashMap<String, File>;

pub(super) enum File {
    Document(Vec<u8>),
    Blob { digest: Digest, size: u64, packing: Packing },
    Link(String),
}

/// `most`: bytes of all that is in the archive. `built`: it is the result of a build here: times, and what the builder
/// wrote down of arguments, are left out, so that equal builds give equal images and nothing is told that nobody asked for.
pub fn take_saved(blobs: &BlobStore, archive: impl Read, most: u64, built: bool) -> Result<Saved> {
    saved(blobs, &read(blobs, archive, most)?, built)
}

pub(super) fn saved(blobs: &BlobStore, files: &Files, built: bool) -> Result<Saved> {
    let Some(File::Document(manifest)) = files.get(MANIFEST) else {
        return Err(unfit("the archive has no manifest.json: it is not what docker save writes"));
    };
    let listed: Vec<Listed> = serde_json::from_slice(manifest)
        .map_err(|error| unfit(format!("its manifest.json cannot be read: {error}")))?;
    let [image] = listed.as_slice() else {
        return Err(unfit(format!("the archive has {} images; save one alone", listed.len())));
    };
    let config = match find(files, &image.config)? {
        File::Document(bytes) => bytes.clone(),
        File::Blob { digest, .. } => blobs.read(digest)?,
        File::Link(_) => return Err(unfit("its config is a link")),
    };
    let config = if built { tidied(&config)? } else { config };
    let config_digest = blobs.put_bytes(&config)?;
    let mut contents = Contents::from([(named(&config_digest), config_digest)]);
    let mut layers = Vec::with_capacity(image.layers.len());
    for path in &image.layers {
        let File::Blob { digest, size, packing } = find(files, path)? else {
            return Err(unfit(format!("{path:?} is no layer")));
        };
        layers.push(json!({ "mediaType": packing.media_type(), "digest": digest.to_string(), "size": size }));
        contents.insert(named(digest), *digest);
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config_digest.to_string(),
            "size": config.len(),
        },
        "layers": layers,
    });
    let manifest = blobs.put_bytes(manifest.to_string().as_bytes())?;
    contents.insert(named(&manifest), manifest);
    Ok(Saved { contents, manifest: named(&manifest) })
}

pub(super) fn read(blobs: &BlobStore, archive: impl Read, most: u64) -> Result<Files> {
    let mut source = Source::new(io::BufReader::with_capacity(256 << 10, archive));
    let mut files = HashMap::new();
    let (mut left, mut documents) = (most, LARGEST_DOCUMENTS);
    while let Some(entry) = source.next()? {
        let path = String::from_utf8_lossy(&entry.path).trim_start_matches("./").to_owned();
        left = left.checked_sub(entry.size).ok_or_else(|| unfit("it has more bytes than an image may have here"))?;
        if files.len() == MOST_ENTRIES {
            return Err(unfit(format!("the archive has more than {MOST_ENTRIES} files")));
        }
        let file = match entry.kind {
            EntryType::Symlink | EntryType::Link => File::Link(target(&path, &entry)),
            kind if !kind.is_file() => continue,
            _ if path.ends_with(".json") && entry.size <= LARGEST_DOCUMENT.min(documents) => {
                documents -= entry.size;
                let mut bytes = Vec::new();
                source.read_to_end(&mut bytes).map_err(ImageError::Stream)?;
                File::Document(bytes)
            }
            _ => blob(blobs, &mut source)?,
        };
        files.insert(path, file);
    }
    Ok(files)
}

fn blob(blobs: &BlobStore, source: &mut Source<impl Read>) -> Result<File> {
    let mut writer = blobs.writer()?;
    let mut head = Vec::with_capacity(4);
    source.take(4).read_to_end(&mut head).map_err(ImageError::Stream)?;
    let copied = io::copy(&mut head.as_slice().chain(source), &mut writer);
    copied.map_err(ImageError::Stream)?;
    let (digest, size) = writer.finish()?;
    Ok(File::Blob { digest, size, packing: Packing::beginning(&head) })
}

/// Where a layer is named twice, the second name is a link to the first: `../<id>/layer.tar`.
fn target(path: &str, entry: &super::source::RawEntry) -> String {
    let link = String::from_utf8_lossy(&entry.link).into_owned();
    if entry.kind == EntryType::Link {
        return link;
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn find<'a>(files: &'a HashMap<String, File>, path: &str) -> Result<&'a File> {
    let found = match files.get(path) {
        Some(File::Link(target)) => files.get(target),
        other => other,
    };
    found.ok_or_else(|| unfit(format!("the archive names {path:?} and does not have it")))
}

/// The config without times and without the values that the builder puts before a command (`|1 NAME=value /bin/…`).
fn tidied(config: &[u8]) -> Result<Vec<u8>> {
    let mut config: Map<String, Value> =
        serde_json::from_slice(config).map_err(|error| unfit(format!("its config cannot be read: {error}")))?;
    config.insert("created".into(), json!(EPOCH_TEXT));
    let steps = config.get_mut("history").and_then(Value::as_array_mut).into_iter().flatten();
    for step in steps.filter_map(Value::as_object_mut) {
        step.insert("created".into(), json!(EPOCH_TEXT));
        let command = step.get("created_by").and_then(Value::as_str).filter(|text| text.starts_with('|'));
        if let Some(command) = command {
            let own = command.rfind(" -c ").map_or("", |at| &command[at + 4..]);
            let told = format!("RUN {own}").trim_end().to_owned();
            step.insert("created_by".into(), json!(told));
        }
    }
    Ok(Value::Object(config).to_string().into_bytes())
}

pub(super) fn named(digest: &Digest) -> ContentDigest {
    digest.to_string().parse().unwrap_or_else(|_| unreachable!("a digest's text has the grammar of one"))
}

pub(super) fn unfit(reason: impl Into<String>) -> ImageError {
    ImageError::Unfit(reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            tar.append_data(&mut header, path, *content).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn take(files: &[(&str, &[u8])]) -> (BlobStore, tempfile::TempDir, Result<Saved>) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path()).unwrap();
        let taken = take_saved(&blobs, archive(files).as_slice(), 1 << 20, true);
        (blobs, dir, taken)
    }

    #[test]
    fn an_archive_becomes_contents_without_times_and_arguments() {
        let config = json!({
            "created": "2026-01-01T00:00:00Z",
            "history": [{ "created": "x", "created_by": "|1 TOKEN=hunter2 /bin/sh -c make" }],
        });
        let (blobs, _dir, taken) = take(&[
            ("manifest.json", br#"[{"Config":"c.json","RepoTags":null,"Layers":["a/layer.tar"]}]"#),
            ("c.json", config.to_string().as_bytes()),
            ("a/layer.tar", b"layer"),
        ]);
        let saved = taken.unwrap();
        assert_eq!(saved.contents.len(), 3);
        let manifest: Value = serde_json::from_slice(&blobs.read(&saved.contents[&saved.manifest]).unwrap()).unwrap();
        assert_eq!(manifest["layers"][0]["digest"], Digest::of(b"layer").to_string());
        let config = manifest["config"]["digest"].as_str().unwrap().parse().unwrap();
        let config = String::from_utf8(blobs.read(&config).unwrap()).unwrap();
        assert!(config.contains("RUN make") && !config.contains("hunter2") && !config.contains("2026"), "{config}");
    }

    #[test]
    fn what_is_no_such_archive_is_refused_with_its_reason() {
        let manifest = |text: &'static str| ("manifest.json", text.as_bytes());
        for (files, cause) in [
            (vec![("x", b"y".as_slice())], "docker save"),
            (vec![manifest("[]")], "0 images"),
            (vec![manifest("{")], "cannot be read"),
            (vec![manifest(r#"[{"Config":"../../etc/passwd","Layers":[]}]"#)], "does not have it"),
            (vec![manifest(r#"[{"Config":"manifest.json","Layers":["manifest.json"]}]"#)], "config cannot be read"),
        ] {
            let (_, _dir, taken) = take(&files);
            let said = taken.unwrap_err().to_string();
            assert!(said.contains(cause), "{cause}: {said}");
        }
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path()).unwrap();
        let large = archive(&[("a/layer.tar", &[0; 4096])]);
        assert!(take_saved(&blobs, large.as_slice(), 1000, false).unwrap_err().to_string().contains("more bytes"));
    }
}
