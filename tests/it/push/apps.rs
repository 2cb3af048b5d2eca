//! Apps that build and do not run.

use super::Deployed;
use crate::harness::Settings;

/// Pushes a `server.js`, expects these texts in the refusal, and the old release untouched.
fn refused(settings: Settings, server: &str, texts: &[&str]) {
    let app = Deployed::with(settings);
    app.repo.commit(&[("server.js", server)]);
    app.repo.push("main").refused(texts);
    app.untouched();
}

fn soon() -> Settings {
    Settings::with("HYTHE_RUNTIME_READY_SECONDS", 5)
}

#[test]
fn an_app_that_never_listens() {
    let server = "console.log('I only wait');\nsetInterval(() => {}, 1000);\n";
    refused(soon(), server, &["does not accept connections on port", "I only wait", "0.0.0.0", "PORT"]);
}

#[test]
fn an_app_that_listens_on_another_port() {
    let server =
        "require('http').createServer((_, r) => r.end('x')).listen(3456, '0.0.0.0', () => console.log('on 3456'));\n";
    refused(soon(), server, &["does not accept connections on port", "on 3456", "PORT"]);
}

#[test]
fn an_app_that_exits_at_once() {
    let server = "console.error('Error: no database configured');\nprocess.exit(7);\n";
    refused(Settings::default(), server, &["exited with 7", "no database configured"]);
}

#[test]
fn an_app_that_eats_its_memory() {
    let server = "const eaten = [];\nfor (;;) eaten.push(Buffer.alloc(8 << 20, 1));\n";
    refused(Settings::with("HYTHE_RUNTIME_MEMORY_BYTES", 96 << 20), server, &["out of memory", "more memory"]);
}
