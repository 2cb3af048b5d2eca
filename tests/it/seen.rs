//! What people see of running apps, end to end: lines that outlive who wrote them, events, reasons, measurements.

mod drains;
mod events;
mod lines;
mod reasons;
mod webhooks;

use crate::harness::{RealServer, Repo, Settings};

/// A web process that answers and does as its path says, and writes numbered lines, one every five milliseconds.
pub const TALKER: &str = r#"
let n = 0;
const hog = [];
setInterval(() => console.log('line ' + (++n)), 5);
require('http').createServer((q, r) => {
  if (q.url === '/hog') setInterval(() => hog.push(Buffer.alloc(20 << 20, 1)), 5);
  if (q.url === '/die') { console.error('out of ideas'); process.exit(3); }
  r.end('ok');
}).listen(process.env.PORT, '0.0.0.0');
process.on('SIGTERM', () => { console.log('goodbye after ' + n); process.exit(0); });
"#;

const PACKAGE: &str = r#"{"name":"app","version":"1.0.0","private":true,"scripts":{"start":"node server.js"}}"#;

pub struct Talker {
    pub server: RealServer,
    pub repo: Repo,
}

impl Talker {
    pub fn with(settings: Settings) -> Self {
        let server = RealServer::start_with(settings);
        let repo = Repo::with(&server, "talker", &[("package.json", PACKAGE), ("server.js", TALKER)]);
        repo.push("main").accepted();
        Self { server, repo }
    }

    pub fn hythe(&self, words: &[&str]) -> String {
        self.server.cli(&self.server.owner, words).expect("the verb")
    }

    /// `GET` of a path of the app; whatever it answers.
    pub fn ask(&self, path: &str) -> u16 {
        let host = format!("talker.localhost:{}", self.server.proxy_port);
        self.server.curl(&["--resolve", &format!("{host}:127.0.0.1"), &format!("http://{host}{path}")]).status
    }

    /// Texts of the lines of `web.1`, oldest first.
    pub fn said(&self) -> Vec<String> {
        let lines = self.hythe(&["logs", "talker", "-n", "10000", "-p", "web.1"]);
        lines.lines().filter_map(|line| Some(line.split_once(" web.1: ")?.1.to_owned())).collect()
    }

    /// A token of the owner.
    pub fn token(&self) -> String {
        self.hythe(&["tokens:create", &format!("t{}", uuid::Uuid::now_v7().simple())]).trim().to_owned()
    }
}
