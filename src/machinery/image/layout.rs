//! Images as files that people bring: an OCI image layout in a tar (OCI image specification, "Image Layout"), or what `docker
//! save` writes; each perhaps packed. Nothing of it is ever a file of its name here, and no digest is believed. Blocks.

use std::fs::File as Opened;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};

use oci_spec::image::ImageIndex;

use super::assemble::parse;
use super::packing::Packing;
use super::saved::{self, File, Files, Listed, MANIFEST, Saved, named};
use super::source::Source;
use super::unpack::sha512;
use super::{BlobStore, Contents, Digest, ImageError, Result};
use crate::base::model::ContentDigest;

const LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";
const BLOBS: &str = "blobs/";
/// Entries that are looked at before an archive is taken for sources.
const MOST_LOOKS: usize = 10_000;
const LARGEST_LIST: u64 = 4 << 20;

/// Whether the archive is an image, and not the files of an app: it has nothing but what images have, and says so itself.
pub fn is_image(archive: &Opened, most: u64) -> io::Result<bool> {
    let mut source = Source::new(BufReader::with_capacity(64 << 10, reader(archive)?.take(most)));
    let (mut layout, mut index, mut list) = (false, false, false);
    for _ in 0..MOST_LOOKS {
        let entry = match source.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(layout && index || list),
            Err(_) => return Ok(false),
        };
        let path = String::from_utf8_lossy(&entry.path).trim_start_matches("./").to_owned();
        match path.as_str() {
            "" | "repositories" => {}
            LAYOUT => layout = true,
            INDEX => index = true,
            MANIFEST if entry.size <= LARGEST_LIST => {
                let mut bytes = Vec::new();
                source.read_to_end(&mut bytes)?;
                list = serde_json::from_slice::<Vec<Listed>>(&bytes).is_ok_and(|all| !all.is_empty());
            }
            path if path.starts_with(BLOBS) || is_digest(path) => {}
            _ => return Ok(false),
        }
    }
    Ok(false)
}

/// `<hex>/…`, `<hex>.json`, `<hex>.tar`: as older engines name what they save.
fn is_digest(path: &str) -> bool {
    let hex = path.bytes().take_while(u8::is_ascii_hexdigit).count();
    hex == 64 && matches!(path.as_bytes().get(hex), None | Some(b'/' | b'.'))
}

/// `most`: bytes of all that is in it.
pub fn take_image(blobs: &BlobStore, archive: &Opened, most: u64) -> Result<Saved> {
    let files = saved::read(blobs, reader(archive).map_err(ImageError::Stream)?, most)?;
    if files.contains_key(LAYOUT) { layout(blobs, &files) } else { saved::saved(blobs, &files, false) }
}

/// As `take_image`; none if the file is no image.
pub fn take_if_image(blobs: &BlobStore, archive: &Opened, most: u64) -> Result<Option<Saved>> {
    if is_image(archive, most).map_err(ImageError::Stream)? {
        take_image(blobs, archive, most).map(Some)
    } else {
        Ok(None)
    }
}

/// From its beginning.
fn reader(archive: &Opened) -> io::Result<Box<dyn Read + '_>> {
    let (mut archive, mut head) = (archive, Vec::with_capacity(4));
    archive.seek(SeekFrom::Start(0))?;
    archive.take(4).read_to_end(&mut head)?;
    archive.seek(SeekFrom::Start(0))?;
    Packing::beginning(&head).reader(BufReader::with_capacity(256 << 10, archive))
}

fn layout(blobs: &BlobStore, files: &Files) -> Result<Saved> {
    let Some(File::Document(bytes)) = files.get(INDEX) else {
        return Err(unfit("the image layout has no index.json, or too large a one"));
    };
    let index: ImageIndex =
        parse(&Digest::of(bytes), bytes).map_err(|error| unfit(format!("its index.json cannot be read: {error}")))?;
    let mut contents = Contents::new();
    for (path, file) in files.iter().filter(|(path, _)| path.starts_with(BLOBS)) {
        let name = path[BLOBS.len()..].replacen('/', ":", 1);
        let (Ok(name), File::Blob { digest, .. }) = (name.parse::<ContentDigest>(), file) else {
            return Err(unfit(format!("{path:?} is no blob")));
        };
        let found = match name.is_sha512() {
            true => sha512(blobs.open_blob(digest)?).map_err(ImageError::Stream)?,
            false => digest.to_string(),
        };
        if found != name.to_string() {
            return Err(unfit(format!("{path:?} has the digest {found}")));
        }
        contents.insert(name, *digest);
    }
    let manifest: ContentDigest = match index.manifests().as_slice() {
        [] => return Err(unfit("its index.json names no image")),
        [one] => one.digest().to_string().parse().map_err(|_| unfit("its index.json names no digest"))?,
        // One image for several machines; `unpack` takes the one for this.
        all if all.iter().all(|descriptor| descriptor.platform().is_some()) => {
            let stored = blobs.put_bytes(bytes)?;
            contents.insert(named(&stored), stored);
            named(&stored)
        }
        all => return Err(unfit(format!("the layout has {} images; write one alone", all.len()))),
    };
    Ok(Saved { contents, manifest })
}

fn unfit(reason: impl Into<String>) -> ImageError {
    ImageError::Unfit(reason.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::{Value, json};

    use super::*;

    fn opened(files: &[(&str, &[u8])], packed: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Opened {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            tar.append_data(&mut header, path, *content).unwrap();
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&packed(tar.into_inner().unwrap())).unwrap();
        file
    }

    fn plain(files: &[(&str, &[u8])]) -> Opened {
        opened(files, |tar| tar)
    }

    fn take(archive: &Opened) -> Result<Saved> {
        let dir = tempfile::tempdir().unwrap();
        take_image(&BlobStore::open(dir.path()).unwrap(), archive, 1 << 20)
    }

    /// Of one manifest, which is `content`.
    fn index(content: &[u8], more: usize) -> Vec<u8> {
        let one = json!({
            "mediaType": crate::machinery::image::OCI_MANIFEST,
            "digest": Digest::of(content).to_string(),
            "size": content.len(),
        });
        let all: Vec<Value> = vec![one; more];
        json!({"schemaVersion": 2, "manifests": all}).to_string().into_bytes()
    }

    #[test]
    fn an_image_is_known_by_what_is_in_it() {
        let hex = "a".repeat(64);
        let (blob, config) = (format!("blobs/sha256/{hex}"), format!("{hex}.json"));
        let list = br#"[{"Config":"c","RepoTags":null,"Layers":[]}]"#.as_slice();
        let layout: [(&str, &[u8]); 3] = [(&blob, b"x"), ("oci-layout", b"{}"), ("index.json", b"{}")];
        let gzip = |tar: Vec<u8>| {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(&tar).unwrap();
            out.finish().unwrap()
        };
        for archive in [
            plain(&layout),
            opened(&layout, gzip),
            opened(&layout, |tar| zstd::encode_all(tar.as_slice(), 1).unwrap()),
            plain(&[(&config, b"{}"), ("manifest.json", list)]),
        ] {
            assert!(is_image(&archive, 1 << 20).unwrap());
        }
        for sources in [
            plain(&[]),
            plain(&[("server.js", b"x"), ("oci-layout", b"{}"), ("index.json", b"{}")]),
            plain(&[("index.json", b"{}"), ("manifest.json", br#"{"name":"a web app"}"#)]),
            plain(&[("manifest.json", b"[]")]),
            plain(&[("oci-layout", b"{}"), (&blob, b"x")]),
            opened(&layout, |tar| tar[..700].to_vec()),
            opened(&[], |_| b"PK\x03\x04 and nothing else".to_vec()),
        ] {
            assert!(!is_image(&sources, 1 << 20).unwrap());
        }
        assert!(!is_image(&plain(&layout), 600).unwrap(), "no more is looked through");
    }

    #[test]
    fn no_digest_of_a_layout_is_believed() {
        let name = |content: &[u8]| format!("blobs/sha256/{}", &Digest::of(content).to_string()[7..]);
        let (right, wrong) = (name(b"right"), name(b"wrong"));
        let with = |path: &str, index: &[u8]| plain(&[(path, b"right"), ("oci-layout", b"{}"), ("index.json", index)]);
        let taken = take(&with(&right, &index(b"right", 1))).unwrap();
        assert_eq!(taken.manifest.to_string(), Digest::of(b"right").to_string());
        assert_eq!(taken.contents.len(), 1);
        for (archive, cause) in [
            (with(&wrong, &index(b"right", 1)), "has the digest sha256:"),
            (with("blobs/sha256/passwd", &index(b"right", 1)), "is no blob"),
            (with(&right, &index(b"right", 0)), "names no image"),
            (with(&right, &index(b"right", 2)), "has 2 images"),
            (with(&right, b"[]"), "index.json cannot be read"),
            (plain(&[("oci-layout", b"{}")]), "no index.json"),
            (plain(&[("oci-layout", b"{}"), (&right, &[0; 2 << 20])]), "more bytes"),
        ] {
            let said = take(&archive).unwrap_err().to_string();
            assert!(said.contains(cause), "{cause}: {said}");
        }
    }
}
