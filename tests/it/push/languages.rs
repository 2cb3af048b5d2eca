//! An app of each language, pushed by git as it is and served; then a change of code alone, pushed again.

use std::process::Command;
use std::time::Instant;

use crate::builds::lab_dir;
use crate::harness::{RealServer, Repo, Settings, base};

fn copied(server: &RealServer, app: &str, from: &str) -> Repo {
    let repo = Repo::empty(server, &server.owner, app);
    let from = format!("{}/{from}/.", env!("CARGO_MANIFEST_DIR"));
    assert!(Command::new("cp").args(["-R", &from]).arg(repo.file(".")).status().expect("cp").success(), "{from}");
    repo.commit(&[]);
    repo
}

/// `change`: a file, what stands in it, what is to stand there; then the page says `then`.
fn serves(server: &RealServer, app: &str, from: &str, page: &str, change: (&str, &str, &str), then: &str) {
    let repo = copied(server, app, from);
    let first = Instant::now();
    repo.push("main").accepted();
    let first = first.elapsed();
    let body = server.get(app).body;
    assert!(body.contains(page), "{app}: {body}");

    let (file, old, new) = change;
    let text = std::fs::read_to_string(repo.file(file)).expect("source");
    assert!(text.contains(old), "{file}: {text}");
    repo.commit(&[(file, &text.replace(old, new))]);
    let second = Instant::now();
    let said = repo.push("main").accepted();
    println!("{app}: first push {first:?}, second {:?}\n{said}", second.elapsed());
    for work in ["Fetching", "Installing", "list of Debian packages"] {
        assert!(!said.contains(work), "{work:?} is in:\n{said}");
    }
    let body = server.get(app).body;
    assert!(body.contains(then), "{app}: {body}");
}

#[test]
fn each_is_served_and_changed() {
    let mut server = RealServer::prepared(Settings::default());
    base::share_prepared(&lab_dir(), server.data());
    server.boot();
    server.set_up();
    let again = ("Hello", "Hello again");
    let hello = |file| (file, again.0, again.1);
    serves(&server, "go", "contrib/samples/hello-go", "Hello from Hythe, by Go", hello("main.go"), again.1);
    serves(&server, "php", "contrib/samples/hello-php", "Hello from Hythe, by PHP", hello("index.php"), again.1);
    let fixtures = "buildpacks";
    let (page, change) = ("rack 2.2.22, assets built", ("config.ru", "rack #{", "changed #{"));
    serves(&server, "ruby", &format!("{fixtures}/ruby/fixtures/rack"), page, change, "changed 2.2.22");
    let (page, change) = ("a plain program", ("src/main.rs", r"\r\n\r\n{page}", r"\r\n\r\nchanged {page}"));
    serves(&server, "rust", &format!("{fixtures}/rust/fixtures/plain"), page, change, "changed a plain program");
    let (page, change) = ("java 17", ("src/app/Main.java", "\"java \"", "\"changed \""));
    serves(&server, "java", &format!("{fixtures}/java/fixtures/wrapper"), page, change, "changed 17");
    let change = ("index.html", "<title>built", "<title>changed");
    serves(&server, "site", &format!("{fixtures}/static/fixtures/built"), "<title>built", change, "<title>changed");
    base::share_prepared(server.data(), &lab_dir());
}
