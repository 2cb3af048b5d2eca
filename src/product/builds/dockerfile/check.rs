//! What a Dockerfile may ask for, and how it is given to the engine: every image by its full name, every stage labelled,
//! what only other builders know left out where that changes no result and refused where it would. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::Fault;
use super::parse::{self, Instruction, Parsed};
use super::reference::Full;

/// The platform's own base image, by this name in FROM.
pub const OWN_BASE: &str = "hythe/base";
/// Labels by which the platform knows what is its own.
const RESERVED: &str = "hythe.";

/// What a build brings along beside the file.
pub struct Given<'a> {
    pub arguments: &'a BTreeMap<String, String>,
    pub target: Option<&'a str>,
    pub labels: &'a BTreeMap<String, String>,
    /// What the engine calls the platform's base image; its first part is the platform's name there.
    pub base: &'a str,
    /// `linux/amd64`
    pub platform: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Checked {
    /// For the engine.
    pub text: String,
    /// What each of its steps is in the file; none for what was put in.
    pub steps: Vec<Option<Step>>,
    /// Images from registries, with the line that first names them.
    pub images: Vec<(usize, Full)>,
    pub uses_base: bool,
    /// Arguments that it declares.
    pub declared: BTreeSet<String>,
    /// For the pusher: what is left out.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub line: usize,
    pub text: String,
}

pub fn check(parsed: &Parsed, given: &Given<'_>) -> Result<Checked, Fault> {
    let mut checker = Checker {
        given,
        escape: parsed.escape,
        globals: BTreeMap::new(),
        stages: Vec::new(),
        out: Checked {
            text: format!("# escape={}\n", parsed.escape),
            steps: Vec::new(),
            images: Vec::new(),
            uses_base: false,
            declared: BTreeSet::new(),
            notes: Vec::new(),
        },
    };
    if let Some(syntax) = &parsed.syntax {
        checker.out.notes.push(format!("# syntax={syntax} is left out: the engine's own builder is used"));
    }
    for instruction in &parsed.instructions {
        checker.take(instruction)?;
    }
    if checker.stages.is_empty() {
        return Err(Fault::at(1, "has no FROM"));
    }
    if let Some(target) = given.target {
        let named = checker.stages.iter().flatten().any(|name| name.eq_ignore_ascii_case(target));
        if !named && target.parse::<usize>().map_or(true, |number| number >= checker.stages.len()) {
            return Err(Fault::at(1, format!("has no stage {target:?}, which build.target of app.json names")));
        }
    }
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
    /// Names of the stages so far.
    stages: Vec<Option<String>>,
    out: Checked,
}

impl Checker<'_> {
    fn take(&mut self, instruction: &Instruction) -> Result<(), Fault> {
        let mut instruction = instruction.clone();
        let line = instruction.line;
        if self.stages.is_empty() && !matches!(instruction.name.as_str(), "FROM" | "ARG") {
            return Err(Fault::at(line, format!("{} stands before the first FROM", instruction.name)));
        }
        if let Some(flag) = instruction.flags.iter().find(|flag| flag.contains(['"', '\'', self.escape])) {
            return Err(Fault::at(line, format!("{flag} is written with quotes; write it without")));
        }
        let shown = instruction.text();
        match instruction.name.as_str() {
            "FROM" => self.from(&mut instruction)?,
            "ARG" => self.arg(&instruction),
            "RUN" => self.run(&mut instruction)?,
            "COPY" | "ADD" => self.copy(&mut instruction)?,
            "LABEL" => labelled(&instruction, self.escape)?,
            "HEALTHCHECK" => {}
            _ => no_flags(&instruction)?,
        }
        self.out.text.push_str(&instruction.text());
        self.out.text.push('\n');
        self.out.steps.push(Some(Step { line, text: shown }));
        if instruction.name == "FROM" {
            let labels: Vec<_> = self.given.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            self.out.text.push_str(&format!("LABEL {}\n", labels.join(" ")));
            self.out.steps.push(None);
        }
        Ok(())
    }

    fn from(&mut self, instruction: &mut Instruction) -> Result<(), Fault> {
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
        let known = self.stages.iter().flatten().any(|stage| stage.eq_ignore_ascii_case(&image));
        let image = if known || image == "scratch" { image } else { self.image(line, &image)? };
        instruction.rest = name.iter().fold(image, |image, name| format!("{image} AS {name}"));
        self.stages.push(name);
        Ok(())
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

    fn arg(&mut self, instruction: &Instruction) {
        for word in parse::words(&instruction.rest, self.escape) {
            let (name, default) =
                word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
            self.out.declared.insert(name.to_owned());
            if self.stages.is_empty() {
                let given = self.given.arguments.get(name).cloned();
                let value = given.or_else(|| default.map(|text| parse::expand(text, &self.values(), self.escape)));
                self.globals.insert(name.to_owned(), value.unwrap_or_default());
            }
        }
    }

    fn values(&self) -> BTreeMap<String, String> {
        let mut values: BTreeMap<_, _> =
            ["TARGETPLATFORM", "BUILDPLATFORM"].map(|n| (n.to_owned(), self.given.platform.to_owned())).into();
        values.extend(self.globals.clone());
        values
    }

    fn run(&mut self, instruction: &mut Instruction) -> Result<(), Fault> {
        let line = instruction.line;
        for flag in std::mem::take(&mut instruction.flags) {
            let (name, value) = flag.split_once('=').unwrap_or((&flag, ""));
            let refused =
                |cause: &str, remedy: &str| Err(Fault::at(line, format!("RUN {flag} {cause}")).remedy(remedy));
            match (name, value) {
                ("--network", "default") | ("--security", "sandbox") => {}
                ("--network", "host") => {
                    return refused("is refused: a build never has the server's network", "Leave it out.");
                }
                ("--security", _) => return refused("is refused: a build never has privileges", "Leave it out."),
                ("--network", _) => return refused("is not known to this engine's builder", "Leave it out."),
                ("--mount", options) => {
                    let kind = options.split(',').find_map(|option| option.strip_prefix("type=")).unwrap_or("bind");
                    match kind {
                        "cache" | "tmpfs" => {
                            let note = format!(
                                "line {line}: --mount=type={kind} is left out: nothing of it is kept between builds"
                            );
                            self.out.notes.push(note);
                        }
                        "secret" | "ssh" => {
                            return refused(
                                "needs a builder that keeps secrets out of layers, which this engine's is not",
                                "Fetch what needs a secret before the push, or have the app fetch it when it starts: its variables are there.",
                            );
                        }
                        _ => {
                            return refused(
                                "is refused: a build mounts nothing",
                                "COPY what the command needs; COPY --from=STAGE takes it out of another stage.",
                            );
                        }
                    }
                }
                _ => return Err(unknown(line, "RUN", &flag)),
            }
        }
        Ok(())
    }

    fn copy(&mut self, instruction: &mut Instruction) -> Result<(), Fault> {
        let line = instruction.line;
        let mut kept = Vec::new();
        for flag in std::mem::take(&mut instruction.flags) {
            let (name, value) = flag.split_once('=').unwrap_or((&flag, ""));
            match name {
                "--chown" => kept.push(flag),
                "--link" => {}
                "--from" if instruction.name == "COPY" && instruction.on_build => {
                    return Err(Fault::at(line, "ONBUILD COPY --from is refused"));
                }
                "--from" if instruction.name == "COPY" => kept.push(format!("--from={}", self.source(line, value)?)),
                "--chmod" => {
                    let fault = Fault::at(line, format!("{flag} is not known to this engine's builder"));
                    return Err(fault.remedy(
                        "Set the mode in the repository (git update-index --chmod=+x FILE), or by RUN chmod.",
                    ));
                }
                _ => return Err(unknown(line, &instruction.name, &flag)),
            }
        }
        instruction.flags = kept;
        if instruction.name == "ADD" { added(instruction, self.escape) } else { Ok(()) }
    }

    /// A stage before this one by name or number, or an image.
    fn source(&mut self, line: usize, text: &str) -> Result<String, Fault> {
        if text.contains('$') || text.is_empty() {
            return Err(Fault::at(line, "COPY --from names a stage or an image, without variables"));
        }
        let before = &self.stages[..self.stages.len().saturating_sub(1)];
        let named = before.iter().flatten().any(|stage| stage.eq_ignore_ascii_case(text));
        if named || text.parse::<usize>().is_ok_and(|number| number < before.len()) {
            return Ok(text.to_owned());
        }
        self.image(line, text)
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
