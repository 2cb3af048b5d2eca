//! A real authority for tests (Debian's `pebble`, strict), on loopback: it asks a DNS server of the test and looks for its
//! challenges at the test's own ports.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Child;

use hythe::base::clock::{Clock, SystemClock};
use hythe::machinery::certs::Authority;
use serde_json::json;
use tempfile::TempDir;

use super::{eventually, program, run, scratch};

pub struct Pebble {
    pub directory: String,
    management: u16,
    dir: TempDir,
    child: Option<Child>,
    variables: Vec<(String, String)>,
    dns: SocketAddr,
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its address").port()
}

impl Pebble {
    /// `ports` are those of the proxy, plain and TLS.
    pub fn start(ports: (u16, u16), dns: SocketAddr, variables: &[(&str, &str)]) -> Self {
        let mut pebble = Self::prepared(ports, dns, variables);
        pebble.boot();
        pebble
    }

    pub fn prepared((http, tls): (u16, u16), dns: SocketAddr, variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::Builder::new().prefix("pebble-").tempdir_in(scratch()).expect("a directory");
        let now = SystemClock.now();
        let made = Authority::make("Test", now).expect("made");
        let own = Authority::open(&made.chain, &made.key).expect("opened").issue("localhost", now).expect("issued");
        let (port, management) = (free_port(), free_port());
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let (certificate, key) = (file("localhost.pem", &own.chain), file("localhost.key", own.key.reveal()));
        file("root.pem", &made.chain);
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": certificate, "privateKey": key, "httpPort": http, "tlsPort": tls,
        }});
        file("config.json", &config.to_string());
        let mut all = vec![("PEBBLE_VA_NOSLEEP".to_owned(), "1".to_owned())];
        all.push(("PEBBLE_AUTHZREUSE".to_owned(), "0".to_owned()));
        all.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let directory = format!("https://localhost:{port}/dir");
        Self { directory, management, dir, child: None, variables: all, dns }
    }

    pub fn boot(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.path().join("log")).expect("a log");
        let mut command = program("pebble");
        command.arg("-config").arg(self.dir.path().join("config.json")).arg("-strict");
        command.args(["-dnsserver", &self.dns.to_string()]).envs(self.variables.iter().cloned());
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        self.child = Some(command.spawn().expect("pebble starts (apt-get install pebble)"));
        eventually("pebble listens", || self.fetch("roots/0").starts_with("-----BEGIN").then_some(()));
        fs::write(self.dir.path().join("issuer.pem"), self.fetch("roots/0")).expect("written");
    }

    /// What its directory's own certificate is trusted by.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root.pem")
    }

    /// What its certificates are trusted by; another one in each life.
    pub fn issuer(&self) -> PathBuf {
        self.dir.path().join("issuer.pem")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Orders that were made there.
    pub fn orders(&self) -> usize {
        self.log().lines().filter(|line| line.contains("Added order")).count()
    }

    fn fetch(&self, path: &str) -> String {
        let url = format!("https://localhost:{}/{path}", self.management);
        run(program("curl").args(["-sS", "--noproxy", "*", "--cacert"]).arg(self.root()).arg(url)).out
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("--- the authority's log, last lines ---");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// A real DNS server (Debian's `bind9`) with one zone that a key may change.
pub struct Named {
    pub address: SocketAddr,
    child: Child,
    dir: TempDir,
}

impl Named {
    pub const KEY_NAME: &'static str = "hythe-key";
    pub const KEY: &'static str = "c2VzYW1lLW9wZW4tYW5kLWxldC1tZS1pbi1wbGVhc2U=";

    /// All names of the zone lead to this machine.
    pub fn start(zone: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("named-").tempdir_in(scratch()).expect("a directory");
        let (port, at) = (free_port(), dir.path().display().to_string());
        let config = format!(
            "options {{ directory \"{at}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
             recursion no; dnssec-validation no; pid-file none; session-keyfile none; }};\n\
             controls {{ }};\n\
             key \"{key}\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n\
             zone \"{zone}\" {{ type primary; file \"zone\"; update-policy {{ grant {key} zonesub TXT; }}; }};\n",
            key = Self::KEY_NAME,
            secret = Self::KEY,
        );
        let records = "$TTL 1\n@ IN SOA ns hostmaster 1 60 60 600 1\n@ IN NS ns\nns IN A 127.0.0.1\n* IN A 127.0.0.1\n@ IN A 127.0.0.1\n";
        fs::write(dir.path().join("named.conf"), config).expect("written");
        fs::write(dir.path().join("zone"), records).expect("written");
        let log = File::create(dir.path().join("log")).expect("a log");
        let mut command = program("/usr/sbin/named");
        command.args(["-g", "-n", "1", "-c"]).arg(dir.path().join("named.conf"));
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        let mut child = command.spawn().expect("named starts (apt-get install bind9)");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        eventually("named listens", || {
            let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
            assert!(child.try_wait().expect("its state").is_none(), "named ended:\n{log}");
            log.contains("all zones loaded").then_some(())
        });
        Self { address, child, dir }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- named ---\n{}", self.log());
        }
    }
}
