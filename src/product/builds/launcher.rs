//! For processes whose environment is known at their start only (`exec.d`), or that have one of their own: a tiny program
//! in the image, before their command. Images that need none have none. What people run beside the processes of such an
//! image (`run`, schedules, checks) stands behind the program as well, and gets what is for no type in particular.
//!
//! What people set for the environment goes before what layers say, as everywhere on this platform: a variable that does
//! not have the image's value at the start was set by somebody.

use std::collections::BTreeMap;

use super::environment::{self, Variables};
use super::result::FoundLayer;
use crate::base::model::{ProcessName, Processes};
use crate::machinery::image::{BlobStore, ImageError, Layer, LayerWriter};

const PROGRAM: &str = "/cnb/lifecycle/launch";
const SCRIPT: &str = include_str!("launcher/launch.pl");
/// Images made before commands had a plan have those of processes elsewhere.
const PLANS: &str = "/cnb/launch/";
/// Of what is no process type.
const COMMAND: &str = "/cnb/launch/command.plan";

/// A command beside the processes, in the environment that they start in: behind the program, where their image has it.
pub fn launched(command: &[String], processes: &Processes) -> Vec<String> {
    let is_behind =
        |words: &[String]| matches!(words, [program, plan, ..] if program == PROGRAM && plan.starts_with(PLANS));
    if is_behind(command) || !processes.values().any(|process| is_behind(&process.command)) {
        return command.to_vec();
    }
    [PROGRAM, COMMAND].map(str::to_owned).into_iter().chain(command.iter().cloned()).collect()
}

/// A command without the program before it, as people know it.
pub fn bare(command: &[String]) -> &[String] {
    match command {
        [program, _, words @ ..] if program == PROGRAM => words,
        words => words,
    }
}

/// What stands before the command of a process, or of what is none, as words of the program.
fn plan(layers: &[FoundLayer], r#type: Option<&str>, image: &Variables) -> Vec<String> {
    let mut words = Vec::new();
    let own = r#type.and_then(|r#type| environment::of_process(layers, r#type));
    for (name, value) in own.iter().flatten().filter(|(name, value)| image.get(*name) != Some(value)) {
        words.extend(["set".to_owned(), name.clone(), image.get(name).cloned().unwrap_or_default(), value.clone()]);
    }
    // First those for all, then those for this type ("Launch").
    let of_all = ("exec.d/".to_owned(), false);
    let of_type = r#type.map(|r#type| (format!("exec.d/{}/", r#type), true));
    for (start, deep) in std::iter::once(of_all).chain(of_type) {
        for layer in layers.iter().filter(|layer| layer.launch) {
            let own = layer.scripts.iter().filter_map(|script| Some((script, script.strip_prefix(&start)?)));
            for (script, _) in own.filter(|(_, rest)| deep || !rest.contains('/')) {
                words.extend(["run".to_owned(), format!("/layers/{}/{script}", layer.path())]);
            }
        }
    }
    words
}

/// Puts the program before the processes that need it, and gives the layer with it, if one does. `types`: what buildpacks
/// call the processes; `profiles`: what a command that is none sources first. Blocks.
pub(super) fn wrap(
    blobs: &BlobStore,
    layers: &[FoundLayer],
    image: &Variables,
    (types, profiles): (&BTreeMap<ProcessName, String>, &[String]),
    processes: &mut Processes,
) -> Result<Option<Layer>, ImageError> {
    const ROOT: (u64, u64) = (0, 0);
    let whole = |words: Vec<String>| words.into_iter().map(|word| word + "\0").collect::<String>();
    let mut common = plan(layers, None, image);
    common.extend(profiles.iter().flat_map(|file| ["source".to_owned(), file.clone()]));
    let mut writer = None;
    for (name, process) in processes {
        let own = plan(layers, Some(types.get(name).map_or(name.as_str(), String::as_str)), image);
        if own.is_empty() && common.is_empty() {
            continue;
        }
        let file = format!("{PLANS}process/{name}.plan");
        let writer = writer.get_or_insert_with(|| LayerWriter::new(blobs));
        writer.file(file.trim_start_matches('/'), 0o644, ROOT, whole(own).as_bytes())?;
        process.command.splice(0..0, [PROGRAM.to_owned(), file]);
    }
    let Some(mut writer) = writer else { return Ok(None) };
    writer.file(COMMAND.trim_start_matches('/'), 0o644, ROOT, whole(common).as_bytes())?;
    writer.file(PROGRAM.trim_start_matches('/'), 0o755, ROOT, SCRIPT.as_bytes())?;
    writer.finish().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::model::Process;

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
        assert_eq!(plan(&layers, Some("web"), &image), [""; 0]);
        assert_eq!(plan(&layers, None, &image), [""; 0]);
        let worker = plan(&layers, Some("worker"), &image);
        assert_eq!(worker, ["set", "A", "", "x", "run", "/layers/one/x/exec.d/worker/a"]);
    }

    #[test]
    fn programs_for_all_run_before_those_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path()).unwrap();
        let layers = [layer(&["exec.d/web/first", "exec.d/z"], &[])];
        let process = Process { command: vec!["run".into()], working_dir: None, port: None };
        let mut processes = BTreeMap::from([("web".parse().unwrap(), process)]);
        let image = environment::at_launch(layers.iter());
        let about = (&BTreeMap::new(), &[][..]);
        assert!(wrap(&blobs, &layers, &image, about, &mut processes).unwrap().is_some());
        let command = &processes.values().next().unwrap().command;
        assert_eq!(command, &["/cnb/lifecycle/launch", "/cnb/launch/process/web.plan", "run"]);
        assert_eq!(bare(command), ["run"]);
        let own = plan(&layers, Some("web"), &image);
        assert_eq!(own, ["run", "/layers/one/x/exec.d/z", "run", "/layers/one/x/exec.d/web/first"]);
        assert_eq!(plan(&layers, None, &image), ["run", "/layers/one/x/exec.d/z"]);
    }

    #[test]
    fn what_is_no_process_stands_behind_the_program_where_there_is_one() {
        let of = |words: &[&str]| Process {
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            working_dir: None,
            port: None,
        };
        let ls = ["ls".to_owned()];
        let plain = Processes::from([("web".parse().unwrap(), of(&["run"]))]);
        assert_eq!(launched(&ls, &plain), ls);
        // An image of before: its program finds no plan for commands.
        let older = of(&["/cnb/lifecycle/launch", "/cnb/process/web.plan", "run"]);
        assert_eq!(launched(&ls, &Processes::from([("web".parse().unwrap(), older)])), ls);
        let behind = of(&["/cnb/lifecycle/launch", "/cnb/launch/process/web.plan", "run"]);
        let processes = Processes::from([("web".parse().unwrap(), behind.clone())]);
        let command = launched(&ls, &processes);
        assert_eq!(command, ["/cnb/lifecycle/launch", "/cnb/launch/command.plan", "ls"]);
        assert_eq!(launched(&command, &processes), command);
        assert_eq!(launched(&behind.command, &processes), behind.command);
    }
}
