//! One running Hythe: started, killed, restarted and cleaned up by its process id and its prefix.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::personas::{self, Persona};
use super::{Said, base, engine, eventually, program, run, run_id, scratch};

/// How a server differs from the usual one.
#[derive(Default)]
pub struct Settings {
    /// Without the shared base image: makes its own.
    pub bare: bool,
    /// Instead of a fresh temporary directory; the caller keeps it alive.
    pub data: Option<PathBuf>,
    /// Further `HYTHE_…` variables.
    pub variables: BTreeMap<String, String>,
}

impl Settings {
    pub fn with(key: &str, value: impl ToString) -> Self {
        let mut settings = Self::default();
        settings.variables.insert(key.into(), value.to_string());
        settings
    }
}

/// What the proxy answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

pub struct RealServer {
    pub prefix: String,
    pub proxy_port: u16,
    pub api_port: u16,
    pub ssh_port: u16,
    pub owner: Persona,
    data: PathBuf,
    variables: BTreeMap<String, String>,
    child: Option<Child>,
    /// Of another process that has taken over.
    heir: Option<u32>,
    // Last: removed after the process has ended.
    home: TempDir,
}

impl RealServer {
    /// Up, with the base image and an administrator.
    pub fn start() -> Self {
        Self::start_with(Settings::default())
    }

    pub fn start_with(settings: Settings) -> Self {
        let mut server = Self::prepared(settings);
        server.boot();
        server.set_up();
        server
    }

    /// Everything but the process.
    pub fn prepared(settings: Settings) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let home = tempfile::Builder::new().prefix("server-").tempdir_in(scratch()).expect("directory");
        let data = settings.data.unwrap_or_else(|| home.path().join("data"));
        fs::create_dir_all(&data).expect("data directory");
        if !settings.bare {
            base::give(&data);
        }
        let [proxy_port, api_port, ssh_port] = free_ports();
        let prefix = format!("{}-{}", run_id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut variables = BTreeMap::from([
            ("HYTHE_DATA_DIR".to_owned(), data.display().to_string()),
            ("HYTHE_HTTP_PROXY_LISTEN".to_owned(), format!("127.0.0.1:{proxy_port}")),
            ("HYTHE_HTTP_API_LISTEN".to_owned(), format!("127.0.0.1:{api_port}")),
            ("HYTHE_GIT_LISTEN".to_owned(), format!("127.0.0.1:{ssh_port}")),
            ("HYTHE_RUNTIME_PREFIX".to_owned(), prefix.clone()),
            ("HYTHE_RUNTIME_ENGINE".to_owned(), engine::socket()),
            // No app of the tests needs time to say goodbye.
            ("HYTHE_RUNTIME_GRACE_SECONDS".to_owned(), "2".to_owned()),
        ]);
        variables.extend(settings.variables);
        let owner = Persona::new(home.path(), "owner");
        Self { prefix, proxy_port, api_port, ssh_port, owner, data, variables, child: None, heir: None, home }
    }

    /// For the next start.
    pub fn set(&mut self, key: &str, value: &str) {
        self.variables.insert(key.into(), value.into());
    }

    /// The binary with this server's settings; the verb is the caller's.
    pub fn hythe(&self, persona: &Persona) -> Command {
        let mut command = program(env!("CARGO_BIN_EXE_hythe"));
        command.envs(&self.variables);
        command.env("HOME", &persona.home).env("XDG_CONFIG_HOME", &persona.home).current_dir(&persona.home);
        command.env("HYTHE_URL", self.api());
        command
    }

    /// Starts the process and waits until it listens everywhere.
    pub fn boot(&mut self) {
        assert!(self.child.is_none() && self.heir.is_none(), "it runs already");
        self.child = Some(self.spawn());
        let up = eventually("hythe serve listens", || {
            if self.child.as_mut().is_some_and(|c| c.try_wait().expect("state of the process").is_some()) {
                return Some(false);
            }
            let ports = [self.proxy_port, self.api_port, self.ssh_port];
            (ports.iter().all(|p| TcpStream::connect((Ipv4Addr::LOCALHOST, *p)).is_ok()) && self.api_is_well())
                .then_some(true)
        });
        assert!(up, "hythe serve ended at once:\n{}", self.log());
    }

    /// One process; its output is added to the server's log.
    pub fn spawn(&self) -> Child {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("log");
        let mut command = self.hythe(&self.owner);
        command.arg("serve").stdout(log.try_clone().expect("log")).stderr(log).stdin(Stdio::null());
        command.spawn().expect("hythe serve starts")
    }

    fn api_is_well(&self) -> bool {
        self.curl(&[&format!("{}/v1/healthz", self.api())]).status == 200
    }

    pub fn set_up(&mut self) {
        let token = eventually("the set-up token", || fs::read_to_string(self.data.join("setup-token")).ok());
        let key = self.owner.public_key_file();
        let said = run(self
            .hythe(&self.owner)
            .arg("setup")
            .args(["--url", &self.api(), "--token", token.trim()])
            .args(["--name", "owner", "--email", "owner@example.com", "--key", &key.display().to_string()]));
        assert!(said.ok, "hythe setup: {}{}\n{}", said.out, said.err, self.log());
    }

    /// Another user with an organization of its own; only the database knows how, as there is no verb for it yet.
    pub fn newcomer(&self, name: &str) -> Persona {
        let persona = Persona::new(self.home.path(), name);
        personas::enrol(&self.data, &persona);
        persona
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(heir) = self.heir.take() {
            run(program("kill").args(["-KILL", &heir.to_string()]));
            eventually("the process ends", || has_ended(heir).then_some(()));
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and the exit awaited.
    pub fn stop(&mut self) {
        if let Some(heir) = self.heir.take() {
            run(program("kill").args(["-TERM", &heir.to_string()])).expect("kill");
            eventually("hythe ends after SIGTERM", || has_ended(heir).then_some(()));
        }
        if let Some(mut child) = self.child.take() {
            run(program("kill").args(["-TERM", &child.id().to_string()])).expect("kill");
            eventually("hythe ends after SIGTERM", || child.try_wait().expect("state of the process"));
        }
    }

    /// SIGUSR2 to whoever serves.
    pub fn ask_to_hand_over(&self) {
        let serving = self.heir.or_else(|| Some(self.child.as_ref()?.id())).expect("it runs");
        run(program("kill").args(["-USR2", &serving.to_string()])).expect("kill");
    }

    /// Another process takes over. Returns the number of the one before, which may have clients still.
    pub fn hand_over(&mut self) -> u32 {
        let before = self.log().matches(HANDED_OVER).count();
        self.ask_to_hand_over();
        let heir = eventually("the next process serves", || {
            let log = self.log();
            let (_, rest) = log.match_indices(HANDED_OVER).nth(before).map(|(at, _)| log.split_at(at))?;
            let digits = rest.lines().next()?.split_once("process=")?.1;
            digits.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
        });
        let ours = self.child.as_ref().map(Child::id);
        self.heir.replace(heir).or(ours).expect("it ran")
    }

    /// Whether that process of this server has ended.
    pub fn has_left(&mut self, process: u32) -> bool {
        match &mut self.child {
            Some(child) if child.id() == process => {
                let ended = child.try_wait().expect("state of the process").is_some();
                if ended {
                    self.child = None;
                }
                ended
            }
            _ => has_ended(process),
        }
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn api(&self) -> String {
        format!("http://127.0.0.1:{}", self.api_port)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("server.log")
    }

    /// Address of an app's repository.
    pub fn remote(&self, app: &str) -> String {
        format!("ssh://git@localhost:{}/{app}.git", self.ssh_port)
    }

    /// `GIT_SSH_COMMAND`: this persona's key and the pinned host key, nothing of the machine's own.
    pub fn ssh_command(&self, persona: &Persona) -> String {
        let hosts = persona.home.join("known_hosts");
        let public = fs::read_to_string(self.data.join("host_key.pub")).expect("the host's public key");
        fs::write(&hosts, format!("[localhost]:{} {public}", self.ssh_port)).expect("known hosts");
        format!(
            "ssh -F none -i {} -o IdentitiesOnly=yes -o BatchMode=yes -o UserKnownHostsFile={} -o StrictHostKeyChecking=yes",
            persona.key.display(),
            hosts.display()
        )
    }

    /// A verb over ssh.
    pub fn ssh(&self, persona: &Persona, words: &[&str]) -> Said {
        self.ssh_with(persona, words, Stdio::null())
    }

    pub fn ssh_with(&self, persona: &Persona, words: &[&str], stdin: impl Into<Stdio>) -> Said {
        let command = self.ssh_command(persona);
        let mut parts = command.split(' ');
        let mut ssh = program(parts.next().unwrap_or("ssh"));
        run(ssh.args(parts).args(["-p", &self.ssh_port.to_string(), "git@localhost"]).args(words).stdin(stdin))
    }

    /// A verb of the command line, as this persona.
    pub fn cli(&self, persona: &Persona, words: &[&str]) -> Said {
        run(self.hythe(persona).args(words))
    }

    /// `GET /` of an app through the proxy.
    pub fn get(&self, app: &str) -> Answer {
        self.ask(app, "/")
    }

    pub fn ask(&self, app: &str, path: &str) -> Answer {
        let host = format!("{app}.localhost:{}", self.proxy_port);
        self.curl(&["--resolve", &format!("{host}:127.0.0.1"), &format!("http://{host}{path}")])
    }

    pub fn curl(&self, words: &[&str]) -> Answer {
        // -w comes after the body: the last line is the status.
        let said = run(program("curl")
            .args(["-sS", "--noproxy", "*", "--max-time", "30", "-w", "\n%{http_code}"])
            .args(words));
        let (body, status) = said.out.rsplit_once('\n').unwrap_or(("", "0"));
        Answer { status: status.parse().unwrap_or(0), body: body.to_owned() }
    }

    /// Names of this server's containers, stopped ones included.
    pub fn containers(&self) -> Vec<String> {
        engine::containers(&self.prefix)
    }

    pub fn replicas(&self, app: &str) -> Vec<String> {
        engine::replicas(&self.prefix, app)
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!("--- the server's log, last lines ---");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        engine::remove_all(&self.prefix);
    }
}

/// What a process says that another follows.
const HANDED_OVER: &str = "handed over; ";

/// Of a process that may be nobody's to reap.
fn has_ended(process: u32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) else { return true };
    status.lines().any(|line| line.starts_with("State:\tZ"))
}

/// Below the range that the kernel gives to clients, each number handed out once per process.
fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    std::array::from_fn(|_| {
        eventually("a free port", || {
            let n = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() * 61;
            let port = u16::try_from(12_000 + n % 18_000).ok()?;
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok().map(|_| port)
        })
    })
}
