//! The image of a build: the base with the packages it runs on, then the launch layers, then the workspace. Equal builds
//! give equal images: neither app nor commit nor time is in them.

use std::collections::{BTreeMap, HashSet};

use serde_json::json;

use super::export::Refused;
use super::seam::{self, GROUP, Ground, LIFECYCLE, Own, PROCESSES, Seam};
use super::{Built, BuiltLayer, Detected, Imaged, Ingredient};
use crate::base::model::{ImageDigest, PORT, Processes};
use crate::machinery::image::{AddedLayer, BlobStore, ImageError, ImageSpec, Layer, assemble, inspect, stacked};

/// Blocks. `before` is the app's image before this one.
pub(super) fn image(
    blobs: &BlobStore,
    ground: &Ground,
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
    let mut labels = labels(detected, built);
    let own = Own {
        packages: ground.packages.iter().filter_map(Ingredient::package).map(str::to_owned).collect(),
        variables: built.environment.keys().cloned().collect(),
        labels: labels.keys().cloned().collect(),
        port: web.map(|_| PORT),
    };
    ground.mark(blobs, &mut labels, &own)?;
    let command = default.map(|process| process.command.clone());
    let image = assemble(blobs, &spec(ground, layers, (labels, built.environment.clone()), command, &own))?;
    imaged(blobs, image, before, &built.processes)
}

/// The same app on another ground, as a build there would have made it; nothing of its layers is read. Blocks.
pub(super) fn rebased(blobs: &BlobStore, image: &ImageDigest, ground: &Ground) -> Result<ImageDigest, Refused> {
    let facts = inspect(blobs, image)?;
    let Seam { own, beneath, .. } = Seam::read(&facts).map_err(ImageError::Unfit)?;
    let layers = stacked(blobs, image)?.split_off(beneath);
    let mut labels = seam::own_labels(&facts, &own);
    ground.mark(blobs, &mut labels, &own)?;
    let environment = facts.env.into_iter().filter(|(name, _)| own.variables.contains(name)).collect();
    let command = Some(facts.cmd).filter(|command| !command.is_empty());
    Ok(assemble(blobs, &spec(ground, layers, (labels, environment), command, &own))?)
}

fn spec(
    ground: &Ground,
    layers: Vec<AddedLayer>,
    (labels, env): (BTreeMap<String, String>, BTreeMap<String, String>),
    cmd: Option<Vec<String>>,
    own: &Own,
) -> ImageSpec {
    ImageSpec {
        base: Some(ground.image.clone()),
        layers,
        labels,
        env,
        user: Some("1000:1000".into()),
        working_dir: Some("/workspace".into()),
        entrypoint: Some(Vec::new()),
        cmd,
        exposed_port: own.port,
        ..Default::default()
    }
}

/// What is new in an image since the one before.
pub(super) fn imaged(
    blobs: &BlobStore,
    image: ImageDigest,
    before: Option<&ImageDigest>,
    processes: &Processes,
) -> Result<Imaged, Refused> {
    let facts = inspect(blobs, &image)?;
    let known: HashSet<_> = match before.map(|before| inspect(blobs, before)) {
        Some(Ok(before)) => before.layers.into_iter().map(|layer| layer.digest).collect(),
        _ => HashSet::new(),
    };
    let new: Vec<_> = facts.layers.iter().filter(|layer| !known.contains(&layer.digest)).collect();
    Ok(Imaged {
        image,
        processes: processes.clone(),
        layers_total: facts.layers.len(),
        layers_new: new.len(),
        bytes_new: new.iter().map(|layer| layer.size).sum(),
    })
}

/// Labels of the platform specification ("Labels"), and what the buildpacks named. Not `io.buildpacks.project.metadata`: a
/// commit in it would make another image of each equal tree; releases tell the commit.
fn labels(detected: &Detected, built: &Built) -> BTreeMap<String, String> {
    let group = &detected.members;
    let processes: Vec<_> = built
        .processes
        .iter()
        .map(|(name, process)| {
            let (of, command) = (built.origins.get(name), &process.command);
            let of = of.map(String::as_str).unwrap_or_default();
            json!({ "type": name, "command": command, "working-dir": process.working_dir, "buildpackID": of })
        })
        .collect();
    let members: Vec<_> = group.iter().map(|b| json!({ "id": b.id, "version": b.version })).collect();
    let layered: Vec<_> = group
        .iter()
        .map(|b| {
            let prefix = format!("{}/", b.directory());
            let own = built.layers.iter().filter_map(|layer| Some((layer.path.strip_prefix(&prefix)?, layer)));
            let about = |layer: &BuiltLayer| {
                let (sha, data) = (&layer.digest, &layer.data);
                json!({ "sha": sha, "launch": true, "build": layer.build, "cache": layer.cache, "data": data })
            };
            let own: BTreeMap<_, _> = own.map(|(name, layer)| (name, about(layer))).collect();
            json!({ "key": b.id, "version": b.version, "layers": own })
        })
        .collect();
    let workspace: Vec<_> =
        built.layers.iter().filter(|layer| layer.path == "workspace").map(|l| json!({ "sha": l.digest })).collect();

    let one =
        |path: &str| built.layers.iter().find(|layer| layer.path == path).map(|layer| json!({ "sha": layer.digest }));

    let mut labels = built.labels.clone();
    labels.retain(|key, _| !key.starts_with("io.hythe.") && !key.starts_with("io.buildpacks."));
    labels
        .insert(PROCESSES.into(), json!({ "processes": processes, "buildpacks": members, "launcher": {} }).to_string());
    labels.insert(
        LIFECYCLE.into(),
        json!({ "app": workspace, "sbom": one("sbom"), "launcher": one("launcher"), "buildpacks": layered })
            .to_string(),
    );
    labels.insert(GROUP.into(), detected.group.join(" "));
    labels
}
