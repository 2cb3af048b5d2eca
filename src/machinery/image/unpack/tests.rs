use std::io::Write as _;

use serde_json::{Value, json};

use super::*;

const LIMIT: u64 = 1 << 20;

struct Site {
    _dir: tempfile::TempDir,
    blobs: BlobStore,
    contents: Contents,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path()).unwrap();
        Self { _dir: dir, blobs, contents: Contents::new() }
    }

    fn put(&mut self, bytes: &[u8], long: bool) -> ContentDigest {
        let stored = self.blobs.put_bytes(bytes).unwrap();
        let like = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
        let digest = content_digest(bytes, long.then_some(&like));
        self.contents.insert(digest.clone(), stored);
        digest
    }

    /// An image of these layers (type, what is sent, what it unpacks to); `change` may spoil its config.
    fn image(&mut self, layers: &[(&str, Vec<u8>, Vec<u8>)], change: impl FnOnce(&mut Value)) -> ContentDigest {
        let diff_ids: Vec<_> = layers.iter().map(|(_, _, tar)| Digest::of(tar).to_string()).collect();
        let mut config = json!({
            "architecture": host_architecture(), "os": "linux", "config": {"Volumes": {"/x": {}}, "Cmd": ["a"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        change(&mut config);
        let config = config.to_string().into_bytes();
        let long = layers.len() > 1;
        let descriptors: Vec<_> = layers
            .iter()
            .map(|(kind, packed, _)| json!({"mediaType": kind, "digest": self.put(packed, long), "size": packed.len()}))
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": crate::machinery::image::OCI_MANIFEST, "layers": descriptors,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": self.put(&config, long), "size": config.len()},
        });
        self.put(manifest.to_string().as_bytes(), false)
    }

    fn index(&mut self, below: &[(&ContentDigest, Option<&str>)]) -> ContentDigest {
        let below: Vec<_> = below
            .iter()
            .map(|(digest, architecture)| {
                let kind = if architecture.is_some() {
                    crate::machinery::image::OCI_MANIFEST
                } else {
                    crate::machinery::image::OCI_INDEX
                };
                let mut one = json!({"mediaType": kind, "digest": digest, "size": 1});
                if let Some(architecture) = architecture {
                    one["platform"] = json!({"os": "linux", "architecture": architecture});
                }
                one
            })
            .collect();
        let kind = crate::machinery::image::OCI_INDEX;
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": below}).to_string();
        self.put(index.as_bytes(), false)
    }

    fn unpack(&self, manifest: &ContentDigest) -> Result<ImageDigest> {
        unpack(&self.blobs, &self.contents, manifest, LIMIT)
    }

    #[track_caller]
    fn refuses(&self, manifest: &ContentDigest, text: &str) {
        let error = self.unpack(manifest).unwrap_err();
        assert!(matches!(error, ImageError::Unfit(_)) && error.to_string().contains(text), "{error}");
    }
}

fn tar(path: &str, kind: EntryType) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let link = if kind == EntryType::Link { "../../etc/passwd" } else { "/etc/passwd" };
    header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
    let content: &[u8] = if kind == EntryType::Regular { b"content" } else { b"" };
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, content).unwrap();
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

fn packed(tar: Vec<u8>) -> (&'static str, Vec<u8>, Vec<u8>) {
    (GZIP, gzip(&tar), tar)
}

#[test]
fn an_image_becomes_the_stores_own() {
    let mut site = Site::new();
    let (one, two) = (tar("./one", EntryType::Regular), tar("/two", EntryType::Symlink));
    let image = site.image(&[(PLAIN, one.clone(), one.clone()), packed(two.clone())], |_| ());
    let unpacked = site.unpack(&image).unwrap();
    let facts = crate::machinery::image::inspect(&site.blobs, &unpacked).unwrap();
    let layers: Vec<_> = facts.layers.iter().map(|layer| layer.digest).collect();
    assert_eq!((layers, facts.cmd), (vec![Digest::of(&one), Digest::of(&two)], vec!["a".to_owned()]));
    let config = String::from_utf8(site.blobs.read(&facts.config).unwrap()).unwrap();
    assert!(!config.contains("Volumes"), "{config}");
    assert_eq!(site.unpack(&image).unwrap(), unpacked, "again is once");
    let again = site.image(&[(ZSTD, zstd(&one), one.clone()), (ZSTD, zstd(&two), two.clone())], |_| ());
    let other = crate::machinery::image::inspect(&site.blobs, &site.unpack(&again).unwrap()).unwrap();
    assert_eq!(other.layers, facts.layers, "however it is packed");
    // The same through indexes, past those of other machines.
    let other = site.image(&[], |config| config["architecture"] = json!("other"));
    let inner = site.index(&[(&other, Some("other")), (&image, Some(host_architecture()))]);
    let outer = site.index(&[(&inner, None)]);
    assert_eq!(site.unpack(&outer).unwrap(), unpacked);
    let strange = site.index(&[(&other, Some("other"))]);
    site.refuses(&strange, "no image for linux on");
    site.refuses(&other, "and this server is linux on");
}

#[test]
fn hostile_images_are_refused() {
    let mut site = Site::new();
    let good = tar("a", EntryType::Regular);
    let site_blobs = site.blobs.clone();
    let mut refused = |layers: &[(&str, Vec<u8>, Vec<u8>)], text: &str| {
        let image = site.image(layers, |_| ());
        site.refuses(&image, text);
    };
    refused(&[packed(tar("../a", EntryType::Regular))], "leaves the tree");
    refused(&[packed(tar("a/../../b", EntryType::Regular))], "leaves the tree");
    refused(&[packed(tar("a", EntryType::Link))], "leaves the tree");
    refused(&[packed(tar("dev/sda", EntryType::Block))], "is a device");
    refused(&[packed(b"no tar at all, but long enough to be looked at as one".repeat(20))], "no tar archive");
    refused(&[(GZIP, good.clone(), good.clone())], "cannot be unpacked");
    refused(&[(GZIP, gzip(&good), b"another".to_vec())], "something else than its config says");
    refused(&[(ZSTD, good.clone(), good.clone())], "cannot be unpacked");
    refused(&[(ZSTD, zstd(&good)[..40].to_vec(), good.clone())], "cannot be unpacked");
    refused(&[(ZSTD, zstd(&good), b"another".to_vec())], "something else than its config says");
    refused(&[(ZSTD, zstd(&tar("../a", EntryType::Regular)), tar("../a", EntryType::Regular))], "leaves the tree");
    // A frame that wants two gigabytes of memory to be read with: its window is 2^31 bytes (RFC 8878, 3.1.1.1.2).
    refused(&[(ZSTD, [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0].to_vec(), good.clone())], "cannot be unpacked");
    refused(&[("text/plain", good.clone(), good.clone())], "no file system");
    // The content of another's layer, which the store has, is not reached by naming it.
    let secret = tar("secret", EntryType::Regular);
    site_blobs.put_bytes(&secret).unwrap();
    refused(&[(GZIP, gzip(&good), secret)], "something else than its config says");
    // Little that unpacks to much.
    refused(&[packed(vec![0; 2 << 20])], "more bytes than an image may have");
    let zeros = vec![0; 64 << 20];
    let bomb = zstd(&zeros);
    assert!(bomb.len() < 16 << 10, "{}", bomb.len());
    refused(&[(ZSTD, bomb, zeros)], "more bytes than an image may have");
    refused(&[packed(vec![0; 600 << 10]), packed([vec![0; 600 << 10], good].concat())], "more bytes");
    let image = site.image(&[], |config| config["rootfs"]["diff_ids"] = json!(["sha256:x"]));
    site.refuses(&image, "disagree about the layers");
    let artifact = site.image(&[], |config| *config = json!({}));
    site.refuses(&artifact, "no image's config");
}

#[test]
fn only_content_of_the_repository_is_reached_and_indexes_have_a_depth() {
    let mut site = Site::new();
    let image = site.image(&[packed(tar("a", EntryType::Regular))], |_| ());
    let mut index = site.index(&[(&image, Some(host_architecture()))]);
    for _ in 0..DEEPEST {
        index = site.index(&[(&index, None)]);
    }
    site.refuses(&index, "nested");
    let wide = site.index(&vec![(&index, None); 100]);
    site.refuses(&wide, "nested");
    let layer = content_digest(&gzip(&tar("a", EntryType::Regular)), None);
    assert!(site.contents.remove(&layer).is_some());
    site.refuses(&image, "is not in this repository");
    site.refuses(&content_digest(b"nothing", None), "is not in this repository");
}
