//! The room against the real `git`: a server that speaks `git://` on loopback and does with a push what a deployment does,
//! and packs made by git's own plumbing where the client would refuse to send them.

#![expect(clippy::disallowed_methods, reason = "git itself is the judge")]

mod crash;
mod export;
mod fetch;
mod hostile;
mod import;
mod push;

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::*;

fn limits() -> Limits {
    Limits { pack_bytes: 64 << 20, objects: 100_000, object_bytes: 16 << 20 }
}

/// A git command in `directory`, with nothing of this machine's configuration.
fn git_process(directory: &Path, args: &[&str]) -> Process {
    let mut process = Process::new("git");
    process
        .args(["-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always", "-c", "gc.auto=0"])
        .args(args)
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory)
        .env("LC_ALL", "C.UTF-8")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0");
    for who in ["AUTHOR", "COMMITTER"] {
        process.env(format!("GIT_{who}_NAME"), "A").env(format!("GIT_{who}_EMAIL"), "a@example.com");
        process.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
    }
    process
}

fn run(process: &mut Process, input: &[u8]) -> Output {
    let mut child =
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("git runs");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    output
}

/// Runs git and expects success; returns what it printed, without the last newline.
#[track_caller]
fn git(directory: &Path, args: &[&str]) -> String {
    git_input(directory, args, b"")
}

#[track_caller]
fn git_input(directory: &Path, args: &[&str], input: &[u8]) -> String {
    let output = run(&mut git_process(directory, args), input);
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Runs git and expects failure; returns what it printed for people.
#[track_caller]
fn git_fails(directory: &Path, args: &[&str]) -> String {
    let output = run(&mut git_process(directory, args), b"");
    assert!(!output.status.success(), "git {args:?} succeeded");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The whole judgement of git on a repository, warnings included.
#[track_caller]
fn fsck(directory: &Path) {
    let output = run(&mut git_process(directory, &["fsck", "--full", "--strict"]), b"");
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    let faults: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with("dangling") && !line.starts_with("notice:") && !line.starts_with("Checking"))
        .collect();
    assert!(output.status.success() && faults.is_empty(), "{faults:?}");
}

/// A directory with a repository of a person, and one with what the server holds.
struct World {
    directory: tempfile::TempDir,
    repos: Repositories,
    repo: Repository,
}

impl World {
    fn new() -> Self {
        // In memory where that can be had: what is synced here need not outlive a power cut.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let directory = tempfile::tempdir_in(place).unwrap();
        let repos = Repositories::open(directory.path().join("repos")).unwrap();
        let repo = repos.create("app").unwrap();
        let world = Self { directory, repos, repo };
        std::fs::create_dir(world.work()).unwrap();
        git(&world.work(), &["init", "-q"]);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn work(&self) -> PathBuf {
        self.path("work")
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        let path = self.work().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn commit(&self, file: &str, content: impl AsRef<[u8]>) -> ObjectId {
        self.write(file, content);
        self.commit_all(file)
    }

    fn commit_all(&self, message: &str) -> ObjectId {
        git(&self.work(), &["add", "-A"]);
        git(&self.work(), &["commit", "-q", "--allow-empty", "-m", message]);
        self.id("HEAD")
    }

    /// One commit on main with many files, which are neither checked out nor stored one by one.
    fn import(&self, files: impl Iterator<Item = (String, String)>) -> ObjectId {
        let mut stream = String::from("commit refs/heads/main\ncommitter A <a@b> 1700000000 +0000\ndata 4\nmany\n");
        for (path, content) in files {
            stream += &format!("M 100644 inline {path}\ndata {}\n{content}\n", content.len());
        }
        git_input(&self.work(), &["fast-import", "--quiet"], stream.as_bytes());
        self.id("main")
    }

    fn id(&self, revision: &str) -> ObjectId {
        id(&git(&self.work(), &["rev-parse", revision]))
    }

    /// An object of exactly these bytes, however wrong they are.
    fn object(&self, kind: &str, content: &[u8]) -> ObjectId {
        id(&git_input(&self.work(), &["hash-object", "-w", "-t", kind, "--literally", "--stdin"], content))
    }

    /// A tree of exactly these entries, in this order.
    fn tree(&self, entries: &[(&str, &str, ObjectId)]) -> ObjectId {
        let mut content = Vec::new();
        for (mode, name, id) in entries {
            content.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            content.extend_from_slice(id.as_slice());
        }
        self.object("tree", &content)
    }

    fn commit_of(&self, tree: ObjectId) -> ObjectId {
        self.object(
            "commit",
            format!("tree {tree}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n").as_bytes(),
        )
    }

    /// A pack of just these objects.
    fn pack(&self, ids: &[ObjectId]) -> Vec<u8> {
        let input: String = ids.iter().map(|id| format!("{id}\n")).collect();
        let output = run(&mut git_process(&self.work(), &["pack-objects", "-q", "--stdout"]), input.as_bytes());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// A pack as a push would send it.
    fn pack_of(&self, revisions: &str) -> Vec<u8> {
        let args = ["pack-objects", "-q", "--stdout", "--revs", "--thin", "--delta-base-offset"];
        let output = run(&mut git_process(&self.work(), &args), format!("{revisions}\n").as_bytes());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn receive(&self, key: &str, pack: &[u8]) -> Result<Quarantine> {
        self.receive_within(key, pack, &limits())
    }

    fn receive_within(&self, key: &str, pack: &[u8], limits: &Limits) -> Result<Quarantine> {
        Quarantine::receive(&self.repo, key, &mut &pack[..], limits, &mut |_| {})
    }

    /// Receives, checks and takes over; the ref is moved from wherever it is.
    fn accept(&self, key: &str, pack: &[u8], name: &str, tip: ObjectId) -> Result<()> {
        let quarantine = self.receive(key, pack)?;
        quarantine.check(&[tip])?;
        quarantine.migrate()?;
        let old = self.repo.refs()?.into_iter().find(|(known, _)| known == name).map_or(zero(), |(_, id)| id);
        self.repo.update_ref(name, &old, &tip)
    }

    /// Pushes without a network what HEAD of the work tree reaches.
    #[track_caller]
    fn accept_head(&self, key: &str) -> ObjectId {
        let tip = self.id("HEAD");
        let have = self.repo.head_of("main").unwrap().map(|id| format!("\n^{id}")).unwrap_or_default();
        self.accept(key, &self.pack_of(&format!("HEAD{have}")), "refs/heads/main", tip).unwrap();
        tip
    }

    #[track_caller]
    fn assert_nothing_left(&self) {
        let incoming: Vec<_> = std::fs::read_dir(self.repo.path().join("incoming")).unwrap().collect();
        assert!(incoming.is_empty(), "{incoming:?}");
    }

    fn packs(&self) -> usize {
        std::fs::read_dir(self.repo.path().join("objects/pack")).unwrap().count()
    }
}

/// Paths and contents of a large tree.
fn many(count: usize) -> impl Iterator<Item = (String, String)> {
    (0..count).map(|n| (format!("d{}/e{}/f{n}", n % 7, n % 131), format!("file {n}\n")))
}

fn id(hex: &str) -> ObjectId {
    ObjectId::from_hex(hex.as_bytes()).unwrap()
}

fn zero() -> ObjectId {
    ObjectId::null(gix::hash::Kind::Sha1)
}

/// Serves the repositories of a world until it is dropped.
struct Server {
    address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

struct State {
    repos: Repositories,
    limits: Mutex<Limits>,
    stop: AtomicBool,
    pushes: AtomicUsize,
    /// Requests in the order they came.
    requests: Mutex<Vec<Request>>,
}

impl Server {
    fn start(world: &World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            repos: world.repos.clone(),
            limits: Mutex::new(limits()),
            stop: AtomicBool::new(false),
            pushes: AtomicUsize::new(0),
            requests: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        let accepting = std::thread::spawn(move || {
            std::thread::scope(|sessions| {
                while let Ok((stream, _)) = listener.accept() {
                    if shared.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let state = &shared;
                    sessions.spawn(move || state.session(&stream));
                }
            });
        });
        Self { address, state, accepting: Some(accepting) }
    }

    fn url(&self) -> String {
        format!("git://{}/app", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl State {
    fn session(&self, stream: &TcpStream) {
        let mut r = BufReader::new(stream);
        let mut w = BufWriter::new(stream);
        let outcome = self.serve(&mut r, &mut w);
        let _ = w.flush();
        // The client must be able to read the answer even if it is still sending.
        let _ = stream.shutdown(Shutdown::Write);
        let _ = std::io::copy(&mut r, &mut std::io::sink());
        if let Err(error) = outcome {
            eprintln!("session: {error:?}");
        }
    }

    fn serve(&self, r: &mut impl BufRead, w: &mut impl Write) -> Result<()> {
        let mut head = [0; 4];
        r.read_exact(&mut head).map_err(GitError::Disconnected)?;
        let length = usize::from_str_radix(std::str::from_utf8(&head).unwrap(), 16).unwrap() - 4;
        let mut line = vec![0; length];
        r.read_exact(&mut line).map_err(GitError::Disconnected)?;
        let line = String::from_utf8(line).unwrap();
        let (service, rest) = line.split_once(' ').unwrap();
        let name = rest.split('\0').next().unwrap().trim_matches('/');
        let repo = self.repos.find(name)?.expect("the repository exists");
        if service == "git-receive-pack" {
            self.receive(&repo, line.contains("version=1"), r, w)
        } else {
            serve_upload(&repo, (Part::Both, line.contains("version=2")), r, w)
        }
    }

    fn receive(&self, repo: &Repository, v1: bool, r: &mut impl BufRead, w: &mut impl Write) -> Result<()> {
        advertise(repo, v1, &mut *w)?;
        let request = read_request(r)?;
        self.requests.lock().unwrap().push(request.clone());
        if request.commands.is_empty() {
            return Ok(());
        }
        let unpacked = self.unpack(repo, &request, r);
        let outcomes: Vec<_> = request
            .commands
            .iter()
            .map(|command| {
                let outcome = match &unpacked {
                    Err(_) => Err("unpacker error".to_owned()),
                    Ok(()) => repo
                        .update_ref(&command.name, &command.old, &command.new)
                        .map(|()| None)
                        .map_err(|error| error.public().unwrap_or("internal error".into())),
                };
                (command.name.clone(), outcome)
            })
            .collect();
        let fault = unpacked.as_ref().err().map(ToString::to_string);
        let side_band = request.capabilities.side_band_64k;
        if side_band {
            let mut side = Sideband::new(&mut *w);
            side.progress("-----> Received\n").map_err(GitError::Disconnected)?;
            side.keepalive().map_err(GitError::Disconnected)?;
        }
        report(&mut *w, &request.capabilities, fault.as_deref().map_or(Ok(()), Err), &outcomes)?;
        unpacked
    }

    fn unpack(&self, repo: &Repository, request: &Request, r: &mut impl BufRead) -> Result<()> {
        if !request.expects_pack() {
            return Ok(());
        }
        let key = format!("push-{}", self.pushes.fetch_add(1, Ordering::SeqCst));
        let limits = self.limits.lock().unwrap().clone();
        let quarantine = Quarantine::receive(repo, &key, r, &limits, &mut |_| {})?;
        let tips: Vec<_> = request.commands.iter().filter(|c| !c.is_delete()).map(|c| c.new).collect();
        quarantine.check(&tips)?;
        quarantine.migrate()
    }
}
