//! What a Dockerfile may ask for, and what of it goes to the engine: every image by its full name, what its builder does
//! not know taken apart from the rest, and refused what reaches out of a build. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::Fault;
use super::mounts::{self, Kind, Origin};
use super::parse::{self, Instruction, Parsed};
use super::reference::Full;
use super::stages::{Command, CopyApart, Cut, Line, Piece, Run, Stage, Step, Work};

/// The platform's own base image, by this name in FROM.
pub const OWN_BASE: &str = "hythe/base";
/// Labels by which the platform knows what is its own.
const RESERVED: &str = "hythe.";

/// What a build brings along beside the file.
pub struct Given<'a> {
    pub arguments: &'a BTreeMap<String, String>,
    pub target: Option<&'a str>,
    pub labels: &'a BTreeMap<String, String>,
    /// By what names there are secrets.
    pub secrets: &'a BTreeSet<String>,
    /// What the engine calls the platform's base image; its first part is the platform's name there.
    pub base: &'a str,
    /// `linux/amd64`
    pub platform: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Checked {
    pub escape: char,
    /// Arguments before the first stage.
    pub globals: Vec<Line>,
    pub stages: Vec<Stage>,
    /// Number of the stage that is the result.
    pub target: usize,
    /// The instruction that stands behind each FROM.
    pub labels: String,
    /// Images from registries, with the line that first names them.
    pub images: Vec<(usize, Full)>,
    pub uses_base: bool,
    /// Arguments that it declares.
    pub declared: BTreeSet<String>,
    /// For the pusher: what is left out.
    pub notes: Vec<String>,
}

impl Checked {
    pub fn pieces(&self) -> Vec<Piece> {
        let cut = Cut {
            globals: &self.globals,
            stages: &self.stages,
            target: self.target,
            labels: &self.labels,
            escape: self.escape,
        };
        cut.pieces()
    }
}

pub fn check(parsed: &Parsed, given: &Given<'_>) -> Result<Checked, Fault> {
    let labels: Vec<_> = given.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut checker = Checker {
        given,
        escape: parsed.escape,
        globals: BTreeMap::new(),
        out: Checked {
            escape: parsed.escape,
            globals: Vec::new(),
            stages: Vec::new(),
            target: 0,
            labels: format!("LABEL {}", labels.join(" ")),
            images: Vec::new(),
            uses_base: false,
            declared: BTreeSet::new(),
            notes: Vec::new(),
        },
    };
    if let Some(syntax) = &parsed.syntax {
        checker.out.notes.push(format!("# syntax={syntax} is left out: what it says is understood here, or refused"));
    }
    for instruction in &parsed.instructions {
        checker.take(instruction)?;
    }
    let stages = &checker.out.stages;
    if stages.is_empty() {
        return Err(Fault::at(1, "has no FROM"));
    }
    checker.out.target = match given.target {
        None => stages.len() - 1,
        Some(target) => {
            let named = checker.stage(stages.len(), target);
            named
                .ok_or_else(|| Fault::at(1, format!("has no stage {target:?}, which build.target of app.json names")))?
        }
    };
    Ok(checker.out)
}

/// Whether what a base image wants done by who builds upon it may be done.
pub fn check_on_build(text: &str) -> Result<(), Fault> {
    let instruction = parse::on_build(text)?;
    let refused = |cause: &str| Err(Fault::at(0, cause.to_owned()));
    match instruction.name.as_str() {
        "COPY" | "ADD" if instruction.flags.iter().any(|flag| flag.starts_with("--from")) => {
            refused("its ONBUILD copies out of another image")
        }
        "COPY" | "ADD" if instruction.flags.iter().any(|flag| !flag.starts_with("--chown=")) => {
            refused("its ONBUILD has options")
        }
        "ADD" => added(&instruction, '\\'),
        "LABEL" => labelled(&instruction, '\\').or(labelled(&instruction, '`')),
        "RUN" => instruction.flags.is_empty().then_some(()).ok_or_else(|| Fault::at(0, "its ONBUILD RUN has options")),
        _ => Ok(()),
    }
}

struct Checker<'a> {
    given: &'a Given<'a>,
    escape: char,
    /// Arguments before the first FROM.
    globals: BTreeMap<String, String>,
    out: Checked,
}

impl Checker<'_> {
    fn take(&mut self, instruction: &Instruction) -> Result<(), Fault> {
        let mut instruction = instruction.clone();
        let line = instruction.line;
        if self.out.stages.is_empty() && !matches!(instruction.name.as_str(), "FROM" | "ARG") {
            return Err(Fault::at(line, format!("{} stands before the first FROM", instruction.name)));
        }
        if let Some(flag) = instruction.flags.iter().find(|flag| flag.contains(['"', '\'', self.escape])) {
            return Err(Fault::at(line, format!("{flag} is written with quotes; write it without")));
        }
        let step = Step { line, text: instruction.text() };
        let mut work = match instruction.name.as_str() {
            "FROM" => self.from(&mut instruction)?,
            "ARG" => self.arg(&instruction),
            "RUN" => self.run(&mut instruction, &step)?,
            "COPY" | "ADD" => self.copy(&mut instruction)?,
            "LABEL" => labelled(&instruction, self.escape).map(|()| Work::Plain)?,
            "HEALTHCHECK" => Work::Plain,
            _ => no_flags(&instruction).map(|()| Work::Plain)?,
        };
        if instruction.on_build {
            if matches!(work, Work::Run(_) | Work::CopyApart(_)) {
                return Err(Fault::at(line, format!("ONBUILD {} is refused with these options", instruction.name)));
            }
            work = Work::OnBuild;
        }
        let line = Line { text: instruction.text(), step, work };
        match self.out.stages.last_mut() {
            Some(stage) => stage.lines.push(line),
            None => self.out.globals.push(line),
        }
        Ok(())
    }

    /// Number of one of the first `before` stages, by its name or number.
    fn stage(&self, before: usize, text: &str) -> Option<usize> {
        let is = |stage: &Stage| stage.name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(text));
        let named = self.out.stages[..before].iter().rposition(is);
        named.or_else(|| text.parse().ok().filter(|number| *number < before))
    }

    fn from(&mut self, instruction: &mut Instruction) -> Result<Work, Fault> {
        let line = instruction.line;
        for flag in std::mem::take(&mut instruction.flags) {
            let Some(platform) = flag.strip_prefix("--platform=") else { return Err(unknown(line, "FROM", &flag)) };
            let platform = parse::expand(platform, &self.values(), self.escape);
            if !platform.is_empty() && platform != self.given.platform {
                let here = self.given.platform;
                return Err(Fault::at(
                    line,
                    format!("FROM wants an image for {platform}; this server builds for {here}"),
                ));
            }
        }
        let words: Vec<String> = instruction.rest.split_whitespace().map(str::to_owned).collect();
        let (image, name) = match words.as_slice() {
            [image] => (image, None),
            [image, as_, name] if as_.eq_ignore_ascii_case("as") => (image, Some(name.clone())),
            _ => return Err(Fault::at(line, "FROM reads: FROM IMAGE, or FROM IMAGE AS NAME")),
        };
        if let Some(name) = &name
            && !is_stage(name)
        {
            return Err(Fault::at(
                line,
                format!("{name:?} is no name of a stage: a letter, then letters, 0-9, -, _ and ."),
            ));
        }
        let image = parse::expand(image, &self.values(), self.escape);
        if image.is_empty() {
            let fault = Fault::at(line, "FROM names no image: an argument in it has no value");
            return Err(fault.remedy("Give the ARG a default, or a value in build.args of app.json."));
        }
        // Not by its number: that would be the name of an image.
        let known = image.parse::<usize>().is_err().then(|| self.stage(self.out.stages.len(), &image)).flatten();
        let image = if known.is_some() || image == "scratch" { image } else { self.image(line, &image)? };
        instruction.rest = name.iter().fold(image, |image, name| format!("{image} AS {name}"));
        self.out.stages.push(Stage { name, lines: Vec::new() });
        Ok(Work::From(known))
    }

    /// Its full name.
    fn image(&mut self, line: usize, text: &str) -> Result<String, Fault> {
        if text.strip_suffix(":latest").unwrap_or(text) == OWN_BASE {
            self.out.uses_base = true;
            return Ok(self.given.base.to_owned());
        }
        let full = Full::parse(text).map_err(|cause| Fault::at(line, format!("{text:?} {cause}")))?;
        let own = self.given.base.split('/').next().unwrap_or_default();
        if full.is_platform(own) {
            let fault = Fault::at(line, format!("{text} is an image of the platform's own"));
            return Err(fault.remedy(format!("Its base image is FROM {OWN_BASE}.")));
        }
        let reference = full.text.clone();
        if !self.out.images.iter().any(|(_, known)| *known == full) {
            self.out.images.push((line, full));
        }
        Ok(reference)
    }

    fn arg(&mut self, instruction: &Instruction) -> Work {
        let mut named = Vec::new();
        for word in parse::words(&instruction.rest, self.escape) {
            let (name, default) =
                word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
            self.out.declared.insert(name.to_owned());
            named.push((name.to_owned(), default.is_some()));
            if self.out.stages.is_empty() {
                let given = self.given.arguments.get(name).cloned();
                let value = given.or_else(|| default.map(|text| parse::expand(text, &self.values(), self.escape)));
                self.globals.insert(name.to_owned(), value.unwrap_or_default());
            }
        }
        Work::Argument(named)
    }

    fn values(&self) -> BTreeMap<String, String> {
        let mut values: BTreeMap<_, _> =
            ["TARGETPLATFORM", "BUILDPLATFORM"].map(|n| (n.to_owned(), self.given.platform.to_owned())).into();
        values.extend(self.globals.clone());
        values
    }

    fn run(&mut self, instruction: &mut Instruction, step: &Step) -> Result<Work, Fault> {
        let line = instruction.line;
        let (mut read, mut network) = (Vec::new(), true);
        for flag in std::mem::take(&mut instruction.flags) {
            let (name, value) = flag.split_once('=').unwrap_or((&flag, ""));
            let refused =
                |cause: &str, remedy: &str| Err(Fault::at(line, format!("RUN {flag} {cause}")).remedy(remedy));
            match (name, value) {
                ("--network", "default") | ("--security", "sandbox") => {}
                ("--network", "none") => network = false,
                ("--network", "host") => {
                    return refused("is refused: a build never has the server's network", "Leave it out.");
                }
                ("--security", _) => return refused("is refused: a build never has privileges", "Leave it out."),
                ("--network", _) => return refused("is of an unknown kind", "There are default and none."),
                ("--mount", options) => read.push(self.mount(line, options)?),
                _ => return Err(unknown(line, "RUN", &flag)),
            }
        }
        if read.is_empty() && network && instruction.heredocs.is_empty() {
            return Ok(Work::Plain);
        }
        let command = match serde_json::from_str::<Vec<String>>(&instruction.rest) {
            Ok(words) if !words.is_empty() => Command::Words(words),
            _ => line_or_script(instruction),
        };
        Ok(Work::Run(Run { step: step.clone(), command, mounts: read, network }))
    }

    fn mount(&mut self, line: usize, options: &str) -> Result<mounts::Mount, Fault> {
        let mount = mounts::read(line, options, &mut |from| self.source(line, "RUN --mount", from))?;
        if mount.kind == Kind::Secret && !self.given.secrets.contains(&mount.id) {
            let id = &mount.id;
            let cause = format!("there is no secret {id}: build.secrets of app.json does not name it");
            if mount.required {
                let remedy = format!(
                    "Write \"build\": {{\"secrets\": {{\"{id}\": \"NAME\"}}}} in app.json, with the name of a variable of the app."
                );
                return Err(Fault::at(line, cause).remedy(remedy));
            }
            self.out.notes.push(format!("line {line}: {cause}; the command runs without"));
        }
        Ok(mount)
    }

    fn copy(&mut self, instruction: &mut Instruction) -> Result<Work, Fault> {
        let line = instruction.line;
        let (mut kept, mut from, mut mode) = (Vec::new(), None, None);
        for flag in std::mem::take(&mut instruction.flags) {
            let (name, value) = flag.split_once('=').unwrap_or((&flag, ""));
            match name {
                "--chown" => kept.push(flag),
                "--link" => {}
                "--from" if instruction.name == "COPY" && instruction.on_build => {
                    return Err(Fault::at(line, "ONBUILD COPY --from is refused"));
                }
                "--from" if instruction.name == "COPY" => from = Some(self.source(line, "COPY --from", value)?),
                "--chmod" => match u32::from_str_radix(value, 8) {
                    Ok(octal) if octal <= 0o7777 && !value.is_empty() => mode = Some(octal),
                    _ => {
                        let fault = Fault::at(line, format!("{flag} is no mode in digits"));
                        return Err(fault.remedy("Write it as three digits, such as --chmod=755."));
                    }
                },
                _ => return Err(unknown(line, &instruction.name, &flag)),
            }
        }
        if instruction.name == "ADD" {
            added(instruction, self.escape)?;
        }
        if mode.is_none() && instruction.heredocs.is_empty() {
            instruction.flags = kept;
            match &from {
                Some(Origin::Image(image)) => instruction.flags.insert(0, format!("--from={image}")),
                Some(Origin::Stage(stage)) => instruction.flags.insert(0, format!("--from={stage}")),
                Some(Origin::Context) | None => {}
            }
            return Ok(Work::Copy(from));
        }
        if instruction.name == "ADD" {
            let fault = Fault::at(line, "ADD with --chmod or a here-document is refused");
            return Err(fault.remedy("COPY does the same with files."));
        }
        let words = match serde_json::from_str::<Vec<String>>(&instruction.rest) {
            Ok(words) => words,
            Err(_) => parse::words(&instruction.rest, self.escape),
        };
        let words: Vec<String> = words.into_iter().filter(|word| parse::heredoc(word).is_none()).collect();
        if words.is_empty() || words.len() == 1 && instruction.heredocs.is_empty() {
            return Err(Fault::at(line, "COPY reads: COPY WHAT… WHERE"));
        }
        let heredocs = std::mem::take(&mut instruction.heredocs);
        Ok(Work::CopyApart(CopyApart { flags: kept.join(" "), from, words, heredocs, mode }))
    }

    /// A stage before this one by name or number, or an image.
    fn source(&mut self, line: usize, what: &str, text: &str) -> Result<Origin, Fault> {
        if text.contains('$') || text.is_empty() {
            return Err(Fault::at(line, format!("{what} names a stage or an image, without variables")));
        }
        match self.stage(self.out.stages.len().saturating_sub(1), text) {
            Some(stage) => Ok(Origin::Stage(stage)),
            None => Ok(Origin::Image(self.image(line, text)?)),
        }
    }
}

/// `RUN <<EOF` is its lines, for the shell or for what their first line names; in any other form the shell reads them.
fn line_or_script(instruction: &Instruction) -> Command {
    let rest = &instruction.rest;
    match instruction.heredocs.as_slice() {
        [] => Command::Line(rest.clone()),
        [only] if parse::heredoc(rest.trim()).is_some() => match only.text.starts_with("#!") {
            true => Command::Script(only.text.clone()),
            false => Command::Line(only.text.clone()),
        },
        several => Command::Line(several.iter().fold(format!("{rest}\n"), |text, heredoc| text + &heredoc.raw)),
    }
}

/// The engine itself would fetch an address, past everything that keeps a build's network apart.
fn added(instruction: &Instruction, escape: char) -> Result<(), Fault> {
    let words = match serde_json::from_str::<Vec<String>>(&instruction.rest) {
        Ok(words) => words,
        Err(_) => parse::words(&instruction.rest, escape),
    };
    let fault = |cause: String| Fault::at(instruction.line, cause);
    for source in &words[..words.len().saturating_sub(1)] {
        if source.contains("://") || source.starts_with("git@") {
            let fault =
                fault("ADD of an address is refused: the engine would fetch it from the server's own network".into());
            return Err(fault.remedy("Fetch it in the build: RUN curl -fsSLo FILE ADDRESS."));
        }
        if source.contains('$') {
            let fault = fault("ADD with a variable in its source is refused: it could be an address".into());
            return Err(fault.remedy("Use COPY for files of the repository, and RUN curl for an address."));
        }
    }
    Ok(())
}

fn labelled(instruction: &Instruction, escape: char) -> Result<(), Fault> {
    no_flags(instruction)?;
    for word in parse::words(&instruction.rest, escape) {
        let key = word.split('=').next().unwrap_or_default();
        let refused = |cause: &str| Err(Fault::at(instruction.line, format!("LABEL {key}: {cause}")));
        if key.contains('$') {
            return refused("a key must not have variables");
        }
        if key.starts_with(RESERVED) {
            return refused("keys that begin with hythe. are the platform's own");
        }
        // The old form, `LABEL key the value`, has one key.
        if !word.contains('=') {
            break;
        }
    }
    Ok(())
}

fn no_flags(instruction: &Instruction) -> Result<(), Fault> {
    match instruction.flags.first() {
        Some(flag) => Err(unknown(instruction.line, &instruction.name, flag)),
        None => Ok(()),
    }
}

fn unknown(line: usize, name: &str, flag: &str) -> Fault {
    Fault::at(line, format!("{name} {flag} is not known to this engine's builder")).remedy("Leave the option out.")
}

fn is_stage(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests;
