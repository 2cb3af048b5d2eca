//! Texts about builds by a Dockerfile, and about images that are fetched.

use super::super::BuildFailure;
use super::super::dockerfile::{Fault, Step};
use super::super::lines::clean;
use super::{Copy, copy, unknown_tree};

/// Characters of an instruction in a message.
const SHOWN: usize = 120;

/// Whether a detection failed for want of a buildpack alone.
pub(in super::super) fn is_unknown_tree(failure: &BuildFailure) -> bool {
    failure.reason == unknown_tree(&[], &[]).reason
}

/// Lines of the log, before the build.
pub(in super::super) fn taken(path: &str, chosen: bool) -> String {
    let path = clean(path.as_bytes());
    match chosen {
        true => format!("-----> {path} (chosen by app.json)"),
        false => format!("-----> {path} (no buildpack knows this tree)"),
    }
}

pub(in super::super) fn passed_over(path: &str) -> String {
    format!("       {path} is not used; to build by it, write in app.json: \"build\": {{\"dockerfile\": \"{path}\"}}")
}

/// What a step is to its reader.
pub(in super::super) fn step(step: &Step, cached: bool) -> String {
    let as_before = if cached { " (as before)" } else { "" };
    format!("line {}: {}{as_before}", step.line, instruction(step))
}

pub(in super::super) fn note(text: &str) -> String {
    format!("       {}", clean(text.as_bytes()))
}

/// Of arguments whose values come from the app's variables.
pub(in super::super) fn readable(names: &[&str]) -> String {
    format!(
        "who reads the engine's records reads the values of build arguments, so none may be a secret: {}",
        names.join(", ")
    )
}

pub(in super::super) fn absent(path: &str) -> BuildFailure {
    copy(
        "no Dockerfile",
        format!("app.json names the Dockerfile {}, which the tree does not have.", clean(path.as_bytes())),
    )
    .remedy("Correct build.dockerfile in app.json, or commit the file.")
    .into()
}

pub(in super::super) fn fault(path: &str, fault: &Fault) -> BuildFailure {
    let (path, cause) = (clean(path.as_bytes()), clean(fault.cause.as_bytes()));
    let copy = copy(format!("{path} line {}: {cause}", fault.line), format!("{path}, line {}: {cause}.", fault.line));
    fault.remedy.iter().fold(copy, |copy, remedy| copy.remedy(remedy.clone())).into()
}

pub(in super::super) fn procfile(line: usize, cause: &str) -> BuildFailure {
    copy(format!("Procfile line {line}"), format!("Procfile, line {line}: {}.", clean(cause.as_bytes())))
        .remedy("A line reads TYPE: COMMAND, for example:  worker: ./work")
        .into()
}

pub(in super::super) fn no_variable(name: &str) -> BuildFailure {
    let name = clean(name.as_bytes());
    copy(
        format!("the build argument {name} has no value"),
        format!("app.json takes the build argument {name} from the app's variables, which have none of that name."),
    )
    .remedy(format!("Set it (hythe config:set {name}=…), or give it a value in build.args of app.json."))
    .into()
}

pub(in super::super) fn no_secret(id: &str, variable: &str) -> BuildFailure {
    let (id, variable) = (clean(id.as_bytes()), clean(variable.as_bytes()));
    copy(
        format!("the build secret {id} has no value"),
        format!("app.json takes the build secret {id} from the app's variable {variable}, which is not set."),
    )
    .remedy(format!("Set it: hythe config:set {variable}=…"))
    .remedy("Or correct build.secrets in app.json.")
    .into()
}

pub(in super::super) fn no_base(path: &str, line: usize, image: &str, cause: &str) -> BuildFailure {
    let path = clean(path.as_bytes());
    copy(
        format!("{path} line {line}: the image {image} cannot be had"),
        format!("{path}, line {line}: the image {image} is not in the engine, and cannot be fetched:"),
    )
    .evidence(&[clean(cause.as_bytes())])
    .remedy("Correct its name, or have the operator bring it (docker pull or docker load beside the engine).")
    .remedy("The platform's own base image is there in any case: FROM hythe/base")
    .into()
}

/// A command of the Dockerfile failed; `said` is the end of what it wrote.
pub(in super::super) fn exited(path: &str, step: &Step, code: i64, said: &[String], memory_bytes: i64) -> BuildFailure {
    let path = clean(path.as_bytes());
    let copy = copy(
        format!("{path} line {}: the command exited {code}", step.line),
        format!("{path}, line {}: {} ended with code {code}.", step.line, instruction(step)),
    )
    .evidence(said);
    killed(copy, code, memory_bytes).into()
}

fn killed(copy: Copy, code: i64, memory_bytes: i64) -> Copy {
    if code != 137 {
        return copy;
    }
    copy.remedy(format!(
        "It was killed, most likely because it needed more than the {} MiB that a build has (build.memory_bytes).",
        memory_bytes >> 20
    ))
}

/// The builder's own words on an instruction that cannot be done.
pub(in super::super) fn undone(path: &str, step: Option<&Step>, cause: &str, said: &[String]) -> BuildFailure {
    let (path, cause) = (clean(path.as_bytes()), clean(cause.as_bytes()));
    let place = step.map_or_else(|| path.clone(), |step| format!("{path} line {}", step.line));
    copy(format!("{place}: {cause}"), format!("{place}: {cause}.")).evidence(said).into()
}

pub(in super::super) fn unfit(path: &str, cause: &str) -> BuildFailure {
    let (path, cause) = (clean(path.as_bytes()), clean(cause.as_bytes()));
    copy(format!("the image cannot run here: {cause}"), format!("The image of {path} cannot run here: {cause}."))
        .remedy(format!("Change {path} and push again."))
        .into()
}

fn instruction(step: &Step) -> String {
    let text = clean(step.text.as_bytes());
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Of an image that a registry has; `cause` completes "the image …".
pub(in super::super) fn fetched_unfit(cause: &str) -> BuildFailure {
    let cause = clean(cause.as_bytes());
    copy(format!("the image cannot run here: {cause}"), format!("The image cannot run here: {cause}."))
        .remedy("Name another image, or another tag of it.")
        .into()
}

pub(in super::super) fn not_fetched(reference: &str, cause: &str) -> BuildFailure {
    let (reference, cause) = (clean(reference.as_bytes()), clean(cause.as_bytes()));
    copy(
        format!("the image {reference} cannot be fetched"),
        format!("The image {reference} cannot be fetched: {cause}."),
    )
    .remedy("Correct its name, or name the variables that hold its credentials: --user-from NAME --password-from NAME")
    .into()
}
