//! For processes whose environment is known at their start only (`exec.d`), or that have one of their own: a tiny program
//! in the image, before their command. Images that need none have none.
//!
//! What people set for the environment goes before what layers say, as everywhere on this platform: a variable that does
//! not have the image's value at the start was set by somebody.

use std::collections::BTreeMap;

use super::environment::{self, Variables};
use super::result::FoundLayer;
use crate::base::model::{Process, ProcessName};
use crate::machinery::image::{BlobStore, ImageError, Layer, LayerWriter};

const PROGRAM: &str = "/cnb/lifecycle/launch";
const SCRIPT: &str = include_str!("launcher/launch.pl");

/// What stands before the command of one process, as the program reads it.
fn plan(layers: &[FoundLayer], r#type: &str, image: &Variables) -> Option<String> {
    let own = environment::of_process(layers, r#type);
    let mut words = Vec::new();
    for (name, value) in own.iter().flatten().filter(|(name, value)| image.get(*name) != Some(value)) {
        words.extend(["set".to_owned(), name.clone(), image.get(name).cloned().unwrap_or_default(), value.clone()]);
    }
    // First those for all, then those for this type ("Launch").
    let of_type = format!("exec.d/{}/", r#type);
    for (start, deep) in [("exec.d/", false), (of_type.as_str(), true)] {
        for layer in layers.iter().filter(|layer| layer.launch) {
            let own = layer.scripts.iter().filter_map(|script| Some((script, script.strip_prefix(start)?)));
            for (script, _) in own.filter(|(_, rest)| deep || !rest.contains('/')) {
                words.extend(["run".to_owned(), format!("/layers/{}/{script}", layer.path())]);
            }
        }
    }
    (!words.is_empty()).then(|| words.into_iter().map(|word| word + "\0").collect())
}

/// Puts the program before the processes that need it, and gives the layer with it, if one does. `types`: what buildpacks
/// call the processes. Blocks.
pub(super) fn wrap(
    blobs: &BlobStore,
    layers: &[FoundLayer],
    image: &Variables,
    types: &BTreeMap<ProcessName, String>,
    processes: &mut BTreeMap<ProcessName, Process>,
) -> Result<Option<Layer>, ImageError> {
    const ROOT: (u64, u64) = (0, 0);
    let mut writer = None;
    for (name, process) in processes {
        let r#type = types.get(name).map_or(name.as_str(), String::as_str);
        let Some(plan) = plan(layers, r#type, image) else { continue };
        let writer = writer.get_or_insert_with(|| LayerWriter::new(blobs));
        let file = format!("cnb/process/{name}.plan");
        writer.file(&file, 0o644, ROOT, plan.as_bytes())?;
        process.command.splice(0..0, [PROGRAM.to_owned(), format!("/{file}")]);
    }
    let Some(mut writer) = writer else { return Ok(None) };
    writer.file(PROGRAM.trim_start_matches('/'), 0o755, ROOT, SCRIPT.as_bytes())?;
    writer.finish().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(scripts: &[&str], environment: &[(&str, &str, &str)]) -> FoundLayer {
        FoundLayer {
            buildpack: "one".into(),
            name: "x".into(),
            launch: true,
            scripts: scripts.iter().map(|script| (*script).to_owned()).collect(),
            environment: environment
                .iter()
                .map(|(folder, file, text)| (((*folder).to_owned(), (*file).to_owned()), (*text).to_owned()))
                .collect(),
            ..FoundLayer::default()
        }
    }

    #[test]
    fn a_process_without_needs_starts_as_it_is() {
        let layers = [layer(&["exec.d/worker/a", "profile.d/x"], &[("env.launch/worker", "A", "x")])];
        let image = environment::at_launch(layers.iter());
        assert_eq!(plan(&layers, "web", &image), None);
        let worker = plan(&layers, "worker", &image).unwrap();
        assert_eq!(worker, "set\0A\0\0x\0run\0/layers/one/x/exec.d/worker/a\0");
    }

    #[test]
    fn programs_for_all_run_before_those_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path()).unwrap();
        let layers = [layer(&["exec.d/web/first", "exec.d/z"], &[])];
        let process = Process { command: vec!["run".into()], working_dir: None, port: None };
        let mut processes = BTreeMap::from([("web".parse().unwrap(), process)]);
        let image = environment::at_launch(layers.iter());
        assert!(wrap(&blobs, &layers, &image, &BTreeMap::new(), &mut processes).unwrap().is_some());
        let command = &processes.values().next().unwrap().command;
        assert_eq!(command, &["/cnb/lifecycle/launch", "/cnb/process/web.plan", "run"]);
        let plan = plan(&layers, "web", &image).unwrap();
        assert_eq!(plan, "run\0/layers/one/x/exec.d/z\0run\0/layers/one/x/exec.d/web/first\0");
    }
}
