//! Terminals: the window reaches the command, keys do, and the far end's is left as it was.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::{commands, none_left, ssh};
use crate::harness::{eventually, program};
use crate::push::Deployed;

/// A program at a terminal of its own, of 97 columns and 33 rows, by `script` of util-linux.
struct AtTerminal {
    child: Child,
    seen: Arc<Mutex<String>>,
}

impl AtTerminal {
    fn start(command: &Command) -> Self {
        let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().expect("text").replace('\'', "'\\''"));
        let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
        let line = format!("stty cols 97 rows 33; exec {}", words.join(" "));
        let mut script = program("script");
        script.args(["-qefc", &line, "/dev/null"]).env("TERM", "xterm-256color").env("SHELL", "/bin/bash");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script starts");
        let (seen, mut out) = (Arc::<Mutex<String>>::default(), child.stdout.take().expect("a pipe"));
        let writing = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut piece) {
                writing.lock().expect("lock").push_str(&String::from_utf8_lossy(&piece[..count]));
            }
        });
        Self { child, seen }
    }

    fn types(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).expect("typed");
    }

    fn seen(&self) -> String {
        self.seen.lock().expect("lock").clone()
    }

    #[track_caller]
    fn sees(&self, text: &str) {
        let end = std::time::Instant::now() + crate::harness::PATIENCE;
        while !self.seen().contains(text) {
            assert!(std::time::Instant::now() < end, "{text:?} is not in {:?}", self.seen());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn ends(mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }
}

/// A shell at a terminal, by whatever way.
fn walk(app: &Deployed, command: &Command) {
    let mut at = AtTerminal::start(command);
    at.sees("$ ");
    at.types("stty size; echo $TERM; tty\r");
    at.sees("33 97\r\n");
    at.sees("xterm-256color\r\n");
    at.sees("/dev/pts/0\r\n");
    // Ctrl-C ends what runs in front, not the shell.
    at.types("sleep 1000; echo code=$?\r");
    eventually("sleep runs", || {
        let running = commands(&app.server);
        let top = crate::harness::docker(&["top", running.first()?, "-eo", "pid,args"]);
        top.out.contains("sleep 1000").then_some(())
    });
    at.types("\u{3}");
    at.types("echo still=here\r");
    at.sees("still=here\r\n");
    assert!(!at.seen().contains("code=0"), "{}", at.seen());
    at.types("exit 7\r");
    assert_eq!(at.ends(), Some(7));
    none_left(&app.server);
}

#[test]
fn a_terminal_is_passed_through() {
    let app = Deployed::new();
    let mut cli = app.server.hythe(&app.server.owner);
    cli.args(["run", "-a", "hello", "bash", "--norc"]);
    walk(&app, &cli);
}

#[test]
fn a_terminal_is_passed_through_over_ssh() {
    let app = Deployed::new();
    walk(&app, &ssh(&app.server, &["-tt", "git@localhost", "run", "-a", "hello", "bash", "--norc"]));
    // Without a terminal: streams apart, input to its end, the command's exit code.
    let mut far = ssh(&app.server, &["-T", "git@localhost", "run", "-a", "hello", "'cat; echo err >&2; exit 5'"]);
    let done = super::fed(&mut far, b"piped\n");
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (Some(5), "piped\n", "err\n"));
    // Another verb at a terminal: its lines start at the left, and Ctrl-C ends it.
    let mut at = AtTerminal::start(&ssh(&app.server, &["-tt", "git@localhost", "logs", "-t", "hello"]));
    app.server.get("hello");
    let apps = AtTerminal::start(&ssh(&app.server, &["-tt", "git@localhost", "apps"]));
    apps.sees("hello");
    assert_eq!(apps.ends(), Some(0));
    at.types("\u{3}");
    assert_eq!(at.ends(), Some(130));
}

#[test]
fn a_terminal_that_closes_ends_its_command() {
    let app = Deployed::new();
    let mut cli = app.server.hythe(&app.server.owner);
    cli.args(["run", "-a", "hello", "bash", "--norc"]);
    let mut at = AtTerminal::start(&cli);
    at.sees("$ ");
    at.child.kill().expect("kill");
    none_left(&app.server);
}

#[test]
fn a_replica_is_entered() {
    let app = Deployed::new();
    let (server, owner) = (&app.server, &app.server.owner);
    let done = server.cli(owner, &["ps:exec", "-a", "hello", "web.1", "bash", "-c", "echo $HYTHE_PROCESS; exit 6"]);
    assert_eq!((done.code, done.out.as_str()), (Some(6), "web.1\n"), "{done:?}");
    server.cli(owner, &["ps:exec", "-a", "hello", "touch", "/tmp/mine"]).expect("ps:exec");
    let done = server.cli(owner, &["ps:exec", "-a", "hello", "ls", "/tmp/mine"]);
    assert_eq!(done.out, "/tmp/mine\n", "it is the replica's own file system");
    let mut cli = server.hythe(owner);
    cli.args(["ps:exec", "-a", "hello", "web.1", "bash", "--norc"]);
    let mut at = AtTerminal::start(&cli);
    at.sees("$ ");
    at.types("stty size\r");
    at.sees("33 97\r\n");
    at.types("sleep 1000 & sleep 1001\r");
    let replica = server.replicas("hello").pop().expect("a replica");
    let asleep = || crate::harness::docker(&["top", &replica, "-eo", "pid,args"]).out.contains("sleep 1001");
    eventually("it sleeps", || asleep().then_some(()));
    at.child.kill().expect("kill");
    at.ends();
    eventually("what was started is gone with whoever started it", || (!asleep()).then_some(()));
    assert_eq!(server.replicas("hello"), [replica]);
    assert_eq!(server.get("hello"), crate::push::ok("first"));
}
