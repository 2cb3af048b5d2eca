//! TLS as clients see it: curl and openssl against the proxy, with certificates of the server's own authority and with
//! uploaded ones.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;

use super::{Deployed, ok};
use crate::harness::{Answer, Dns, Said, Settings, eventually, program, run};

struct Safe {
    app: Deployed,
    port: u16,
    dns: Dns,
}

impl Safe {
    fn start() -> Self {
        let dns = Dns::start();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        let mut settings = Settings::with("HYTHE_HTTP_TLS_LISTEN", format!("127.0.0.1:{port}"));
        settings.variables.insert("HYTHE_CERTS_ISSUER".into(), "self-signed".into());
        settings.variables.insert("HYTHE_DOMAINS_RESOLVER".into(), dns.address.to_string());
        let safe = Self { app: Deployed::with(settings), port, dns };
        let said = safe.app.server.cli(&safe.app.server.owner, &["certs:authority"]);
        assert!(said.ok, "{said:?}");
        fs::write(safe.file("authority.pem"), said.out).expect("written");
        safe
    }

    fn file(&self, name: &str) -> PathBuf {
        self.app.server.home().join(name)
    }

    /// Trusts that authority and no other.
    fn get(&self, authority: &str, host: &str, words: &[&str]) -> Answer {
        let (authority, place) = (self.file(authority).display().to_string(), format!("{host}:{}", self.port));
        let (resolve, url) = (format!("{place}:127.0.0.1"), format!("https://{place}/"));
        self.app.server.curl(&[&["--cacert", &authority, "--resolve", &resolve], words, &[&url]].concat())
    }

    fn openssl(&self, words: &[&str]) -> Said {
        run(program("openssl").args(words).stdin(Stdio::null()))
    }

    fn connect(&self, words: &[&str]) -> String {
        self.talk(words, Stdio::null())
    }

    fn talk(&self, words: &[&str], input: impl Into<Stdio>) -> String {
        let (place, authority) = (format!("127.0.0.1:{}", self.port), self.file("authority.pem").display().to_string());
        let said = run(program("openssl")
            .args(["s_client", "-connect", &place, "-CAfile", &authority])
            .args(words)
            .stdin(input));
        format!("{}{}", said.out, said.err)
    }

    /// A certificate of another authority, by openssl: files `NAME.pem` and `NAME.key`.
    fn make(&self, name: &str, host: &str) {
        let at = |name: String| self.file(&name).display().to_string();
        let (pem, key) = (at(format!("{name}.pem")), at(format!("{name}.key")));
        let (subject, names) = (format!("/CN={host}"), format!("subjectAltName=DNS:{host}"));
        let words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", &subject];
        let more = ["-addext", &names, "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &pem];
        let said = self.openssl(&[&words[..], &more[..]].concat());
        assert!(said.ok, "{said:?}");
    }

    fn upload(&self, certificate: &str, key: &str) -> Said {
        let files = [certificate, key].map(|name| self.file(name).display().to_string());
        self.app.server.cli(&self.app.server.owner, &["certs:add", "-a", "hello", &files[0], &files[1]])
    }
}

#[test]
fn clients_get_tls_by_name_in_versions_protocols_and_resumed_sessions_of_today() {
    let safe = Safe::start();
    eventually("the app has a certificate", || {
        (safe.get("authority.pem", "hello.localhost", &[]).status == 200).then_some(())
    });
    for words in [&["--http1.1"][..], &["--http2"], &["--tls-max", "1.2"], &["--tlsv1.3"]] {
        assert_eq!(safe.get("authority.pem", "hello.localhost", words), ok("first"), "{words:?}");
    }
    let api = safe.get("authority.pem", "hythe.localhost", &[]);
    assert_ne!(api.status, 0, "the API too: {api:?}");

    let good = safe.connect(&["-servername", "hello.localhost", "-alpn", "h2,http/1.1", "-verify_return_error"]);
    for word in ["ALPN protocol: h2", "TLSv1.3", "Verify return code: 0 (ok)"] {
        assert!(good.contains(word), "{word}: {good}");
    }
    let old = safe.connect(&["-servername", "hello.localhost", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
    assert!(old.contains("no peer certificate available"), "{old}");
    // Tickets: the second connection of the same client needs no certificate.
    let again = safe.connect(&["-servername", "hello.localhost", "-tls1_2", "-reconnect"]);
    assert!(again.contains("Reused, TLSv1.2"), "{again}");
    // Those of TLS 1.3 come after the handshake, so the client stays for an answer.
    let (request, ticket) = (safe.file("request"), safe.file("ticket").display().to_string());
    fs::write(&request, "GET / HTTP/1.1\r\nHost: hello.localhost\r\nConnection: close\r\n\r\n").expect("written");
    for (word, sign) in [("-sess_out", "New, TLSv1.3"), ("-sess_in", "Reused, TLSv1.3")] {
        let words = ["-servername", "hello.localhost", "-tls1_3", "-ign_eof", word, &ticket];
        let said = safe.talk(&words, fs::File::open(&request).expect("a request"));
        assert!(said.contains(sign) && said.contains("first"), "{sign}: {said}");
    }
    for unknown in [&["-servername", "nobody.localhost"][..], &["-noservername"]] {
        let said = safe.connect(unknown);
        assert!(said.contains("no peer certificate available") && said.contains("alert"), "{unknown:?}: {said}");
    }
}

#[test]
fn an_uploaded_certificate_serves_its_domain_over_a_crash_and_its_key_is_nowhere_in_the_clear() {
    let mut safe = Safe::start();
    safe.make("shop", "www.example.test");
    let early = safe.upload("shop.pem", "shop.key");
    assert!(!early.ok && early.err.contains("add and verify the domain first"), "{early:?}");
    let said = safe.app.verb(&["domains:add", "www.example.test"]);
    let record = said.lines().find_map(|line| line.strip_prefix("TXT record  ")).unwrap_or_else(|| panic!("{said}"));
    let (name, text) = record.split_once("  ").unwrap_or_else(|| panic!("{said}"));
    safe.dns.text(name, text);
    safe.app.verb(&["domains:verify", "www.example.test"]);
    let served = |safe: &Safe, authority: &str| safe.get(authority, "www.example.test", &[]) == ok("first");
    eventually("the own authority signs for it", || served(&safe, "authority.pem").then_some(()));

    safe.make("other", "www.example.test");
    let wrong = safe.upload("shop.pem", "other.key");
    assert!(!wrong.ok && wrong.err.contains("not the one that the certificate was made for"), "{wrong:?}");
    let added = safe.upload("shop.pem", "shop.key");
    assert!(added.ok && added.out.contains("www.example.test"), "{added:?}");
    eventually("the uploaded one goes first", || served(&safe, "shop.pem").then_some(()));
    assert!(!served(&safe, "authority.pem"));

    safe.app.server.kill();
    safe.app.server.boot();
    assert!(served(&safe, "shop.pem"), "from the first moment");
    assert_eq!(safe.get("authority.pem", "hello.localhost", &[]), ok("first"));

    let key = fs::read_to_string(safe.file("shop.key")).expect("the key");
    let line = key.lines().nth(3).expect("a line of the key").as_bytes().to_owned();
    let mut folders = vec![safe.app.server.data().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && path.file_name().is_none_or(|name| name != "blobs") {
                folders.push(path);
            } else if kind.is_file() {
                let held = fs::read(&path).unwrap_or_default();
                assert!(!held.windows(line.len()).any(|window| window == line), "{} has the key", path.display());
            }
        }
    }
    assert!(!safe.app.server.log().contains("PRIVATE KEY"));

    let list = safe.app.verb(&["certs"]);
    let id = list.lines().find(|line| line.contains("uploaded")).and_then(|line| line.split_whitespace().next());
    safe.app.verb(&["certs:remove", id.unwrap_or_else(|| panic!("{list}"))]);
    eventually("back to the own authority's", || served(&safe, "authority.pem").then_some(()));
}
