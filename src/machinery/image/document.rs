//! Manifests and indexes that somebody pushed: what of them matters to a registry. Hostile input: bounded, parsed by type,
//! and whatever else stands in them is kept as it is and never looked at.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::base::model::{ContentDigest, ManifestFacts};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Of Docker before 1.10, still tried by engines of today when a push was refused.
pub const DOCKER_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1";

/// Bytes of a document (OCI distribution spec, "Pushing manifests": at least 4 MiB).
pub const LARGEST_DOCUMENT: usize = 4 << 20;
/// Of what one document names. More than any image has, and few enough to be looked up one by one.
const MOST_NAMED: usize = 500;
/// Bytes of the annotations of a document that has a subject: lists of referrers repeat them.
const MOST_ANNOTATED: usize = 16 << 10;
/// A type is shown in headers.
const LONGEST_TYPE: usize = 255;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub media_type: String,
    pub subject: Option<ContentDigest>,
    pub facts: ManifestFacts,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    #[allow(dead_code, reason = "it must be there, and a number")]
    size: u64,
}

impl Document {
    /// `declared` is the type that it was sent as. The error says what is wrong with it, for its pusher.
    pub fn read(bytes: &[u8], declared: Option<&str>) -> Result<Self, String> {
        if bytes.len() > LARGEST_DOCUMENT {
            return Err(format!("a manifest has at most {LARGEST_DOCUMENT} bytes"));
        }
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| format!("it cannot be read: {error}"))?;
        let media_type = media_type(&raw, declared)?;
        if raw.schema_version != Some(2) {
            return Err("schemaVersion must be 2".into());
        }
        let mut facts = ManifestFacts::default();
        if raw.subject.is_some() {
            facts.annotations = raw.annotations.unwrap_or_default();
            if facts.annotations.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MOST_ANNOTATED {
                return Err(format!("one with a subject has annotations of at most {MOST_ANNOTATED} bytes"));
            }
        }
        if is_index(&media_type) {
            if raw.config.is_some() || raw.layers.is_some() {
                return Err("an index has neither config nor layers".into());
            }
            facts.artifact_type = raw.artifact_type;
            facts.manifests = digests(raw.manifests.unwrap_or_default().iter())?;
        } else {
            if raw.manifests.is_some() {
                return Err("an image has no manifests of its own".into());
            }
            let config = raw.config.ok_or("it has no config")?;
            let own = raw.layers.iter().flatten().filter(|layer| !is_foreign(&layer.media_type));
            facts.blobs = digests(std::iter::once(&config).chain(own))?;
            facts.artifact_type = raw.artifact_type.filter(|kind| !kind.is_empty()).or(Some(config.media_type));
        }
        for text in facts.artifact_type.iter() {
            check_type(text)?;
        }
        let subject = raw.subject.map(|subject| digest(&subject.digest)).transpose()?;
        Ok(Self { media_type, subject, facts })
    }
}

pub fn is_index(media_type: &str) -> bool {
    [OCI_INDEX, DOCKER_LIST].contains(&media_type)
}

/// What it was sent as, what it says itself, or what its parts say; the first two must agree.
fn media_type(raw: &Raw, declared: Option<&str>) -> Result<String, String> {
    let declared = declared.map(|text| text.split(';').next().unwrap_or(text).trim()).filter(|text| !text.is_empty());
    let known = match (declared, raw.media_type.as_deref().filter(|text| !text.is_empty())) {
        (Some(sent), Some(own)) if sent != own => {
            return Err("the content type differs from the mediaType in the manifest".into());
        }
        (Some(sent), _) => sent,
        (None, Some(own)) => own,
        (None, None) if raw.manifests.is_some() => OCI_INDEX,
        (None, None) => OCI_MANIFEST,
    };
    if [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST].contains(&known) {
        Ok(known.to_owned())
    } else {
        Err("its media type is none of an OCI image manifest, an OCI index, a Docker manifest (v2) or manifest list"
            .into())
    }
}

/// Layers that their makers forbid to push: clients fetch them from elsewhere.
fn is_foreign(media_type: &str) -> bool {
    media_type.contains(".nondistributable.") || media_type.contains(".foreign.")
}

fn digests<'a>(descriptors: impl Iterator<Item = &'a Descriptor>) -> Result<Vec<ContentDigest>, String> {
    let mut all = Vec::new();
    for descriptor in descriptors {
        check_type(&descriptor.media_type)?;
        all.push(digest(&descriptor.digest)?);
        if all.len() > MOST_NAMED {
            return Err(format!("it names more than {MOST_NAMED} others"));
        }
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

fn digest(text: &str) -> Result<ContentDigest, String> {
    text.parse().map_err(|fault| format!("a digest in it {fault}"))
}

fn check_type(text: &str) -> Result<(), String> {
    let well = text.len() <= LONGEST_TYPE && text.bytes().all(|b| b.is_ascii_graphic());
    if well { Ok(()) } else { Err("a media type in it is none".into()) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn name(seed: &str) -> String {
        format!("sha256:{}", seed.repeat(64))
    }

    fn descriptor(kind: &str, seed: &str) -> Value {
        json!({"mediaType": kind, "digest": name(seed), "size": 1})
    }

    fn image() -> Value {
        json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", "c"),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "a"),
                descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "b")],
            "subject": descriptor(OCI_MANIFEST, "d"), "annotations": {"k": "v"}, "own": {"field": 1},
        })
    }

    fn read(value: &Value, declared: Option<&str>) -> Result<Document, String> {
        Document::read(value.to_string().as_bytes(), declared)
    }

    #[test]
    fn what_must_be_there_is_read() {
        let found = read(&image(), Some(&format!("{OCI_MANIFEST}; charset=utf-8"))).unwrap();
        let blobs: Vec<_> = found.facts.blobs.iter().map(ContentDigest::as_str).collect();
        assert_eq!(blobs, [name("a"), name("c")], "the layer from elsewhere need not be here");
        assert_eq!(found.subject.map(String::from), Some(name("d")));
        assert_eq!(found.facts.artifact_type.as_deref(), Some("application/vnd.oci.image.config.v1+json"));
        assert_eq!(found.facts.annotations["k"], "v");
        let index = json!({"schemaVersion": 2, "manifests": [descriptor(OCI_MANIFEST, "a")], "artifactType": "a/b"});
        let found = read(&index, None).unwrap();
        assert_eq!((found.media_type.as_str(), found.facts.manifests.len()), (OCI_INDEX, 1));
        assert_eq!(found.facts.artifact_type.as_deref(), Some("a/b"));
        assert!(read(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}), None).is_ok());
    }

    #[test]
    fn hostile_documents_are_refused_with_a_cause() {
        let change = |change: &dyn Fn(&mut Value)| {
            let mut value = image();
            change(&mut value);
            read(&value, None).unwrap_err()
        };
        assert!(change(&|v| v["schemaVersion"] = json!(1)).contains("schemaVersion"));
        assert!(change(&|v| v["config"]["digest"] = json!("sha256:../../etc/passwd")).contains("digest"));
        assert!(change(&|v| v["subject"]["digest"] = json!("sha256:x")).contains("digest"));
        assert!(change(&|v| v["layers"][0]["size"] = json!(-1)).contains("read"));
        assert!(change(&|v| v["config"] = Value::Null).contains("config"));
        assert!(change(&|v| v["manifests"] = json!([])).contains("manifests"));
        assert!(change(&|v| v["mediaType"] = json!("text/html")).contains("media type"));
        assert!(change(&|v| v["artifactType"] = json!("a\r\nb")).contains("media type"));
        assert!(read(&image(), Some(OCI_INDEX)).unwrap_err().contains("content type"));
        assert!(change(&|v| v["annotations"] = json!({"k": "v".repeat(MOST_ANNOTATED)})).contains("annotations"));
        let many: Vec<_> = (0..=MOST_NAMED).map(|_| descriptor("a/b", "a")).collect();
        assert!(change(&|v| v["layers"] = json!(many)).contains("more than"));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Document::read(format!("{{\"x\":{deep}}}").as_bytes(), None).is_err());
        assert!(Document::read(&vec![b' '; LARGEST_DOCUMENT + 1], None).unwrap_err().contains("bytes"));
    }
}
