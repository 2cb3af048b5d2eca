//! Every text about a build that a user can read: cause, file, evidence, remedy.

use std::collections::BTreeMap;

use super::BuildFailure;
use super::export;
use super::lines::clean;
use super::pack::Buildpack;
use crate::base::model::AppName;
use crate::machinery::runtime::EngineError;

mod bounds;
mod brought;
pub(super) mod dockerfile;
mod languages;
pub(super) mod rebase;

pub(super) use bounds::{
    beyond, flooded, long_path, machine_filled, machine_out_of_files, outgrown, too_many_files, too_many_processes,
    waiting,
};
pub(super) use brought::*;

const PROBLEM: &str = " !     ";
/// Lines of evidence in one message.
const EVIDENCE: usize = 15;

struct Copy {
    reason: String,
    text: Vec<String>,
    evidence: Vec<String>,
    remedy: Vec<String>,
    temporary: bool,
}

/// `reason` follows "build failed: " in the ref's status.
fn copy(reason: impl Into<String>, cause: impl Into<String>) -> Copy {
    Copy { reason: reason.into(), text: vec![cause.into()], evidence: vec![], remedy: vec![], temporary: false }
}

impl Copy {
    fn and(mut self, line: impl Into<String>) -> Self {
        self.text.push(line.into());
        self
    }

    fn evidence(mut self, lines: &[String]) -> Self {
        self.evidence = lines[lines.len().saturating_sub(EVIDENCE)..].to_vec();
        self
    }

    fn remedy(mut self, line: impl Into<String>) -> Self {
        self.remedy.push(line.into());
        self
    }

    fn temporary(mut self) -> Self {
        self.temporary = true;
        self
    }
}

impl From<Copy> for BuildFailure {
    fn from(copy: Copy) -> Self {
        let problem = |line: String| format!("{PROBLEM}{line}").trim_end().to_owned();
        let mut lines: Vec<String> = copy.text.into_iter().map(problem).collect();
        lines.extend(copy.evidence.into_iter().map(|line| format!("         {line}")));
        lines.extend(copy.remedy.into_iter().map(problem));
        Self { reason: format!("build failed: {}", copy.reason), lines, temporary: copy.temporary }
    }
}

// --- detection ------------------------------------------------------------------------------------------------------

/// Names of the buildpacks, each with the file that spoke for it. "Procfile (Procfile)" would say nothing.
pub(super) fn detected(known: &[(&str, Option<String>)]) -> String {
    let names: Vec<_> = known.iter().map(|(name, _)| clean(name.as_bytes())).collect();
    let mut files: Vec<&str> = Vec::new();
    for (name, file) in known {
        if let Some(file) = file.as_deref().filter(|file| file != name && !files.contains(file)) {
            files.push(file);
        }
    }
    let files = if files.is_empty() { String::new() } else { format!(" ({})", files.join(", ")) };
    format!("-----> {} detected{files}", names.join(", "))
}

/// The build before was one of the same tree, in the same way.
pub(super) fn unchanged(app: &AppName) -> [String; 2] {
    [
        "-----> Nothing has changed since the last build; its image is used again".to_owned(),
        format!("       To have it built from nothing: hythe builds:cache:clear -a {app}"),
    ]
}

pub(super) fn unknown_tree(buildpacks: &[Buildpack], order: &[&str]) -> BuildFailure {
    let mut copy = copy("no buildpack knows this tree", "No buildpack knows what this tree is. They look for:");
    for id in order {
        let named = |b: &&Buildpack| b.id == *id && !b.needs.looks_for.is_empty();
        if let Some(buildpack) = buildpacks.iter().find(named) {
            copy.evidence.push(format!("{:<13} {}", format!("{}:", buildpack.name), buildpack.needs.looks_for));
        }
    }
    copy.remedy("Add one of these files at the root of the repository, commit it, and push again.")
        .remedy("A Procfile with the line \"web: COMMAND\" is enough for anything that Debian can run.")
        .into()
}

pub(super) fn detect_errored(buildpack: &str, exit: i64, log: &[String]) -> BuildFailure {
    copy(
        format!("detection of {buildpack} exited {exit}"),
        format!("The detection of the buildpack {buildpack} ended with code {exit}:"),
    )
    .evidence(log)
    .into()
}

pub(super) fn unmet(buildpack: &str, cause: &str) -> BuildFailure {
    copy(
        "the buildpacks do not fit together",
        format!("The build plan of {} does not stand: {}.", clean(buildpack.as_bytes()), clean(cause.as_bytes())),
    )
    .into()
}

pub(super) fn not_unpacked() -> BuildFailure {
    copy("the source does not fit into the build", "The source could not be unpacked; the lines above say why.")
        .remedy("Check its size and the names of its files; large files belong into a store, not into the repository.")
        .into()
}

// --- what a buildpack reports ---------------------------------------------------------------------------------------

/// A failure as buildpacks of ours write it to `HYTHE_FAILURE`: a code, lines of `key=value`, lines of evidence behind `| `.
#[derive(Debug, Default)]
pub(super) struct Report {
    code: String,
    facts: BTreeMap<String, String>,
    evidence: Vec<String>,
}

impl Report {
    pub fn parse(text: &str) -> Self {
        let mut report = Self::default();
        for line in text.lines().take(100) {
            if let Some(line) = line.strip_prefix("| ") {
                report.evidence.push(clean(line.as_bytes()));
            } else if let Some((key, value)) = line.split_once('=') {
                report.facts.insert(key.to_owned(), clean(value.as_bytes()).chars().take(300).collect());
            } else if report.code.is_empty() {
                report.code = clean(line.as_bytes());
            }
        }
        report
    }

    fn fact(&self, key: &str) -> &str {
        self.facts.get(key).map_or("?", String::as_str)
    }
}

/// Exit code of a process that SIGKILL ended; nobody but the kernel sends it here, for want of memory.
const KILLED: i64 = 137;

pub(super) fn buildpack_failed(buildpack: &str, exit: i64, report: &Report, memory_bytes: i64) -> BuildFailure {
    if exit == KILLED || report.fact("exit") == KILLED.to_string() {
        let mebibytes = memory_bytes >> 20;
        return copy(
            "out of memory",
            format!("The build used more than the {mebibytes} MiB of memory that a build may use, and was ended."),
        )
        .evidence(&report.evidence)
        .remedy("Make the build smaller, or have the operator raise build.memory_bytes.")
        .into();
    }
    reported(buildpack, report)
        .unwrap_or_else(|| {
            copy(
                format!("{buildpack} exited {exit}"),
                format!("The buildpack {buildpack} ended with code {exit}; the lines above are what it said."),
            )
        })
        .into()
}

fn reported(buildpack: &str, report: &Report) -> Option<Copy> {
    if let Some(copy) = languages::reported(report) {
        return Some(copy);
    }
    let fact = |key| report.fact(key);
    let file = fact("file");
    Some(match report.code.as_str() {
        "json_syntax" => copy(
            format!("{file} is not valid JSON (line {})", fact("line")),
            format!("{file} is not valid JSON: {}.", fact("cause")),
        )
        .and(format!("line {}, column {}:", fact("line"), fact("column")))
        .evidence(&report.evidence)
        .remedy(format!("Mend {file} (a JSON checker shows the place), commit, and push again.")),

        "toml_syntax" => copy(
            format!("{file} cannot be read"),
            format!("{file} cannot be read: {}.", fact("cause")),
        )
        .remedy(format!("Mend {file}, commit, and push again.")),

        "field_type" => copy(
            format!("{} in {file} is not a text", fact("field")),
            format!("{} in {file} must be a text in quotes.", fact("field")),
        )
        .remedy(format!("Mend {file}, commit, and push again.")),

        "version_syntax" => copy(
            format!("the version in {file} cannot be understood"),
            format!("{} asks for {}, which is no version or range of versions.", fact("field"), fact("text")),
        )
        .and(format!("file: {file}"))
        .remedy("Write a version such as 24, 24.1.0 or >=22 (Node.js), 3.11 (Python), 1.24 (Go), 3.3 (Ruby), 21 (Java)."),

        "node_unknown" => copy(
            "no such version of Node.js",
            format!("No version of Node.js meets \"{}\".", fact("range")),
        )
        .and(format!("The newest of each line: {}.", fact("available")))
        .remedy("Change engines.node in package.json (or .nvmrc, .node-version), commit, and push again."),

        "node_unreachable" => copy(
            "Node.js could not be fetched",
            format!("Node.js \"{}\" could not be fetched: {}.", fact("range"), fact("cause")),
        )
        .and(format!("Without the package registry only Node.js {} is at hand.", fact("available")))
        .remedy("Push again when the registry answers, have the operator set build.npm_registry to a mirror,")
        .remedy("or ask for the version at hand in engines.node of package.json.")
        .temporary(),

        "npm_unreachable" => copy("npm could not be fetched", format!("npm could not be fetched: {}.", fact("cause")))
            .remedy("Push again when the package registry answers, or have the operator set build.npm_registry to a mirror.")
            .temporary(),

        "integrity" => copy(
            format!("{} is not what was published", fact("what")),
            format!("What the package registry gave for {} is not what was published.", fact("what")),
        )
        .and(format!("expected {}", fact("expected")))
        .and(format!("received {}", fact("found")))
        .remedy("Push again; if it is so again, tell the operator: what build.npm_registry names is broken or hostile."),

        "no_start" if file == "package.json" => copy(
            "nothing says how to start the app",
            "Nothing says how to start the app: package.json has no scripts.start, and there is neither server.js nor a Procfile.",
        )
        .remedy("Add to package.json:  \"scripts\": { \"start\": \"node FILE\" }")
        .remedy("or a Procfile with:   web: node FILE"),

        "no_start" => copy(
            "nothing says how to start the app",
            "Nothing says how to start the app: there is no Procfile, no app.py and no main.py.",
        )
        .remedy("Add a Procfile, for example:  web: gunicorn --bind 0.0.0.0:$PORT app:app"),

        "npm_failed" => copy(
            format!("{} exited {}", manager(report), fact("exit")),
            format!("\"{}\" failed with code {}; it installs what {file} asks for.", fact("command"), fact("exit")),
        )
        .evidence(&report.evidence)
        .remedy(npm_remedy(report)),

        "script_failed" => copy(
            format!("{} run {} exited {}", manager(report), fact("script"), fact("exit")),
            format!("The script \"{}\" in {file} failed with code {}; its output is above.", fact("script"), fact("exit")),
        )
        .remedy(format!("Run \"{} run {}\" on your machine, mend what it says, commit, and push again.", manager(report), fact("script"))),

        "python_unavailable" => copy(
            format!("Python {} is not available", fact("wanted")),
            format!("{file} asks for Python {}; this platform has Python {}.", fact("wanted"), fact("available")),
        )
        .remedy(format!("Ask for it in {file}, or remove the file, commit, and push again.")),

        "pip_failed" => copy(
            format!("pip exited {}", fact("exit")),
            format!("pip failed with code {}; it installs what {file} asks for.", fact("exit")),
        )
        .evidence(&report.evidence)
        .remedy(format!("Try \"pip install -r {file}\" in a new environment, mend {file}, commit, and push again.")),

        "procfile_syntax" => copy(
            format!("Procfile line {} is wrong", fact("line")),
            format!("Line {} of the Procfile is wrong: {}.", fact("line"), fact("cause")),
        )
        .evidence(&report.evidence)
        .remedy("Each line is \"type: command\", for example:  web: node server.js"),

        "" => return None,
        code => copy(
            format!("{buildpack} failed ({})", code.chars().take(60).collect::<String>()),
            format!("The buildpack {buildpack} failed; the lines above are what it said."),
        )
        .evidence(&report.evidence),
    })
}

fn manager(report: &Report) -> &str {
    report.facts.get("tool").map_or("npm", String::as_str)
}

fn npm_remedy(report: &Report) -> String {
    let says = |text: &str| report.evidence.iter().any(|line| line.contains(text));
    if says("ERR_PNPM_OUTDATED_LOCKFILE")
        || says("lockfile needs to be updated")
        || says("lockfile would have been modified")
    {
        let file = report.fact("file");
        return format!("Run \"{} install\" on your machine, commit {file}, and push again.", manager(report));
    }
    if says("can only install") || says("in sync") {
        "Run \"npm install\" on your machine, commit package-lock.json, and push again.".to_owned()
    } else if says("ENOTFOUND") || says("ETIMEDOUT") || says("ECONNREFUSED") || says("EAI_AGAIN") {
        "The package registry does not answer: push again later, or have the operator set build.npm_registry."
            .to_owned()
    } else {
        "Try it on your machine, mend package.json, commit with its lock file, and push again.".to_owned()
    }
}

// --- what the platform finds in the result --------------------------------------------------------------------------

pub(super) fn result_invalid(buildpack: &str, file: &str, cause: &str) -> BuildFailure {
    let short = |text: &str| clean(text.as_bytes()).chars().take(200).collect::<String>();
    let (buildpack, file) = (short(buildpack), short(file));
    copy(
        format!("{file} of the buildpack {buildpack} is wrong"),
        format!("The buildpack {buildpack} left a {file} that the platform cannot use: {}.", clean(cause.as_bytes())),
    )
    .remedy("This is the buildpack's fault and not your code's: take another version of it, or tell its author.")
    .into()
}

pub(super) fn no_process() -> BuildFailure {
    copy("no process to run", "The build names no process that could be run.")
        .remedy("Add a Procfile, for example:  web: ./server")
        .into()
}

pub(super) fn export_refused(layer: &str, cause: &str) -> BuildFailure {
    copy(
        format!("{layer} cannot be put into an image"),
        format!("The files of {layer} cannot be put into an image: {}.", clean(cause.as_bytes())),
    )
    .into()
}

// --- time, space, engine --------------------------------------------------------------------------------------------

pub(super) fn timed_out(seconds: u64) -> BuildFailure {
    copy(
        format!("no end after {seconds} seconds"),
        format!("The build was ended: it took longer than the {seconds} seconds that a build may take."),
    )
    .remedy("Make the build shorter, or have the operator raise build.timeout_seconds.")
    .into()
}

pub(super) fn engine(error: &EngineError) -> BuildFailure {
    match error {
        EngineError::NoSpace => disk_full(),
        EngineError::Unreachable { .. } => {
            copy("the container engine does not answer", "The container engine of this platform does not answer.")
                .remedy("Nothing is wrong with your code: push again in a moment, or tell the operator.")
                .temporary()
                .into()
        }
        other => copy(
            "the container engine refused",
            format!("The container engine refused a step of the build: {}.", clean(export::chain(other).as_bytes())),
        )
        .remedy("Nothing is known to be wrong with your code: push again, or tell the operator.")
        .temporary()
        .into(),
    }
}

pub(super) fn disk_full() -> BuildFailure {
    copy("the disk is full", "The disk of this platform is full.")
        .remedy("Nothing is wrong with your code: tell the operator, and push again when there is room.")
        .temporary()
        .into()
}

/// Of a pushed image; `cause` completes "the image …".
pub(super) fn image_unfit(cause: &str) -> BuildFailure {
    let cause = clean(cause.as_bytes());
    copy(format!("the image cannot run here: {cause}"), format!("The pushed image cannot run here: {cause}."))
        .remedy("Change the image and push it again; a tag that names no environment only stores it.")
        .into()
}

/// Lines of a log.
pub(super) fn cache_dropped(bytes: u64) -> [String; 2] {
    [
        format!("-----> The build cache was dropped: it held {:.1} GB, more than one app may keep", bytes as f64 / 1e9),
        "       This build starts without it, and is slower once (disk.cache_bytes is the bound).".to_owned(),
    ]
}

pub(super) fn sandbox_lost() -> BuildFailure {
    copy(
        "the build environment was lost",
        "The build environment ended in the middle of the build, or the container engine did.",
    )
    .remedy("Push again. If it happens each time, the build may use more memory than it may.")
    .temporary()
    .into()
}

pub(super) fn source_unreadable(cause: &str) -> BuildFailure {
    copy("the source could not be read", format!("The pushed source could not be read: {}.", clean(cause.as_bytes())))
        .into()
}

pub(super) fn platform(what: &str, cause: &str) -> BuildFailure {
    copy(format!("{what} failed"), format!("{what} failed: {}.", clean(cause.as_bytes())))
        .remedy("Nothing is wrong with your code: tell the operator, and push again.")
        .temporary()
        .into()
}

pub(super) fn packages_failed(packages: &str, exit: i64, log: &[String]) -> BuildFailure {
    copy(
        "the build image could not be prepared",
        format!("The packages {packages} could not be installed (code {exit}):"),
    )
    .evidence(log)
    .remedy("Nothing is wrong with your code: the Debian mirror may not answer. Push again, or tell the operator.")
    .temporary()
    .into()
}

#[cfg(test)]
mod tests;
