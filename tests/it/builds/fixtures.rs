//! What becomes of each fixture.

use super::{App, Tree};

pub fn builds(fixture: &str, processes: &[&str], says: &[&str]) {
    let done = App::new().build(&Tree::of(&format!("buildpacks/{fixture}")));
    let found: Vec<_> = done.imaged.processes.iter().map(|(n, p)| format!("{n}: {}", p.command.join(" "))).collect();
    assert_eq!(found, processes);
    for text in says {
        assert!(done.log.contains(text), "{text:?} is not in:\n{}", done.log);
    }
}

pub fn fails(fixture: &str, reason: &str, says: &[&str]) {
    let (failure, _) = App::new().fail(&Tree::of(&format!("buildpacks/{fixture}")));
    assert_eq!(failure.reason, format!("build failed: {reason}"));
    let text = failure.lines.join("\n");
    for said in says {
        assert!(text.contains(said), "{said:?} is not in:\n{text}");
    }
}

#[test]
fn nodejs_that_builds() {
    builds(
        "nodejs/fixtures/plain",
        &["web: node server.js"],
        &[
            "-----> Node.js detected (package.json)",
            "-----> Node.js 24.",
            " from the npm registry (nothing asks for a version)",
        ],
    );
    builds(
        "nodejs/fixtures/dependencies",
        &["web: node index.js"],
        &[
            "-----> Installing dependencies (npm ci)",
            "-----> Building (npm run build)",
            "       built with devDependencies",
        ],
    );
    builds(
        "nodejs/fixtures/version",
        &["web: node --no-warnings main.mjs"],
        &["-----> Node.js 22.11.0 from the npm registry (.nvmrc \"22.11\")"],
    );
    builds(
        "nodejs/fixtures/procfile",
        &["web: bash -c node web.js --quote \"two words\"", "worker: bash -c node worker.js"],
        &["-----> Node.js, Procfile detected (package.json)", "-----> Procfile: web worker"],
    );
}

#[test]
fn nodejs_that_fails() {
    fails("nodejs/fixtures/broken-json", "package.json is not valid JSON (line 5)", &["line 5, column 3", "\"start\""]);
    fails("nodejs/fixtures/npm-fails", "npm exited 1", &["package-lock.json", "npm install"]);
    fails("nodejs/fixtures/script-fails", "npm run build exited 3", &["package.json"]);
    fails("nodejs/fixtures/no-start", "nothing says how to start the app", &["scripts.start"]);
    fails("nodejs/fixtures/unknown-version", "no such version of Node.js", &[">=99", "24."]);
    fails("nodejs/fixtures/version-file", "no such version of Node.js", &["99.1", "24."]);
}

#[test]
fn python_that_builds() {
    builds(
        "python/fixtures/requirements",
        &["web: python3 app.py"],
        &["-----> Python detected (requirements.txt)", "-----> Installing dependencies (pip, requirements.txt)"],
    );
    builds(
        "python/fixtures/pyproject",
        &["web: bash -c python -m bottle --bind 0.0.0.0:$PORT serve:app"],
        &["-----> Python 3.11.2 from Debian (.python-version \"3.11.2\")", "Successfully installed bottle-0.13.4"],
    );
}

#[test]
fn python_that_fails() {
    fails("python/fixtures/other-version", "Python 3.13.1 is not available", &["runtime.txt", "3.11.2"]);
    fails("python/fixtures/pip-fails", "pip exited 1", &["requirements.txt", "bottle==999.0"]);
    fails("python/fixtures/no-start", "nothing says how to start the app", &["Procfile"]);
    fails("python/fixtures/broken-toml", "pyproject.toml cannot be read", &["line 1"]);
}

#[test]
fn static_sites() {
    builds(
        "static/fixtures/root",
        &["web: start-static"],
        &["-----> static site detected (index.html)", "the root of the tree"],
    );
    builds("static/fixtures/public", &["web: start-static"], &["public/"]);
}

#[test]
fn procfiles() {
    builds("procfile/fixtures/only", &["web: bash -c exec ./serve"], &["-----> Procfile detected\n"]);
    fails("procfile/fixtures/bad-line", "Procfile line 2 is wrong", &["2: worker node y"]);
    fails("procfile/fixtures/bad-type", "Procfile line 2 is wrong", &["\"WEB!\" is no process type"]);
    fails("procfile/fixtures/empty", "Procfile line 1 is wrong", &["names no process"]);
}

#[test]
fn a_tree_that_nobody_knows() {
    let (failure, log) = App::new().fail(&Tree::empty().file("README.md", "hello\n"));
    assert_eq!(failure.reason, "build failed: no buildpack knows this tree");
    assert!(!failure.temporary);
    let text = failure.lines.join("\n");
    for name in ["package.json", "requirements.txt", "index.html", "Procfile"] {
        assert!(text.contains(name), "{text}");
    }
    assert!(!log.contains("detected"), "{log}");
}
