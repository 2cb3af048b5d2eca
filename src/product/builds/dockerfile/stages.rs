//! What was understood of a Dockerfile, and the pieces in which it is built. The engine's builder does a whole file at once
//! where it can. Where the file has what that builder lacks, each stage is cut there: what stands before becomes an image,
//! the command is run upon it, and the rest goes on from what it made. Pure.

use std::collections::BTreeSet;

use super::mounts::{Mount, Origin};
use super::parse::Heredoc;

/// Before and after the number of a stage whose image is put in when it is known.
const MARK: char = '\0';
/// Labels that tell what an argument is where a stage is cut.
pub const VALUE: &str = "hythe.recipe.value.";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub line: usize,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// For the engine.
    pub text: String,
    /// What it is in the file.
    pub step: Step,
    pub work: Work,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    Plain,
    /// `FROM` of a stage before this one, or of an image.
    From(Option<usize>),
    /// Name, and whether the file says what it is without anybody's word.
    Argument(Vec<(String, bool)>),
    OnBuild,
    /// Out of a stage, an image, or the tree.
    Copy(Option<Origin>),
    /// Which the engine's builder cannot do with the tree as it is.
    CopyApart(CopyApart),
    Run(Run),
}

/// A COPY with files that stand in the Dockerfile, or with modes of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyApart {
    /// `--chown=…` and the like.
    pub flags: String,
    pub from: Option<Origin>,
    /// What is copied, and at the end where to.
    pub words: Vec<String>,
    pub heredocs: Vec<Heredoc>,
    pub mode: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Words(Vec<String>),
    Line(String),
    Script(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub step: Step,
    pub command: Command,
    pub mounts: Vec<Mount>,
    pub network: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stage {
    pub name: Option<String>,
    /// The first one is its FROM.
    pub lines: Vec<Line>,
}

/// What the engine's builder does in one go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Build {
    pub text: String,
    /// What each of its steps is in the file; none for what was put in.
    pub steps: Vec<Option<Step>>,
    /// It wants the tree.
    pub tree: bool,
    /// Arguments that it declares.
    pub declared: BTreeSet<String>,
    pub apart: Option<CopyApart>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Build(Box<Build>),
    Run(Box<Run>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Whose image comes of it.
    pub stage: usize,
    pub work: Part,
    /// Arguments of the stage so far, as `Work::Argument` has them.
    pub arguments: Vec<(String, bool)>,
    /// It begins with what an earlier piece of its stage made.
    pub goes_on: bool,
}

/// `labels` is the instruction that stands behind each FROM.
pub struct Cut<'a> {
    pub globals: &'a [Line],
    pub stages: &'a [Stage],
    pub target: usize,
    pub labels: &'a str,
    pub escape: char,
}

impl Cut<'_> {
    pub fn pieces(&self) -> Vec<Piece> {
        let stages = &self.stages[..=self.target];
        let apart = |line: &Line| matches!(line.work, Work::Run(_) | Work::CopyApart(_));
        if !stages.iter().flat_map(|stage| &stage.lines).any(apart) {
            let mut whole = self.begun();
            stages.iter().flat_map(|stage| &stage.lines).for_each(|line| self.add(&mut whole, line, &line.text));
            return vec![Piece {
                stage: self.target,
                work: Part::Build(Box::new(whole)),
                arguments: Vec::new(),
                goes_on: false,
            }];
        }
        let mut needed = vec![false; stages.len()];
        needed[self.target] = true;
        self.need(self.target, &mut needed);
        let needed = needed.iter().enumerate().filter(|(_, needed)| **needed);
        needed.flat_map(|(at, _)| self.of_stage(at)).collect()
    }

    fn need(&self, stage: usize, needed: &mut [bool]) {
        for line in &self.stages[stage].lines {
            for used in uses(&line.work) {
                if !needed[used] {
                    needed[used] = true;
                    self.need(used, needed);
                }
            }
        }
    }

    fn of_stage(&self, at: usize) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut arguments: Vec<(String, bool)> = Vec::new();
        let mut triggers = Vec::new();
        let mut open: Option<Build> = None;
        for line in &self.stages[at].lines {
            match &line.work {
                // They are for whoever builds upon the stage: no piece of it is to carry them out.
                Work::OnBuild => triggers.push(line),
                Work::Run(run) => {
                    self.close(at, &mut open, &arguments, &mut pieces);
                    let work = Part::Run(Box::new(run.clone()));
                    pieces.push(Piece { stage: at, work, arguments: arguments.clone(), goes_on: true });
                }
                Work::CopyApart(copy) => {
                    self.close(at, &mut open, &arguments, &mut pieces);
                    let mut build = self.going_on(at, &arguments);
                    build.tree = copy.from.is_none() && copy.words.len() > 1;
                    build.steps.push(Some(line.step.clone()));
                    build.apart = Some(copy.clone());
                    let work = Part::Build(Box::new(build));
                    pieces.push(Piece { stage: at, work, arguments: arguments.clone(), goes_on: true });
                }
                work => {
                    let build = open.get_or_insert_with(|| match work {
                        // Told once for all stages would be told in the wrong place: not at all.
                        Work::From(_) => self.begun().untold(),
                        _ => self.going_on(at, &arguments),
                    });
                    let text = match work {
                        Work::From(Some(stage)) => format!("FROM {MARK}{stage}{MARK}"),
                        Work::Copy(Some(Origin::Stage(stage))) => {
                            let flag =
                                line.text.split(' ').find(|word| word.starts_with("--from=")).unwrap_or_default();
                            line.text.replacen(flag, &format!("--from={MARK}{stage}{MARK}"), 1)
                        }
                        _ => line.text.clone(),
                    };
                    self.add(build, line, &text);
                    if let Work::Argument(named) = work {
                        arguments.retain(|(name, _)| named.iter().all(|(new, _)| new != name));
                        arguments.extend(named.clone());
                    }
                }
            }
        }
        for line in triggers {
            let build = open.get_or_insert_with(|| self.going_on(at, &arguments));
            self.add(build, line, &line.text);
        }
        self.close(at, &mut open, &arguments, &mut pieces);
        pieces
    }

    fn close(&self, stage: usize, open: &mut Option<Build>, arguments: &[(String, bool)], pieces: &mut Vec<Piece>) {
        let Some(mut build) = open.take() else { return };
        let well = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let told: Vec<_> = arguments.iter().filter(|(name, _)| well(name)).collect();
        if !told.is_empty() {
            let labels: Vec<_> = told.iter().map(|(name, _)| format!("{VALUE}{name}=\"${name}\"")).collect();
            build.text.push_str(&format!("LABEL {}\n", labels.join(" ")));
            build.steps.push(None);
        }
        let goes_on = pieces.iter().any(|piece| piece.stage == stage);
        let work = Part::Build(Box::new(build));
        pieces.push(Piece { stage, work, arguments: arguments.to_vec(), goes_on });
    }

    fn begun(&self) -> Build {
        let mut build = Build { text: format!("# escape={}\n", self.escape), ..Build::default() };
        self.globals.iter().for_each(|line| self.add(&mut build, line, &line.text));
        build
    }

    /// What ended in an image of the stage goes on from it.
    fn going_on(&self, stage: usize, arguments: &[(String, bool)]) -> Build {
        let mut build = Build { text: format!("# escape={}\n", self.escape), ..Build::default() };
        build.text.push_str(&format!("FROM {MARK}{stage}{MARK}\n{}\n", self.labels));
        build.steps.extend([None, None]);
        for (name, _) in arguments {
            build.text.push_str(&format!("ARG {name}\n"));
            build.steps.push(None);
            build.declared.insert(name.clone());
        }
        build
    }

    fn add(&self, build: &mut Build, line: &Line, text: &str) {
        build.text.push_str(text);
        build.text.push('\n');
        build.steps.push(Some(line.step.clone()));
        match &line.work {
            Work::From(from) => {
                // Its base may have something done by whoever builds upon it, with the tree.
                build.tree |=
                    from.is_some_and(|stage| self.stages[stage].lines.iter().any(|l| l.work == Work::OnBuild));
                build.text.push_str(self.labels);
                build.text.push('\n');
                build.steps.push(None);
            }
            Work::Argument(named) => build.declared.extend(named.iter().map(|(name, _)| name.clone())),
            Work::Copy(None) => build.tree = true,
            _ => {}
        }
    }
}

impl Build {
    fn untold(mut self) -> Self {
        self.steps.iter_mut().for_each(|step| *step = None);
        self
    }
}

/// Stages that a line takes something from.
fn uses(work: &Work) -> Vec<usize> {
    let of = |origin: &Option<Origin>| match origin {
        Some(Origin::Stage(stage)) => Some(*stage),
        _ => None,
    };
    match work {
        Work::From(stage) => stage.iter().copied().collect(),
        Work::Copy(origin) => of(origin).into_iter().collect(),
        Work::CopyApart(copy) => of(&copy.from).into_iter().collect(),
        Work::Run(run) => run.mounts.iter().filter_map(|mount| of(&mount.from)).collect(),
        _ => Vec::new(),
    }
}

/// The text with the images of stages put in; none where one is not there yet.
pub fn filled(text: &str, images: &[Option<String>]) -> Option<String> {
    let mut out = String::new();
    for (at, part) in text.split(MARK).enumerate() {
        match at % 2 {
            0 => out.push_str(part),
            _ => out.push_str(images.get(part.parse::<usize>().ok()?)?.as_deref()?),
        }
    }
    Some(out)
}
