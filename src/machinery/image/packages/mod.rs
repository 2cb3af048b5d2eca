//! Which packages an image holds, told by the files that package managers leave: of Debian, npm, Python, Ruby, PHP, Rust (a
//! lock file that a layer keeps) and Go (what its linker writes into programs), and jars by their name, also inside of
//! others. What was compiled in without a trace is not seen.
//!
//! A layer is read once and in one pass, whatever it holds: hostile files are at worst not understood. What a layer says is
//! keyed by path, so that an upper layer replaces or removes what one below has.

mod go;
mod jars;
mod readers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use serde::{Deserialize, Serialize};

use super::entry::clean;
use super::{BlobStore, Digest, ImageError, Result, inspect};
use crate::base::model::ImageDigest;

/// Of one file that names packages; larger ones are not read.
const LONGEST: u64 = 64 << 20;
/// Of one program or archive, which is looked through and not held.
const LONGEST_PROGRAM: u64 = 512 << 20;
/// Packages of one layer.
const MOST: usize = 200_000;

/// Who manages a package; the words are the types of package URLs (<https://github.com/package-url/purl-spec>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    Deb,
    Npm,
    Pypi,
    Gem,
    Composer,
    Golang,
    Maven,
    Cargo,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Package {
    pub ecosystem: Ecosystem,
    /// As its ecosystem writes it: `@scope/name`, `vendor/name`, `golang.org/x/net`.
    pub name: String,
    pub version: String,
    /// Of the source package, where it is called otherwise (Debian).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// As the package states it: mostly an SPDX expression, sometimes words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
}

/// What one layer says.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerPackages {
    /// By the path of the file that names them.
    pub files: BTreeMap<String, Vec<Package>>,
    /// Paths below which nothing of the layers beneath is left.
    pub removed: BTreeSet<String>,
}

/// Reads a stored layer, uncompressed, from its beginning to its end; what is of no interest is skipped.
pub fn layer_packages(blobs: &BlobStore, layer: &Digest) -> Result<LayerPackages> {
    let content = Skipping { file: BufReader::with_capacity(128 << 10, blobs.open_blob(layer)?), at: 0 };
    scan(content).map_err(|source| ImageError::Store { operation: "read", path: layer.to_string().into(), source })
}

/// A file whose reader keeps what it has read ahead when it is told to go on from further on.
struct Skipping {
    file: BufReader<File>,
    at: u64,
}

impl Read for Skipping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Skipping {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Current(by) => self.file.seek_relative(by).map(|()| self.at.saturating_add_signed(by))?,
            other => self.file.seek(other)?,
        };
        Ok(self.at)
    }
}

fn scan(content: impl Read + Seek) -> io::Result<LayerPackages> {
    let mut found = LayerPackages::default();
    let mut count = 0;
    for entry in tar::Archive::new(content).entries_with_seek()? {
        let mut entry = entry?;
        let raw = entry.path_bytes().into_owned();
        let Some(path) = clean(&raw).ok().and_then(|path| String::from_utf8(path).ok()) else { continue };
        let (above, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if let Some(gone) = name.strip_prefix(".wh.") {
            // `.wh..wh..opq`: all of the directory (OCI image layer, "Whiteouts").
            let whole = if gone == ".wh..opq" { above.to_owned() } else { joined(above, gone) };
            found.removed.insert(whole);
            continue;
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let size = entry.header().size().unwrap_or(u64::MAX);
        let packages = match readers::of(&path) {
            None if jars::is_archive(&path) && size <= LONGEST_PROGRAM => jars::packages(&path, &mut entry)?,
            Some(reader) if size <= LONGEST => {
                let mut text = Vec::new();
                entry.by_ref().take(LONGEST).read_to_end(&mut text)?;
                reader(&path, &String::from_utf8_lossy(&text))
            }
            Some(_) => continue,
            None if entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0) && size <= LONGEST_PROGRAM => {
                go::packages(&mut entry)?
            }
            None => continue,
        };
        count += packages.len();
        if count > MOST {
            break;
        }
        if !packages.is_empty() {
            found.files.insert(path, packages);
        }
    }
    Ok(found)
}

fn joined(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") }
}

/// Layers of an image, lowest first.
pub fn layers_of(blobs: &BlobStore, image: &ImageDigest) -> Result<Vec<Digest>> {
    Ok(inspect(blobs, image)?.layers.iter().map(|layer| layer.digest).collect())
}

/// All that is left of `layers`, lowest first, each package once.
pub fn joined_packages<'a>(layers: impl IntoIterator<Item = &'a LayerPackages>) -> BTreeSet<Package> {
    let mut files: BTreeMap<&str, &[Package]> = BTreeMap::new();
    for layer in layers {
        for gone in &layer.removed {
            files.retain(|path, _| {
                let below = path.strip_prefix(gone.as_str());
                !below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || gone.is_empty())
            });
        }
        files.extend(layer.files.iter().map(|(path, packages)| (path.as_str(), packages.as_slice())));
    }
    files.into_values().flatten().cloned().collect()
}

#[cfg(test)]
mod tests;
