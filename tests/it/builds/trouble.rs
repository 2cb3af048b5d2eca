//! Builds that are disturbed, bounded or hostile.

use std::io::Write;
use std::sync::Arc;

use hythe::base::config;
use hythe::base::secret::Secret;
use hythe::machinery::image::inspect;
use hythe::product::builds::BuildLog;

use super::lab::Log;
use super::{App, Tree};

fn script(build: &str) -> Tree {
    let manifest = serde_json::json!({
        "name": "x", "private": true, "scripts": { "start": "node x.js", "build": build }
    });
    Tree::empty().file("package.json", &manifest.to_string())
}

#[test]
fn a_sandbox_lost_between_the_steps_gets_the_source_again() {
    let app = App::new();
    let tree = Tree::of("buildpacks/procfile/fixtures/only");
    let log = Arc::new(Log::default());
    let to: Arc<dyn BuildLog> = Arc::clone(&log) as _;
    let request = app.request();
    app.await_(async {
        let detected = app.builder.detect(&request, tree.source(), Arc::clone(&to)).await.expect("detected");
        app.lab.engine.close_sandbox(&app.sandbox()).await.expect("closed");
        // As after a restart: what a step handed on has gone through JSON, and nobody remembers a session.
        let text = serde_json::to_string(&detected).expect("JSON");
        let detected = serde_json::from_str(&text).expect("JSON");
        let later = app.lab.builder_with(&config::Build::default());
        let built = later.build(&request, &detected, tree.source(), Arc::clone(&to)).await.expect("built");
        let built = serde_json::from_str(&serde_json::to_string(&built).expect("JSON")).expect("JSON");
        later.image(&request.app, &detected, &built, to).await.expect("imaged");
    });
}

#[test]
fn a_build_never_takes_another_push_s_source() {
    let app = App::new();
    let (one, other) = (Tree::empty().file("Procfile", "web: one\n"), Tree::empty().file("Procfile", "web: other\n"));
    let to: Arc<dyn BuildLog> = Arc::new(Log::default());
    let request = app.request();
    let built = app.await_(async {
        let first = app.builder.detect(&request, one.source(), Arc::clone(&to)).await.expect("detected");
        app.builder.detect(&request, other.source(), Arc::clone(&to)).await.expect("detected");
        app.builder.build(&request, &first, one.source(), to).await.expect("built")
    });
    let web = built.processes.values().next().expect("a process");
    assert_eq!(web.command, ["bash", "-c", "one"]);
}

#[test]
fn memory_is_bounded() {
    let app = App::with(&config::Build { memory_bytes: 256 << 20, ..Default::default() });
    let hungry = "node -e \"const a = []; for (;;) a.push(Buffer.alloc(1 << 24, 1))\"";
    let (failure, _) = app.fail(&script(hungry));
    assert_eq!(failure.reason, "build failed: out of memory");
    assert!(failure.lines.join("\n").contains("256 MiB"), "{:?}", failure.lines);
    // The sandbox is of use again.
    app.build(&script("true"));
}

#[test]
fn time_is_bounded() {
    let app = App::with(&config::Build { timeout_seconds: 20, ..Default::default() });
    app.build(&script("true"));
    let (failure, _) = app.fail(&script("echo started; sleep infinity"));
    assert_eq!(failure.reason, "build failed: no end after 20 seconds");
    app.build(&script("true"));
}

#[test]
fn what_a_build_leaves_running_is_ended() {
    let app = App::new();
    let done = app.build(&script("(setsid sleep infinity >/dev/null 2>&1 &) ; (sleep infinity &) ; echo done"));
    assert!(done.log.contains("       done"), "{}", done.log);
    let said = app.build(&script("ps() { cat /proc/[0-9]*/comm; }; ps | sort | uniq -c"));
    // One of its own: the process that keeps the sandbox open.
    assert!(said.log.contains("1 sleep"), "{}", said.log);
}

#[test]
fn variables_reach_the_build_and_nothing_that_stays() {
    let mut app = App::new();
    let secret = "s3cr3t-4-builds-only";
    let password = "pass%2Fw0rd-of-a-database";
    let address = format!("postgres://shop:{password}@db.internal/shop");
    app.variables.insert("BUILD_SECRET".into(), Secret::new(secret.into()));
    app.variables.insert("PATH".into(), Secret::new("/nowhere".into()));
    app.variables.insert("LD_PRELOAD".into(), Secret::new("/nowhere.so".into()));
    app.variables.insert("DATABASE_URL".into(), Secret::new(address.clone()));
    app.variables.insert("NODE_ENV".into(), Secret::new("production".into()));
    // In one piece, in two, and on both streams. What a build itself wrote into a file of the app would be there.
    let says = "test ${#BUILD_SECRET} = 20 && echo seen as $SOURCE_VERSION in $NODE_ENV && echo one=$BUILD_SECRET. && \
                echo url=$DATABASE_URL, >&2 && printf \"two=${BUILD_SECRET%-builds-only}\" && cat /dev/null && \
                printf -- '-builds-only.\\n' && echo to=${DATABASE_URL#postgres://shop:}";
    let manifest = serde_json::json!({
        "name": "dependencies", "version": "1.0.0", "scripts": { "start": "node index.js", "build": says },
        "dependencies": { "picocolors": "1.1.1" }, "devDependencies": { "isexe": "3.1.1" }
    });
    let tree = Tree::of("buildpacks/nodejs/fixtures/dependencies").file("package.json", &manifest.to_string());
    let done = app.build(&tree);
    for text in [
        format!("seen as {} in production", "0".repeat(40)),
        "one=****.".to_owned(),
        "two=****.".to_owned(),
        "url=****,".to_owned(),
        "to=****@db.internal/shop".to_owned(),
    ] {
        assert!(done.log.contains(&text), "{text:?} is not in\n{}", done.log);
    }
    let (failure, log) = app.fail(&script("echo no $BUILD_SECRET >&2; exit 3"));
    assert!(log.contains("no ****"), "{log}");
    let told = [done.log.as_str(), &log, &failure.reason, &failure.lines.join("\n")].join("\n");
    assert!(!told.contains(secret) && !told.contains(password), "{told}");

    // The image, the layers that are kept for builds to come, and what is noted of them.
    let facts = inspect(&app.lab.blobs, &done.imaged.image).expect("image");
    let blobs = |hex: String| app.lab.data.join("blobs/sha256").join(hex);
    let mut kept: Vec<_> = facts.layers.iter().skip(1).map(|layer| blobs(layer.digest.hex().to_owned())).collect();
    kept.push(blobs(facts.config.hex().to_owned()));
    let caches: Vec<_> = std::fs::read_dir(app.lab.data.join("caches"))
        .expect("caches")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains(&app.id.to_string()))
        .collect();
    let noted: String = caches.iter().map(|path| std::fs::read_to_string(path).expect("what is noted")).collect();
    let cached: Vec<_> = noted.match_indices("sha256:").filter_map(|(at, _)| noted.get(at + 7..at + 71)).collect();
    assert!(!cached.is_empty(), "layers are kept: {noted}");
    kept.extend(cached.into_iter().map(|hex| blobs(hex.to_owned())));
    kept.extend(caches);
    for file in kept {
        let content = std::fs::read(&file).expect("a file");
        for text in [secret, password] {
            assert!(!content.windows(text.len()).any(|part| part == text.as_bytes()), "{}", file.display());
        }
    }
    // Nor is it there for the build after.
    app.variables.clear();
    app.build(&script("test -z \"$BUILD_SECRET\" && test ! -e /platform/env/BUILD_SECRET"));
}

#[test]
fn what_a_build_prints_is_shown_inertly() {
    let app = App::new();
    let done = app.build(&script("printf '\\033[31mred\\033[0m \\036forged\\n-----> end\\n'; printf 'end 0\\n' >&2"));
    assert!(done.log.contains("       red "), "{}", done.log);
    assert!(!done.log.contains('\u{1b}'), "{}", done.log);
}

#[test]
fn slugignore_leaves_files_out() {
    let app = App::new();
    let tree = script("find . -type f | sort")
        .file(".slugignore", "# tests\n*.test.js\n/docs\n../../etc\n\n")
        .file("a.test.js", "")
        .file("lib/b.test.js", "")
        .file("lib/b.js", "")
        .file("docs/x.md", "")
        .file("lib/docs/y.md", "");
    let log = app.build(&tree).log;
    for (file, stays) in [
        ("a.test.js", false),
        ("lib/b.test.js", false),
        ("docs/x.md\n", false),
        ("lib/b.js", true),
        ("lib/docs/y.md", true),
    ] {
        assert_eq!(log.contains(&format!("./{file}")), stays, "{file}:\n{log}");
    }
}

#[test]
fn a_source_that_breaks_off_is_told() {
    let app = App::new();
    let request = app.request();
    let source = Arc::new(|out: &mut dyn Write| {
        out.write_all(b"half")?;
        Err(std::io::Error::other("the tree has the path ../x"))
    });
    let to: Arc<dyn BuildLog> = Arc::new(Log::default());
    let failure = app.await_(app.builder.detect(&request, source, to)).expect_err("it fails");
    assert!(failure.lines.join("\n").contains("the tree has the path ../x"), "{:?}", failure.lines);
    app.build(&Tree::of("buildpacks/procfile/fixtures/only"));
}

#[test]
fn a_fork_bomb_is_ended_and_named() {
    let app = App::with(&config::Build { processes: 256, ..Default::default() });
    let bomb = "bash -c 'bomb() { bomb | bomb & }; bomb; sleep infinity'";
    let (failure, _) = app.fail(&script(bomb));
    assert_eq!(failure.reason, "build failed: too many processes");
    app.build(&script("true"));
}

#[test]
fn a_build_that_fills_the_disk_is_ended_and_named() {
    let app = App::with(&config::Build { disk_bytes: 1_000_000_000, ..Default::default() });
    let (failure, _) = app.fail(&script("dd if=/dev/zero of=/tmp/full bs=1M; sleep infinity"));
    assert_eq!(failure.reason, "build failed: it wrote more than 1.0 GB");
    app.build(&script("true"));
}

#[test]
fn a_build_that_prints_without_end_is_ended_and_named() {
    let app = App::with(&config::Build { output_bytes: 5_000_000, ..Default::default() });
    let (failure, log) = app.fail(&script("yes 'this line is printed without end'"));
    assert_eq!(failure.reason, "build failed: it printed more than 5 MB");
    assert!(log.len() < 1_000_000, "what is kept of it is bounded as well: {}", log.len());
    app.build(&script("true"));
}
