//! Images of layers: OCI manifest and config in, facts out.

use std::collections::BTreeMap;

use oci_spec::image::{
    Arch, Config, Descriptor, HistoryBuilder, ImageConfiguration, ImageManifest, ImageManifestBuilder, MediaType, Os,
    RootFsBuilder, SCHEMA_VERSION,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{BlobStore, Digest, EPOCH_TEXT, ImageError, Layer, Result};
use crate::base::model::ImageDigest;

#[derive(Debug, Clone)]
pub struct AddedLayer {
    pub layer: Layer,
    /// What made it, for `docker history`; must not vary between equal builds.
    pub created_by: String,
}

/// An image to be. What is left empty or none is as the base has it.
#[derive(Debug, Clone, Default)]
pub struct ImageSpec {
    /// Its layers come first, its config is the start. In the store.
    pub base: Option<ImageDigest>,
    /// Lowest first.
    pub layers: Vec<AddedLayer>,
    /// Added to the base's, replacing equal names.
    pub env: BTreeMap<String, String>,
    /// `uid:gid` or a name.
    pub user: Option<String>,
    pub working_dir: Option<String>,
    /// Added to the base's, replacing equal keys.
    pub labels: BTreeMap<String, String>,
    /// TCP.
    pub exposed_port: Option<u16>,
    /// Replaces the base's and, as with Docker, clears its command.
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    /// GOARCH; none means the base's, without a base that of this machine.
    pub architecture: Option<String>,
}

/// What manifest and config of a stored image say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// Of the config: what Docker calls the image id.
    pub config: Digest,
    /// Lowest first.
    pub layers: Vec<Layer>,
    pub env: BTreeMap<String, String>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub exposed_ports: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub architecture: String,
}

/// Writes config and manifest. The layers must be in the store.
pub fn assemble(blobs: &BlobStore, spec: &ImageSpec) -> Result<ImageDigest> {
    let (mut image, mut layers) = match &spec.base {
        Some(base) => {
            let manifest = manifest(blobs, base)?;
            (configuration(blobs, &manifest)?, layers(&manifest)?)
        }
        None => (ImageConfiguration::default(), Vec::new()),
    };
    if let Some(architecture) = &spec.architecture {
        image.set_architecture(Arch::from(architecture.as_str()));
    } else if spec.base.is_none() {
        image.set_architecture(Arch::from(host_architecture()));
    }
    image.set_os(Os::Linux).set_created(Some(EPOCH_TEXT.to_owned()));
    image.set_config(Some(process_config(image.config().clone().unwrap_or_default(), spec)));
    let mut history = image.history().clone().unwrap_or_default();
    for AddedLayer { layer, created_by } in &spec.layers {
        let step = HistoryBuilder::default().created(EPOCH_TEXT).created_by(created_by.as_str()).build();
        history.push(step.map_err(|error| unwritable(&error))?);
        layers.push(*layer);
    }
    image.set_history(Some(history));
    write(blobs, image, &layers)
}

/// Reads manifest and config; does not look at the layers.
pub fn inspect(blobs: &BlobStore, image: &ImageDigest) -> Result<ImageFacts> {
    let manifest = manifest(blobs, image)?;
    let image = configuration(blobs, &manifest)?;
    let config = image.config().clone().unwrap_or_default();
    let mut exposed_ports = config.exposed_ports().clone().unwrap_or_default();
    exposed_ports.sort_unstable();
    Ok(ImageFacts {
        config: digest(manifest.config())?,
        layers: layers(&manifest)?,
        env: config.env().iter().flatten().filter_map(|text| text.split_once('=')).map(owned).collect(),
        user: config.user().clone().filter(|user| !user.is_empty()),
        working_dir: config.working_dir().clone().filter(|dir| !dir.is_empty()),
        labels: config.labels().clone().unwrap_or_default().into_iter().collect(),
        exposed_ports,
        entrypoint: config.entrypoint().clone().unwrap_or_default(),
        cmd: config.cmd().clone().unwrap_or_default(),
        architecture: image.architecture().to_string(),
    })
}

/// The layers of an image, lowest first, with what its history says of them.
pub fn stacked(blobs: &BlobStore, image: &ImageDigest) -> Result<Vec<AddedLayer>> {
    let manifest = manifest(blobs, image)?;
    let history = configuration(blobs, &manifest)?.history().clone().unwrap_or_default();
    let mut steps = history.iter().filter(|step| !step.empty_layer().unwrap_or_default());
    let made_by = |step: &oci_spec::image::History| step.created_by().clone().unwrap_or_default();
    let layers = layers(&manifest)?.into_iter();
    Ok(layers.map(|layer| AddedLayer { layer, created_by: steps.next().map(made_by).unwrap_or_default() }).collect())
}

/// GOARCH of this machine.
pub(super) fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Stores `image` with exactly these layers; its diff ids are set here.
pub(super) fn write(blobs: &BlobStore, mut image: ImageConfiguration, layers: &[Layer]) -> Result<ImageDigest> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.digest.to_string()).collect();
    image.set_rootfs(RootFsBuilder::default().diff_ids(diff_ids).build().map_err(|error| unwritable(&error))?);
    let config = canonical(&image)?;
    let config_digest = blobs.put_bytes(&config)?;
    let mut descriptors = Vec::with_capacity(layers.len());
    for layer in layers {
        if !blobs.has(&layer.digest) {
            return Err(ImageError::Missing(layer.digest));
        }
        descriptors.push(descriptor(MediaType::ImageLayer, layer.size, &layer.digest)?);
    }
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(MediaType::ImageConfig, config.len() as u64, &config_digest)?)
        .layers(descriptors)
        .build()
        .map_err(|error| unwritable(&error))?;
    Ok(blobs.put_bytes(&canonical(&manifest)?)?.to_image())
}

/// Reads a document that another tool may have written: nulls, which some put for "not set", are dropped.
pub(super) fn parse<T: DeserializeOwned>(digest: &Digest, bytes: &[u8]) -> Result<T> {
    let mut value: Value = serde_json::from_slice(bytes).map_err(|error| invalid(digest, error))?;
    drop_nulls(&mut value);
    serde_json::from_value(value).map_err(|error| invalid(digest, error))
}

pub(super) fn digest(descriptor: &Descriptor) -> Result<Digest> {
    let text = descriptor.digest().to_string();
    text.parse().map_err(|_| ImageError::Invalid {
        digest: Digest::of(b""),
        reason: format!("a document names {text:?}, which is no SHA-256 digest"),
    })
}

fn process_config(mut config: Config, spec: &ImageSpec) -> Config {
    let mut env = config.env().clone().unwrap_or_default();
    env.retain(|text| !spec.env.contains_key(text.split('=').next().unwrap_or(text)));
    env.extend(spec.env.iter().map(|(name, value)| format!("{name}={value}")));
    config.set_env(Some(env));
    let mut labels = config.labels().clone().unwrap_or_default();
    labels.extend(spec.labels.clone());
    config.set_labels(if labels.is_empty() { None } else { Some(labels) });
    if let Some(user) = &spec.user {
        config.set_user(Some(user.clone()));
    }
    if let Some(dir) = &spec.working_dir {
        config.set_working_dir(Some(dir.clone()));
    }
    if let Some(port) = spec.exposed_port {
        config.set_exposed_ports(Some(vec![format!("{port}/tcp")]));
    }
    if let Some(entrypoint) = &spec.entrypoint {
        config.set_entrypoint(Some(entrypoint.clone())).set_cmd(None);
    }
    if let Some(cmd) = &spec.cmd {
        config.set_cmd(Some(cmd.clone()));
    }
    config
}

fn manifest(blobs: &BlobStore, image: &ImageDigest) -> Result<ImageManifest> {
    let digest = Digest::from(image);
    parse(&digest, &blobs.read(&digest)?)
}

fn configuration(blobs: &BlobStore, manifest: &ImageManifest) -> Result<ImageConfiguration> {
    let digest = digest(manifest.config())?;
    parse(&digest, &blobs.read(&digest)?)
}

fn layers(manifest: &ImageManifest) -> Result<Vec<Layer>> {
    manifest.layers().iter().map(|layer| Ok(Layer { digest: digest(layer)?, size: layer.size() })).collect()
}

fn descriptor(media_type: MediaType, size: u64, digest: &Digest) -> Result<Descriptor> {
    let digest: oci_spec::image::Digest = digest.to_string().parse().map_err(|error| unwritable(&error))?;
    Ok(Descriptor::new(media_type, size, digest))
}

/// JSON with sorted keys: the maps of `oci_spec` have no order of their own.
fn canonical(document: &impl Serialize) -> Result<Vec<u8>> {
    let value = serde_json::to_value(document).map_err(|error| unwritable(&error))?;
    Ok(value.to_string().into_bytes())
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn invalid(digest: &Digest, error: serde_json::Error) -> ImageError {
    ImageError::Invalid { digest: *digest, reason: error.to_string() }
}

fn unwritable(error: &dyn std::fmt::Display) -> ImageError {
    ImageError::Document(error.to_string())
}
