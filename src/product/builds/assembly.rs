//! The image of a build: the base with the packages it runs on, then the launch layers, then the workspace. Equal builds
//! give equal images: neither app nor commit nor time is in them.

use std::collections::{BTreeMap, HashSet};

use serde_json::json;

use super::export::Refused;
use super::{Built, Detected, Imaged};
use crate::base::model::ImageDigest;
use crate::machinery::image::{AddedLayer, BlobStore, ImageError, ImageSpec, Layer, assemble, inspect};

/// Blocks. `before` is the app's image before this one.
pub(super) fn image(
    blobs: &BlobStore,
    base: ImageDigest,
    before: Option<&ImageDigest>,
    detected: &Detected,
    built: &Built,
) -> Result<Imaged, Refused> {
    let web = built.processes.iter().find(|(name, _)| name.as_str() == "web").map(|(_, process)| process);
    let default = built.default.as_ref().and_then(|name| built.processes.get(name)).or(web);
    let mut layers = Vec::new();
    for layer in &built.layers {
        let digest =
            layer.digest.parse().map_err(|_| ImageError::Document(format!("{:?} is no digest", layer.digest)))?;
        layers.push(AddedLayer { layer: Layer { digest, size: layer.bytes }, created_by: layer.path.clone() });
    }
    let spec = ImageSpec {
        labels: labels(&base, detected, built),
        base: Some(base),
        layers,
        env: built.environment.clone(),
        user: Some("1000:1000".into()),
        working_dir: Some("/workspace".into()),
        entrypoint: Some(Vec::new()),
        cmd: default.map(|process| process.command.clone()),
        ..Default::default()
    };
    let image = assemble(blobs, &spec)?;
    let facts = inspect(blobs, &image)?;
    let known: HashSet<_> = match before.map(|before| inspect(blobs, before)) {
        Some(Ok(before)) => before.layers.into_iter().map(|layer| layer.digest).collect(),
        _ => HashSet::new(),
    };
    let new: Vec<_> = facts.layers.iter().filter(|layer| !known.contains(&layer.digest)).collect();
    Ok(Imaged {
        image,
        processes: built.processes.clone(),
        layers_total: facts.layers.len(),
        layers_new: new.len(),
        bytes_new: new.iter().map(|layer| layer.size).sum(),
    })
}

/// Labels of the platform specification ("Image labels"), and what the buildpacks named.
fn labels(base: &ImageDigest, detected: &Detected, built: &Built) -> BTreeMap<String, String> {
    let group = &detected.members;
    let processes: Vec<_> = built
        .processes
        .iter()
        .map(|(name, process)| {
            json!({ "type": name, "command": process.command, "working-dir": process.working_dir, "buildpackID": "" })
        })
        .collect();
    let members: Vec<_> = group.iter().map(|b| json!({ "id": b.id, "version": b.version })).collect();
    let layered: Vec<_> = group
        .iter()
        .map(|b| {
            let prefix = format!("{}/", b.directory());
            let own = built.layers.iter().filter_map(|layer| Some((layer.path.strip_prefix(&prefix)?, layer)));
            let own: BTreeMap<_, _> =
                own.map(|(name, layer)| (name, json!({ "sha": layer.digest, "launch": true }))).collect();
            json!({ "key": b.id, "version": b.version, "layers": own })
        })
        .collect();
    let workspace: Vec<_> =
        built.layers.iter().filter(|layer| layer.path == "workspace").map(|l| json!({ "sha": l.digest })).collect();

    let bom = built.layers.iter().find(|layer| layer.path == "sbom").map(|layer| json!({ "sha": layer.digest }));

    let mut labels = built.labels.clone();
    labels.retain(|key, _| !key.starts_with("io.hythe.") && !key.starts_with("io.buildpacks."));
    labels.insert(
        "io.buildpacks.build.metadata".into(),
        json!({ "processes": processes, "buildpacks": members, "launcher": {} }).to_string(),
    );
    labels.insert(
        "io.buildpacks.lifecycle.metadata".into(),
        json!({ "app": workspace, "sbom": bom, "buildpacks": layered, "runImage": { "reference": base.as_str() } })
            .to_string(),
    );
    labels.insert("io.hythe.buildpacks".into(), detected.group.join(" "));
    labels
}
