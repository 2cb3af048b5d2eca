//! What is asked of the driver in an app's sandbox, phase by phase, and what its answers come to: detection by all at once,
//! then what is left of earlier builds, then one buildpack after the other, then what the image is made of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinHandle;

use super::builder::{Builder, batch_rules, refused};
use super::cache::Cache;
use super::descriptor::Target;
use super::environment::{self, Variables};
use super::launch::{self, Launched};
use super::mask::Hidden;
use super::members::Part;
use super::place::{Deadline, Place};
use super::plan::{self, Look};
use super::remains::Remains;
use super::result::{self, FoundLayer};
use super::session::Request;
use super::{BuildFailure, BuildLog, BuildRequest, Detected, Source, export, messages, patterns, slices};
use crate::base::model::{Files, ProcessName, VariableName};
use crate::machinery::image::{Batch, ImageError, Layer};

type Fields = BTreeMap<String, String>;

/// What all buildpacks of a build left.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// In the order of the group, then by name.
    pub layers: Vec<FoundLayer>,
    /// Of the same type, that of the later buildpack.
    pub processes: BTreeMap<ProcessName, Launched>,
    /// What an image starts with that is not told what to start.
    pub default: Option<ProcessName>,
    /// By key; those of later buildpacks win.
    pub labels: BTreeMap<String, String>,
    pub slices: Vec<Vec<String>>,
    /// By directory of the buildpack.
    pub stores: BTreeMap<String, String>,
    /// Paths below `/layers`.
    pub sboms: Vec<String>,
    /// The app has a `.profile`.
    pub profile: bool,
}

impl Builder {
    /// Puts the source in place and gives what each of `parts` said of it, by path.
    pub(super) async fn look(
        &self,
        place: &mut Place,
        request: &BuildRequest,
        parts: &[Part],
        source: Source,
        mark: &str,
        log: &dyn BuildLog,
    ) -> Result<BTreeMap<String, Look>, BuildFailure> {
        let mut fields = self.fields(request, parts, &self.images.target());
        let people = people_s(request);
        let set = environment::with_people_s(environment::at_build(std::iter::empty()), pairs(&people));
        fields.extend(set.into_iter().map(|(name, value)| (format!("set.{name}"), value)));
        fields.insert("source".into(), mark.to_owned());
        fields.insert("buildpacks".into(), parts.iter().map(Part::path).collect::<Vec<_>>().join(" "));
        let files_of = |part: &Part| {
            let own = self.images.buildpacks.iter().find(|buildpack| !part.foreign && buildpack.id == part.id);
            own.map_or(&[][..], |own| &own.needs.detects_by)
        };
        for part in parts.iter().filter(|part| !part.foreign) {
            fields.insert(format!("by.{}", part.path()), files_of(part).join(" "));
        }
        fields.extend(sifting(&request.wishes.files));
        let hidden = Arc::new(Hidden::of_variables(&request.variables));
        let asked = Request { phase: "detect", fields, source: Some(source), hidden };
        let answer = self.ask(place, asked, &self.deadline(), log).await?;
        let found = Remains::read(&answer);
        let mut looks: BTreeMap<String, Look> = BTreeMap::new();
        for (name, text) in answer {
            if name == "fault" {
                return Err(messages::not_unpacked());
            }
            let Some((number, what)) = name.strip_prefix("detect/").and_then(|name| name.split_once('.')) else {
                continue;
            };
            let Some(part) = number.parse::<usize>().ok().and_then(|number| parts.get(number)) else { continue };
            let look = looks.entry(part.path()).or_default();
            match what {
                "exit" => look.exit = text.trim().parse().unwrap_or(1),
                "plan" => look.plan = text,
                "log" => look.log = text,
                "by" => look.by = files_of(part).contains(&text).then_some(text),
                _ => {}
            }
        }
        place.found = Some((mark.to_owned(), found));
        Ok(looks)
    }

    /// What the sandbox has of earlier builds; none if the source in it is not this push's.
    pub(super) async fn begin(
        &self,
        place: &mut Place,
        mark: &str,
        deadline: &Deadline<'_>,
    ) -> Result<Option<Remains>, BuildFailure> {
        if let Some((_, found)) = place.found.take().filter(|(of, _)| of == mark) {
            return Ok(Some(found));
        }
        let fields = Fields::from([("source".to_owned(), mark.to_owned())]);
        let asked = Request { phase: "begin", fields, source: None, hidden: Arc::default() };
        let answer = self.ask(place, asked, deadline, &super::builder::Silent).await?;
        let lost = answer.iter().any(|(name, _)| name == "fault");
        Ok(if lost { None } else { Some(Remains::read(&answer)) })
    }

    /// Runs the buildpacks and sees what they left. With the workspace as layers of the batch, if it was small enough to come
    /// with the answer.
    #[expect(clippy::too_many_arguments, reason = "each is another thing")]
    pub(super) async fn run(
        &self,
        place: &mut Place,
        request: &BuildRequest,
        detected: &Detected,
        kept: super::remains::Kept,
        deadline: &Deadline<'_>,
        batch: &Arc<Batch>,
        log: &dyn BuildLog,
    ) -> Result<(Outcome, Option<Vec<Layer>>), BuildFailure> {
        let parts = &detected.members;
        let directories: Vec<_> = parts.iter().map(Part::directory).collect();
        let named: Vec<_> = kept.tomls.keys().filter_map(|file| file.strip_suffix(".toml")).collect();
        let mut first = Fields::from([
            ("keep".to_owned(), kept.paths.join(" ")),
            ("named".to_owned(), named.join(" ")),
            ("group".to_owned(), directories.join(" ")),
        ]);
        first.extend(kept.tomls.into_iter().map(|(path, text)| (format!("toml.{path}"), text)));

        let hidden = Arc::new(Hidden::of_variables(&request.variables));
        let people = people_s(request);
        let mut outcome = Outcome::default();
        let mut plan = detected.plan.clone();
        let mut ignored: Vec<String> = Vec::new();
        for part in parts {
            let mut fields = self.fields(request, std::slice::from_ref(part), &self.images.target());
            let own = environment::at_build(outcome.layers.iter());
            let set = if part.clear_env { own } else { environment::with_people_s(own, pairs(&people)) };
            fields.extend(set.into_iter().map(|(name, value)| (format!("set.{name}"), value)));
            fields.retain(|key, _| !key.starts_with("bare."));
            fields.insert("buildpack".into(), part.path());
            fields.insert("plan".into(), plan::plan_text(plan::entries_of(&plan, &part.path())));
            fields.insert("ignored".into(), ignored.join(" "));
            fields.append(&mut first);
            let asked = Request { phase: "build", fields, source: None, hidden: Arc::clone(&hidden) };
            let answer = self.ask(place, asked, deadline, log).await?;
            let word = |name: &str| answer.iter().find(|(word, _)| word == name).map(|(_, text)| text.as_str());
            if let Some(exit) = word("failed") {
                let report = messages::Report::parse(word("failure").unwrap_or(""));
                let exit = exit.trim().parse().unwrap_or(1);
                let failure = messages::buildpack_failed(&part.name, exit, &report, self.memory_bytes);
                return Err(hidden.failure(failure));
            }
            let found = result::read(&part.directory(), &part.name, &answer).map_err(|f| hidden.failure(f))?;
            plan::after(&mut plan, &part.path(), &found.unmet);
            ignored = found.layers.iter().filter(|layer| layer.is_ignored()).map(FoundLayer::path).collect();
            outcome.take(part, found).map_err(|failure| hidden.failure(failure))?;
        }
        let sandbox = place.sandbox().to_owned();
        let finished = self.finish(place, outcome, (ignored, hidden), deadline, batch, log);
        // Most builds are over before anybody has looked at them.
        let (finished, outgrown) = tokio::join!(finished, self.bounds.outgrown(&*self.engine, &sandbox));
        match outgrown {
            Some(failure) => {
                place.close(&*self.engine).await;
                Err(failure)
            }
            None => finished,
        }
    }

    async fn finish(
        &self,
        place: &mut Place,
        mut outcome: Outcome,
        (ignored, hidden): (Vec<String>, Arc<Hidden>),
        deadline: &Deadline<'_>,
        batch: &Arc<Batch>,
        log: &dyn BuildLog,
    ) -> Result<(Outcome, Option<Vec<Layer>>), BuildFailure> {
        let launched = outcome.layers.iter().filter(|layer| layer.launch).map(FoundLayer::path);
        let fields = Fields::from([
            ("launched".to_owned(), launched.collect::<Vec<_>>().join(" ")),
            ("ignored".to_owned(), ignored.join(" ")),
        ]);
        let mut writer: Option<JoinHandle<Result<Vec<Layer>, ImageError>>> = None;
        let answer = {
            let mut sink = || {
                let write = slices::writer(&outcome.slices);
                let (to, started) = export::start(&self.blobs, batch_rules(batch, "workspace", "workspace"), write);
                writer = Some(started);
                to
            };
            let asked = Request { phase: "finish", fields, source: None, hidden };
            place.request(&*self.engine, asked, deadline, log, &mut sink).await?
        };
        for (name, text) in result::words(&answer) {
            match name.as_str() {
                "print" => {
                    let Some((path, print)) = text.trim().split_once(' ').filter(|(_, print)| print.len() == 64) else {
                        continue;
                    };
                    let layer = outcome.layers.iter_mut().find(|layer| layer.launch && layer.path() == path);
                    if let Some(layer) = layer {
                        layer.fingerprint = Some(print.to_owned());
                    }
                }
                "profile" => outcome.profile = true,
                _ => {}
            }
        }
        let workspace = match writer {
            Some(writer) => Some(export::finished(writer).await.map_err(|error| refused("the workspace", &error))?),
            None => None,
        };
        Ok((outcome, workspace))
    }

    async fn ask(
        &self,
        place: &mut Place,
        asked: Request,
        deadline: &Deadline<'_>,
        log: &dyn BuildLog,
    ) -> Result<Vec<(String, String)>, BuildFailure> {
        let mut no_workspace = || tokio::sync::mpsc::channel(1).0;
        let answer = place.request(&*self.engine, asked, deadline, log, &mut no_workspace).await?;
        Ok(result::words(&answer))
    }

    pub(super) fn deadline(&self) -> Deadline<'_> {
        Deadline { began: Instant::now(), bounds: &self.bounds }
    }

    /// What a phase with buildpacks gets: the variables as files, the commit, and what each has for itself.
    fn fields(&self, request: &BuildRequest, parts: &[Part], here: &Target) -> Fields {
        let mut fields = Fields::from([("commit".to_owned(), request.commit.clone())]);
        fields.extend(people_s(request).into_iter().map(|(name, value)| (format!("env.{name}"), value)));
        for part in parts {
            let own: Vec<_> =
                part.target_variables(here).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            fields.insert(format!("own.{}", part.path()), own.join(" "));
            if part.clear_env {
                fields.insert(format!("bare.{}", part.path()), "yes".to_owned());
            }
        }
        fields
    }
}

impl Outcome {
    /// Layers that are left as they are in the last image have no files here: what is known of them is of that time.
    pub(super) fn recall(&mut self, cache: &Cache) {
        for layer in self.layers.iter_mut().filter(|layer| layer.launch && !layer.has_directory) {
            let Some(before) = cache.layer(&layer.path()) else { continue };
            layer.parts.clone_from(&before.parts);
            layer.scripts.clone_from(&before.scripts);
            let apart = |(path, text): (&String, &String)| {
                let (folder, file) = path.rsplit_once('/')?;
                Some(((folder.to_owned(), file.to_owned()), text.clone()))
            };
            layer.environment = before.environment.iter().filter_map(apart).collect();
        }
    }

    fn take(&mut self, part: &Part, found: result::Found) -> Result<(), BuildFailure> {
        let invalid = |cause: &str| messages::result_invalid(&part.name, "launch.toml", cause);
        if let Some(text) = &found.launch {
            let launch = launch::read(text, part.api).map_err(|cause| invalid(&cause))?;
            for (name, mut launched) in launch.processes {
                launched.buildpack.clone_from(&part.id);
                // One that takes the place of the default and is none leaves the image without.
                if launched.default {
                    self.default = Some(name.clone());
                } else if self.default.as_ref() == Some(&name) {
                    self.default = None;
                }
                self.processes.insert(name, launched);
            }
            self.labels.extend(launch.labels);
            self.slices.extend(launch.slices);
        }
        let directory = part.directory();
        self.sboms.extend(found.sboms.into_iter().map(|file| format!("{directory}/{file}")));
        self.stores.extend(found.store.map(|text| (directory, text)));
        self.layers.extend(found.layers);
        Ok(())
    }
}

/// Variables that people set for builds: those of the tree, then those of the environment.
fn people_s(request: &BuildRequest) -> Variables {
    let mut variables = request.wishes.variables.clone();
    variables.extend(request.variables.iter().map(|(name, value)| (name.clone(), value.reveal().clone())));
    variables.retain(|name, _| name.parse::<VariableName>().is_ok());
    variables
}

fn pairs(variables: &Variables) -> impl Iterator<Item = (&str, &str)> {
    variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

/// Which files are left, in the driver's words.
fn sifting(files: &Files) -> Fields {
    let (mode, lines) = match files {
        Files::All => return Fields::new(),
        Files::Only(lines) => ("only", lines),
        Files::Without(lines) => ("without", lines),
    };
    let found: Vec<_> = lines.iter().filter_map(|line| patterns::pattern(line)).collect();
    let mut fields =
        Fields::from([("files".to_owned(), mode.to_owned()), ("files.count".to_owned(), found.len().to_string())]);
    for (number, pattern) in found.iter().enumerate().filter(|(_, pattern)| !pattern.gives_back) {
        fields.insert(format!("files.take.{number}"), pattern.expression.clone());
        let later = found[number..].iter().filter(|other| other.gives_back).map(|p| format!("({})", p.expression));
        let later: Vec<_> = later.collect();
        if !later.is_empty() {
            fields.insert(format!("files.back.{number}"), later.join("|"));
        }
    }
    fields
}
