//! Has the engine make the pieces of a Dockerfile one after the other, each upon what the one before made.
//!
//! Invariants: a secret's value goes to the engine with the command that names it, and nowhere else; nothing of the server is
//! mounted, only what the tree, a stage or an image has, copied; what decides on a command's result is in its key, as far
//! as its author can know it: not what is in a cache, and not what a secret is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};

use super::super::builder::Builder;
use super::super::messages::{self, dockerfile as texts};
use super::super::{BuildFailure, BuildRequest, export};
use super::check::Checked;
use super::follow::Follower;
use super::mounts::{Kind, Mount, Origin};
use super::stages::{Build, Command, CopyApart, Part, Piece, Run, Step, VALUE, filled};
use super::{Fault, IN_CONTEXT, Ignore, MakeContext, parse};
use crate::base::secret::Secret;
use crate::machinery::image::Digest;
use crate::machinery::runtime::tarball::{self, Kind as Entry};
use crate::machinery::runtime::{
    ByteStream, EngineError, RecipeCommand, RecipeLines, RecipeMount, RecipeRun, RecipeSpec,
};

/// Where files that stand in the Dockerfile are in a context.
const HERE: &str = ".hythe.here";

pub struct Drive<'a> {
    pub builder: &'a Builder,
    pub request: &'a BuildRequest,
    pub path: &'a str,
    pub checked: &'a Checked,
    pub context: MakeContext,
    /// The text of the tree's own patterns.
    pub ignore: &'a [u8],
    /// Arguments that somebody gives a value.
    pub passed: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, Secret<String>>,
    /// What an image beneath has done may want the tree.
    pub triggers: bool,
    pub began: Instant,
    pub follower: Follower<'a>,
    /// Of each stage, as far as it is made.
    pub images: Vec<Option<String>>,
}

/// What a piece that goes on finds.
#[derive(Default)]
struct Around {
    /// Of the image, and arguments.
    values: BTreeMap<String, String>,
    arguments: BTreeMap<String, String>,
    working_dir: String,
}

impl Drive<'_> {
    /// The engine's id of the result.
    pub async fn carry_out(mut self) -> Result<String, BuildFailure> {
        let mut last = String::new();
        for piece in self.checked.pieces() {
            let around = self.around(&piece).await?;
            last = match &piece.work {
                Part::Build(build) => self.build(build, &around).await?,
                Part::Run(run) => self.run(&piece, run, around).await?,
            };
            self.images[piece.stage] = Some(last.clone());
        }
        self.follower.finish();
        Ok(last)
    }

    async fn around(&self, piece: &Piece) -> Result<Around, BuildFailure> {
        let Some(image) = self.images[piece.stage].as_deref().filter(|_| piece.goes_on) else {
            return Ok(Around::default());
        };
        let found = self.builder.engine.foreign_image(image).await.map_err(|error| messages::engine(&error))?;
        let Some(found) = found else { return Err(messages::platform("building", "the image of a stage is gone")) };
        let mut around = Around { values: found.variables, arguments: BTreeMap::new(), working_dir: found.working_dir };
        for (name, has_default) in &piece.arguments {
            let value = found.labels.get(&format!("{VALUE}{name}")).cloned().unwrap_or_default();
            // What the image says of a variable of that name goes before.
            if (*has_default || !value.is_empty()) && !around.values.contains_key(name) {
                around.arguments.insert(name.clone(), value);
            }
        }
        around.values.extend(around.arguments.clone());
        Ok(around)
    }

    fn fault(&self, step: Option<&Step>, cause: impl Into<String>) -> BuildFailure {
        texts::fault(self.path, &Fault::at(step.map_or(0, |step| step.line), cause))
    }

    async fn build(&mut self, build: &Build, around: &Around) -> Result<String, BuildFailure> {
        let lost = || messages::platform("building", "a stage was not built before it was used");
        let mut text = filled(&build.text, &self.images).ok_or_else(lost)?;
        let step = build.steps.iter().flatten().last().cloned();
        let (mut files, mut stored) = (Vec::new(), None);
        let mode = build.apart.as_ref().and_then(|copy| copy.mode);
        if let Some(copy) = &build.apart {
            let (line, archive) = self.apart(copy, around, &mut files, step.as_ref()).await?;
            text.push_str(&line);
            stored = archive;
        }
        let context = self.context(text, files, (build.tree || self.triggers) && stored.is_none(), (mode, stored));
        let mut arguments = self.passed.clone();
        arguments.extend(around.arguments.clone());
        arguments.retain(|name, _| build.declared.contains(name) || name.to_lowercase().ends_with("_proxy"));
        let said = self.start(context, arguments).await?;
        let around = build.apart.as_ref().and(step.as_ref());
        self.follower.follow(said, &build.steps, (around, false)).await
    }

    /// The instruction of a COPY that needs a context of its own, and files for it.
    async fn apart(
        &self,
        copy: &CopyApart,
        around: &Around,
        files: &mut Vec<(String, Vec<u8>)>,
        step: Option<&Step>,
    ) -> Result<(String, Option<ByteStream>), BuildFailure> {
        let escape = self.checked.escape;
        let (to, mut what) = match copy.words.split_last() {
            Some((to, what)) => (to.clone(), what.to_vec()),
            None => return Err(self.fault(step, "COPY says nothing")),
        };
        let mut archive = None;
        if let Some(origin @ (Origin::Stage(_) | Origin::Image(_))) = &copy.from {
            let [one] = what.as_slice() else {
                return Err(self.fault(step, "COPY --from with --chmod takes one file or directory"));
            };
            let path = parse::expand(one, &around.values, escape);
            let path = path.trim_matches('/');
            if path.is_empty() || path.contains(['*', '?', '[']) || path.split('/').any(|part| part == "..") {
                return Err(self.fault(step, "COPY --from with --chmod takes one path, without patterns"));
            }
            let image = self.origin(origin, step).await?;
            let read = self.builder.engine.read_recipe(&self.request.app, &image, &format!("/{path}")).await;
            archive = Some(read.map_err(|error| match error {
                EngineError::NotFound { .. } => self.fault(step, format!("there is no /{path} to be copied")),
                other => messages::engine(&other),
            })?);
            what = vec![path.rsplit('/').next().unwrap_or(path).to_owned()];
        }
        for (at, heredoc) in copy.heredocs.iter().enumerate() {
            let text = match heredoc.quoted {
                true => heredoc.text.clone(),
                false => parse::fill_in(&heredoc.text, &around.values, escape),
            };
            let path = format!("{HERE}{at}/{}", heredoc.name);
            files.push((path.clone(), text.into_bytes()));
            what.push(path);
        }
        what.push(to);
        let flags = if copy.flags.is_empty() { String::new() } else { format!("{} ", copy.flags) };
        Ok((format!("COPY {flags}{}\n", serde_json::json!(what)), archive))
    }

    /// What the engine's builder is sent: the text as a file, these files, and the tree or what was read.
    fn context(
        &self,
        text: String,
        mut files: Vec<(String, Vec<u8>)>,
        tree: bool,
        (mode, stored): (Option<u32>, Option<ByteStream>),
    ) -> ByteStream {
        // The builder takes out of the context what the file of patterns names: that is, its own copy of the Dockerfile.
        let mut patterns = if tree { self.ignore.to_vec() } else { Vec::new() };
        patterns.extend(format!("\n{IN_CONTEXT}\n").bytes());
        patterns.extend(files.iter().flat_map(|(path, _)| format!("!{path}\n").into_bytes()));
        files.push((IN_CONTEXT.to_owned(), text.into_bytes()));
        files.push((".dockerignore".to_owned(), patterns));
        let whole = if tree {
            export::streamed((self.context)(Ignore::parse(self.ignore), files))
        } else {
            let mut head = Vec::new();
            for (path, content) in &files {
                tarball::append_for_root(&mut head, path, Entry::File, 0o644, "", content);
            }
            if stored.is_none() {
                tarball::finish(&mut head);
            }
            let head = stream::iter([Ok(head.into())]);
            head.chain(stored.unwrap_or_else(|| stream::empty().boxed())).boxed()
        };
        match mode {
            Some(mode) => tarball::with_mode(whole, mode),
            None => whole,
        }
    }

    async fn start(
        &self,
        context: ByteStream,
        arguments: BTreeMap<String, String>,
    ) -> Result<RecipeLines, BuildFailure> {
        let spec = RecipeSpec {
            app: self.request.app.clone(),
            context,
            dockerfile: IN_CONTEXT.to_owned(),
            arguments,
            limits: self.builder.images.limits(),
            disk_bytes: self.builder.bounds.disk_bytes,
            no_cache: self.request.no_cache,
            within: self.left(),
        };
        self.builder.engine.build_recipe(spec).await.map_err(|error| messages::engine(&error))
    }

    fn left(&self) -> Duration {
        Duration::from_secs(self.builder.bounds.seconds).saturating_sub(self.began.elapsed())
    }

    async fn origin(&self, origin: &Origin, step: Option<&Step>) -> Result<String, BuildFailure> {
        match origin {
            Origin::Stage(stage) => {
                let made = self.images.get(*stage).cloned().flatten();
                made.ok_or_else(|| self.fault(step, "a stage was not built before it was used"))
            }
            Origin::Image(reference) => {
                let found = self.builder.engine.foreign_image(reference).await;
                let found = found.map_err(|error| messages::engine(&error))?;
                found.map(|image| image.id).ok_or_else(|| self.fault(step, format!("{reference} is not there")))
            }
            Origin::Context => Err(self.fault(step, "the tree is no image")),
        }
    }

    async fn run(&mut self, piece: &Piece, run: &Run, around: Around) -> Result<String, BuildFailure> {
        let step = Some(&run.step);
        let image = self.images[piece.stage].clone().ok_or_else(|| self.fault(step, "nothing stands before it"))?;
        let tree = self.tree_for(run, &around).await?;
        let (mut mounts, mut secrets, mut decided) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (at, mount) in run.mounts.iter().enumerate() {
            let told = |cause: String| self.fault(step, format!("--mount: {cause}"));
            let target = mount.place(&around.values, self.checked.escape, &around.working_dir).map_err(told)?;
            let from = self.from(mount, (at, tree.as_deref()), &around, step).await?;
            decided.push(format!("{:?} {target} {:?} {:?} {from:?}", mount.kind, mount.id, mount.variable));
            match (mount.kind, from) {
                (Kind::Tmpfs, _) => mounts.push(RecipeMount::Tmpfs { target, bytes: mount.bytes }),
                (Kind::Cache, from) => {
                    let id = mount.cache_id(&around.values, self.checked.escape, &target);
                    let name = short(&format!("{id}\0{from:?}"));
                    mounts.push(RecipeMount::Cache { name, target, owner: mount.owner, mode: mount.mode, from });
                }
                (Kind::Bind, Some((image, path))) => mounts.push(RecipeMount::Tree { image, path, target }),
                (Kind::Bind, None) => {}
                (Kind::Secret, _) => {
                    let Some(value) = self.secrets.get(&mount.id) else { continue };
                    secrets.extend(mount.variable.iter().map(|name| (name.clone(), value.clone())));
                    if mount.variable.is_none() || !mount.target.is_empty() {
                        let (value, owner, mode) = (value.clone(), mount.owner, mount.mode);
                        mounts.push(RecipeMount::Secret { target, value, owner, mode });
                    }
                }
            }
        }
        let command = match &run.command {
            Command::Words(words) => RecipeCommand::Words(words.clone()),
            Command::Line(line) => RecipeCommand::Line(line.clone()),
            Command::Script(text) => RecipeCommand::Script(text.clone()),
        };
        let key = short(&format!("1 {image} {command:?} {} {:?} {decided:?}", run.network, around.arguments));
        let mut variables = around.arguments;
        let network = self.passed.iter().filter(|(name, _)| name.to_lowercase().ends_with("_proxy"));
        variables.extend(network.map(|(name, value)| (name.clone(), value.clone())));
        let limits = self.builder.images.limits();
        let spec = RecipeRun {
            app: self.request.app.clone(),
            image,
            command,
            told: run.step.text.chars().take(4000).collect(),
            key,
            variables,
            secrets,
            mounts,
            network: run.network,
            limits,
            disk_bytes: self.builder.bounds.disk_bytes,
            no_cache: self.request.no_cache,
            within: self.left(),
        };
        let said = self.builder.engine.run_recipe(spec).await.map_err(|error| messages::engine(&error))?;
        self.follower.follow(said, &[], (step, true)).await
    }

    /// An image that holds what the command mounts of the tree: `/0/_` for its first mount, and so on. The engine's builder
    /// makes the same one of the same files, so its id says what they are.
    async fn tree_for(&mut self, run: &Run, around: &Around) -> Result<Option<String>, BuildFailure> {
        let step = Some(&run.step);
        let mut text = format!("# escape={}\nFROM scratch\n{}\n", self.checked.escape, self.checked.labels);
        let mut any = false;
        for (at, mount) in run.mounts.iter().enumerate().filter(|(_, m)| m.from == Some(Origin::Context)) {
            let path = mount.path(&around.values, self.checked.escape);
            let path = path.map_err(|cause| self.fault(step, format!("--mount: {cause}")))?;
            let path = if path.is_empty() { ".".to_owned() } else { path };
            text.push_str(&format!("COPY {}\n", serde_json::json!([path, format!("/{at}/_")])));
            any = true;
        }
        if !any {
            return Ok(None);
        }
        let context = self.context(text, Vec::new(), true, (None, None));
        let said = self.start(context, BTreeMap::new()).await?;
        self.follower.follow(said, &[], (step, false)).await.map(Some)
    }

    /// Image and path of what is mounted.
    async fn from(
        &self,
        mount: &Mount,
        (at, tree): (usize, Option<&str>),
        around: &Around,
        step: Option<&Step>,
    ) -> Result<Option<(String, String)>, BuildFailure> {
        match (&mount.from, tree) {
            (None, _) => Ok(None),
            (Some(Origin::Context), Some(tree)) => Ok(Some((tree.to_owned(), format!("/{at}/_")))),
            (Some(origin), _) => {
                let path = mount.path(&around.values, self.checked.escape);
                let path = path.map_err(|cause| self.fault(step, format!("--mount: {cause}")))?;
                Ok(Some((self.origin(origin, step).await?, format!("/{path}"))))
            }
        }
    }
}

fn short(text: &str) -> String {
    Digest::of(text.as_bytes()).to_string().trim_start_matches("sha256:").chars().take(32).collect()
}
