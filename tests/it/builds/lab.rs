//! One `Builder` for all tests of a process, with its own prefix in the engine; it takes everything with it when the last
//! test that uses it is done. Base images stay in the target directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, Once, Weak};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use hythe::base::config;
use hythe::base::model::{AppId, Id};
use hythe::base::secret::Secret;
use hythe::machinery::image::BlobStore;
use hythe::machinery::outbound::Guard;
use hythe::machinery::runtime::docker::Docker;
use hythe::machinery::runtime::{ByteStream, Engine};
use hythe::product::builds::{BuildFailure, BuildLog, BuildRequest, Builder, Imaged, Origin, Source, Wishes};

use crate::harness::{base, engine, run_id, scratch};

/// The engine's connections belong to one runtime.
static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime"));

/// Kept from run to run: what buildpacks prepare is made once per target directory.
pub fn lab_dir() -> PathBuf {
    scratch().join("builds")
}

pub struct Lab {
    pub prefix: String,
    pub engine: Arc<dyn Engine>,
    pub blobs: BlobStore,
    pub builder: Arc<Builder>,
    pub data: PathBuf,
    _lock: File,
}

impl Lab {
    pub fn open() -> Arc<Self> {
        static LAB: Mutex<Weak<Lab>> = Mutex::new(Weak::new());
        let mut lab = LAB.lock().expect("lab");
        if let Some(open) = lab.upgrade() {
            return open;
        }
        let opened = Arc::new(Self::make());
        *lab = Arc::downgrade(&opened);
        opened
    }

    fn make() -> Self {
        let data = lab_dir();
        fs::create_dir_all(&data).expect("directory");
        // A blob store is for one process at a time.
        let lock = File::create(data.join("lock")).expect("lock file");
        lock.lock().expect("lock");
        base::give(&data);
        base::tidy(&data);
        let prefix = format!("{}-builds", run_id());
        RUNTIME.block_on(async {
            let engine: Arc<dyn Engine> = Arc::new(Docker::connect(&engine::socket(), &prefix).expect("engine"));
            let blobs = BlobStore::open(&data.join("blobs")).expect("blobs");
            let builder = Builder::new(Arc::clone(&engine), blobs.clone(), &config::Build::default(), &data);
            builder.ready().await.expect("base image");
            Self { prefix: prefix.clone(), engine, blobs, builder: Arc::new(builder), data: data.clone(), _lock: lock }
        })
    }

    /// Another builder over the same stores.
    pub fn builder_with(&self, config: &config::Build) -> Arc<Builder> {
        let builder = Builder::new(Arc::clone(&self.engine), self.blobs.clone(), config, &self.data);
        Arc::new(builder.reaching(Guard { private: true }))
    }

    /// One whose builds end when half of this is not free.
    pub fn builder_keeping(&self, bytes: u64, files: u64) -> Arc<Builder> {
        let builder = Builder::new(Arc::clone(&self.engine), self.blobs.clone(), &config::Build::default(), &self.data);
        Arc::new(builder.keeping_free(bytes, files))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        engine::remove_all(&self.prefix);
    }
}

/// An app with builds of its own.
pub struct App {
    pub lab: Arc<Lab>,
    pub builder: Arc<Builder>,
    pub id: AppId,
    pub variables: BTreeMap<String, Secret<String>>,
    pub wishes: Wishes,
    pub no_cache: bool,
    pub commit: String,
    pub origin: Option<Origin>,
}

#[derive(Default)]
pub struct Log(Mutex<Vec<String>>);

impl BuildLog for Log {
    fn line(&self, text: &str) {
        self.0.lock().expect("log").push(text.to_owned());
    }
}

impl Log {
    pub fn text(&self) -> String {
        self.0.lock().expect("log").join("\n")
    }
}

#[derive(Debug)]
pub struct Done {
    pub imaged: Imaged,
    pub log: String,
}

impl App {
    pub fn new() -> Self {
        let lab = Lab::open();
        let builder = Arc::clone(&lab.builder);
        Self {
            lab,
            builder,
            id: AppId::fresh(),
            variables: BTreeMap::new(),
            wishes: Wishes::default(),
            no_cache: false,
            commit: "0".repeat(40),
            origin: None,
        }
    }

    pub fn with(config: &config::Build) -> Self {
        // Builders share stores and no locks: what all need for buildpacks of others is made by one, before there is another.
        static TOOLS: Once = Once::new();
        TOOLS.call_once(|| {
            let mut app = Self::new();
            app.wishes.buildpacks =
                vec!["./look".parse::<hythe::base::model::BuildpackRef>().expect("reference").into()];
            let launch = "printf '[[processes]]\\ntype = \"web\"\\ncommand = [\"true\"]\\n' >\"$1/launch.toml\"";
            app.build(
                &Tree::empty()
                    .file("look/buildpack.toml", "api = \"0.10\"\n[buildpack]\nid = \"a/look\"\nversion = \"1.0.0\"\n")
                    .program("look/bin/detect", "#!/bin/bash\n")
                    .program("look/bin/build", &format!("#!/bin/bash\n{launch}\n")),
            );
        });
        let mut app = Self::new();
        app.builder = app.lab.builder_with(config);
        app
    }

    pub fn request(&self) -> BuildRequest {
        BuildRequest {
            app: self.id.clone(),
            app_name: "test".parse().expect("name"),
            commit: self.commit.clone(),
            variables: self.variables.clone(),
            wishes: self.wishes.clone(),
            no_cache: self.no_cache,
            origin: self.origin.clone(),
        }
    }

    pub fn sandbox(&self) -> String {
        format!("build-{}", self.id)
    }

    pub fn await_<T>(&self, future: impl Future<Output = T>) -> T {
        RUNTIME.block_on(future)
    }

    pub fn try_build(&self, tree: &Tree) -> Result<Done, (BuildFailure, String)> {
        let log = Arc::new(Log::default());
        let to: Arc<dyn BuildLog> = Arc::clone(&log) as _;
        let request = self.request();
        let began = Instant::now();
        let mut marks: Vec<(&str, Duration)> = Vec::new();
        let imaged = self.await_(async {
            let detected = self.builder.detect(&request, tree.source(), Arc::clone(&to)).await?;
            marks.push(("detect", began.elapsed()));
            let built = self.builder.build(&request, &detected, tree.source(), Arc::clone(&to)).await?;
            marks.push(("build", began.elapsed()));
            let imaged = self.builder.image(&request.app, &detected, &built, Arc::clone(&to)).await?;
            marks.push(("image", began.elapsed()));
            Ok(imaged)
        });
        println!("{} {marks:?}\n{}", tree.dir.display(), log.text());
        imaged.map(|imaged| Done { imaged, log: log.text() }).map_err(|failure| (failure, log.text()))
    }

    #[track_caller]
    pub fn build(&self, tree: &Tree) -> Done {
        self.try_build(tree)
            .unwrap_or_else(|(failure, log)| panic!("{log}\n{}\n{}", failure.reason, failure.lines.join("\n")))
    }

    #[track_caller]
    pub fn fail(&self, tree: &Tree) -> (BuildFailure, String) {
        match self.try_build(tree) {
            Ok(done) => panic!("it built:\n{}", done.log),
            Err((failure, log)) => {
                println!("{}\n{}", failure.reason, failure.lines.join("\n"));
                (failure, log)
            }
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.await_(self.builder.forget(&self.id)).expect("the sandbox is removed");
    }
}

/// One empty file.
pub fn tar_of(name: &str) -> ByteStream {
    let tree = Tree::empty().file(name, "");
    let mut tar = Vec::new();
    tree.source()(&mut tar).expect("tar");
    futures_util::stream::iter([Ok(tar.into())]).boxed()
}

/// A source tree in a directory of its own.
pub struct Tree {
    dir: PathBuf,
    _home: tempfile::TempDir,
}

impl Tree {
    pub fn empty() -> Self {
        let home = tempfile::tempdir().expect("directory");
        Self { dir: home.path().to_owned(), _home: home }
    }

    /// A copy of a directory of this repository.
    pub fn of(path: &str) -> Self {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let mut tree = Self::empty();
        let copied = Command::new("cp").arg("-R").arg(from).arg(tree.dir.join("tree")).status().expect("cp");
        assert!(copied.success(), "{path}");
        tree.dir.push("tree");
        tree
    }

    pub fn file(self, path: &str, content: &str) -> Self {
        let at = self.dir.join(path);
        fs::create_dir_all(at.parent().expect("parent")).expect("directory");
        fs::write(at, content).expect("file");
        self
    }

    pub fn bytes(self, path: &str, content: &[u8]) -> Self {
        let tree = self.file(path, "");
        fs::write(tree.dir.join(path), content).expect("file");
        tree
    }

    pub fn program(self, path: &str, content: &str) -> Self {
        let tree = self.file(path, content);
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(tree.dir.join(path), executable).expect("mode");
        tree
    }

    pub fn source(&self) -> Source {
        let dir = self.dir.clone();
        Arc::new(move |out: &mut dyn Write| {
            let tar = Command::new("tar")
                .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "-cf", "-", "-C"])
                .arg(&dir)
                .arg(".")
                .stdout(Stdio::piped())
                .spawn()?;
            io::copy(&mut tar.stdout.expect("piped"), out)?;
            Ok(())
        })
    }
}
