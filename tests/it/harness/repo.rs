//! A work tree of a pusher, driven by real git with a configuration of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{Persona, RealServer, Said, program, run, scratch};

/// How a push ended, with everything git printed.
#[derive(Debug)]
pub struct Pushed {
    pub ok: bool,
    pub text: String,
}

impl Pushed {
    #[track_caller]
    pub fn accepted(self) -> String {
        assert!(self.ok, "the push was refused:\n{}", self.text);
        self.text
    }

    /// Refused, and the pusher was told all of `texts`.
    #[track_caller]
    pub fn refused(self, texts: &[&str]) -> String {
        assert!(!self.ok, "the push was accepted:\n{}", self.text);
        for text in texts {
            assert!(self.text.contains(text), "{text:?} is not in what the pusher read:\n{}", self.text);
        }
        self.text
    }
}

pub struct Repo {
    remote: String,
    ssh: String,
    dir: TempDir,
}

impl Repo {
    /// Without a commit.
    pub fn empty(server: &RealServer, persona: &Persona, app: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("repo-").tempdir_in(scratch()).expect("directory");
        let repo = Self { remote: server.remote(app), ssh: server.ssh_command(persona), dir };
        repo.git(&["init", "-q", "-b", "main"]).expect("git init");
        repo
    }

    /// From now on pushed to and asked of another address.
    pub fn over(&mut self, remote: String) {
        self.remote = remote;
    }

    /// One commit with these files.
    pub fn with(server: &RealServer, app: &str, files: &[(&str, &str)]) -> Self {
        let repo = Self::empty(server, &server.owner, app);
        repo.commit(files);
        repo
    }

    /// A Node.js app without dependencies that answers `text`.
    pub fn node(server: &RealServer, app: &str, text: &str) -> Self {
        Self::with(server, app, &node_files(text).each_ref().map(|(name, content)| (*name, content.as_str())))
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("directory");
        fs::write(path, content).expect("file");
    }

    pub fn commit(&self, files: &[(&str, &str)]) {
        for (name, content) in files {
            self.write(name, content);
        }
        self.git(&["add", "-A", "--force"]).expect("git add");
        self.git(&["commit", "-q", "--allow-empty", "-m", "A change"]).expect("git commit");
    }

    /// Commits a change of what `node` answers.
    pub fn answer(&self, text: &str) {
        self.commit(&node_files(text).each_ref().map(|(name, content)| (*name, content.as_str())));
    }

    /// Commits a tree made of raw entries, as no careful git would: `(mode, kind, id, name)`.
    pub fn commit_raw_tree(&self, entries: &[(&str, &str)]) -> String {
        // git mktree refuses what we need, so the object is written as bytes.
        let mut tree = Vec::new();
        for (mode_and_name, id) in entries {
            tree.extend_from_slice(mode_and_name.as_bytes());
            tree.push(0);
            tree.extend((0..20).map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).expect("hex")));
        }
        let file = self.dir.path().join(".git/raw-tree");
        fs::write(&file, tree).expect("tree");
        let words = ["hash-object", "-t", "tree", "-w", "--literally", &file.display().to_string()];
        let tree = self.git(&words).expect("hash-object").trim().to_owned();
        self.commit_tree(&tree)
    }

    pub fn commit_tree(&self, tree: &str) -> String {
        let commit = self.git(&["commit-tree", "-m", "A hostile tree", tree]).expect("commit-tree").trim().to_owned();
        self.git(&["update-ref", "refs/heads/main", &commit]).expect("update-ref");
        commit
    }

    pub fn blob(&self, content: impl AsRef<[u8]>) -> String {
        let file = self.dir.path().join(".git/raw-blob");
        fs::write(&file, content).expect("blob");
        self.git(&["hash-object", "-w", &file.display().to_string()]).expect("hash-object").trim().to_owned()
    }

    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).expect("rev-parse").trim().to_owned()
    }

    pub fn git(&self, words: &[&str]) -> Said {
        run(self.command().args(words))
    }

    /// Pushes refspecs of this work tree, separated by spaces.
    pub fn push(&self, refspecs: &str) -> Pushed {
        self.push_to(&self.remote, refspecs)
    }

    pub fn push_to(&self, remote: &str, refspecs: &str) -> Pushed {
        let said = run(self.command().args(["push", remote]).args(refspecs.split(' ')));
        Pushed { ok: said.ok, text: format!("{}{}", said.out, said.err) }
    }

    /// A push that goes on while the test does something else.
    pub fn push_in_background(&self, refspecs: &str) -> Pushing {
        let mut command = self.command();
        command.args(["push", &self.remote]).args(refspecs.split(' ')).stdout(Stdio::null()).stderr(Stdio::piped());
        Pushing(command.spawn().expect("git push starts"))
    }

    /// The tip that the server tells of a branch.
    pub fn remote_tip(&self, branch: &str) -> Option<String> {
        let listed = self.git(&["ls-remote", &self.remote, &format!("refs/heads/{branch}")]).expect("git ls-remote");
        listed.split_whitespace().next().map(str::to_owned)
    }

    fn command(&self) -> Command {
        let mut command = program("git");
        command
            .current_dir(self.dir.path())
            .env("GIT_SSH_COMMAND", &self.ssh)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .args(["-c", "user.name=Tester", "-c", "user.email=tester@example.com", "-c", "protocol.file.allow=always"])
            .args(["-c", "core.protectHFS=false", "-c", "core.protectNTFS=false", "-c", "gc.auto=0"]);
        command
    }
}

pub struct Pushing(Child);

impl Pushing {
    pub fn wait(self) -> Pushed {
        let output = self.0.wait_with_output().expect("git push ends");
        Pushed { ok: output.status.success(), text: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    /// The client goes away in the middle.
    pub fn kill(mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn node_files(text: &str) -> [(&'static str, String); 2] {
    let package = r#"{"name":"app","version":"1.0.0","private":true,"scripts":{"start":"node server.js"}}"#;
    let server = format!(
        "const answer = {text:?};\nrequire('http').createServer((_, r) => r.end(answer)).listen(process.env.PORT, '0.0.0.0');\n\
         process.on('SIGTERM', () => process.exit(0));\n"
    );
    [("package.json", package.to_owned()), ("server.js", server)]
}
