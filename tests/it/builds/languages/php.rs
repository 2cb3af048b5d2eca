//! PHP: files alone, Composer, extensions, document roots.

use hythe::base::secret::Secret;

use super::*;

#[test]
fn files_alone() {
    let (app, _) = answers("php/fixtures/plain", "plain 8.2.", &["-----> PHP 8.2."]);
    let done = app.build(&Tree::of("buildpacks/php/fixtures/plain"));
    let site = Container::start(&app, &done);
    assert!(site.body("/a/b?c=d").contains("/a/b?c=d"));
    let (status, head, _) = site.get("/style.css", &[]);
    assert!(status == 200 && head.contains("content-type: text/css"), "{head}");
    assert_eq!(site.get("/.env", &[]).0, 404);
    assert_eq!(site.stop(), "0");
}

#[test]
fn dependencies_extensions_and_a_document_root() {
    answers(
        "php/fixtures/composer",
        "from a dependency, built, 42, gd",
        &["-----> PHP 8.2", " from Debian (composer.json \"^8.1\")", "dependencies reused"],
    );
}

#[test]
fn committed_dependencies_are_taken_as_they_are() {
    let app = App::new();
    let large = "// large\n".repeat(100_000);
    let tree = || {
        Tree::empty()
            .file("composer.json", r#"{"require": {"example/not-there": "1.0.0"}}"#)
            .file("vendor/autoload.php", "<?php require __DIR__ . '/example/text.php';\n")
            .file("vendor/example/text.php", &format!("<?php const TEXT = 'of the tree';\n{large}"))
            .file("index.php", "<?php require 'vendor/autoload.php'; echo TEXT;\n")
    };
    let first = app.build(&tree());
    assert!(first.log.contains("dependencies: vendor/ of the tree"), "{}", first.log);
    let second = app.build(&tree().file("note.txt", "changed\n"));
    writes_little(&app, &first, &second);
    assert_eq!(Container::start(&app, &second).body("/"), "of the tree");
}

#[test]
fn a_document_root_by_variable_or_by_the_manifest() {
    let mut app = App::new();
    let pages = || {
        let tree = Tree::empty().file("composer.json", r#"{"extra": {"hythe": {"document-root": "one"}}}"#);
        tree.file("one/index.php", "<?php echo 'one';").file("two/index.php", "<?php echo 'two';")
    };
    assert_eq!(Container::start(&app, &app.build(&pages())).body("/"), "one");
    let told = pages().file("app.json", r#"{"document_root": "two"}"#);
    assert_eq!(Container::start(&app, &app.build(&told)).body("/"), "two");
    app.variables.insert("PHP_DOCUMENT_ROOT".into(), Secret::new("one".into()));
    assert_eq!(Container::start(&app, &app.build(&told)).body("/"), "one");
    app.variables.insert("PHP_DOCUMENT_ROOT".into(), Secret::new("three".into()));
    let (failure, _) = app.fail(&pages());
    let said = format!("{}\n{}", failure.reason, failure.lines.join("\n"));
    assert!(said.contains("three") && said.contains("PHP_DOCUMENT_ROOT"), "{said}");
}

#[test]
fn a_procfile_of_another_platform() {
    answers("php/fixtures/procfile", "by Procfile", &["-----> Procfile: web"]);
}

#[test]
fn what_fails() {
    fails("php/fixtures/newer", "PHP >=9.1 is not available", &["composer.json", "8.2."]);
    fails("php/fixtures/unknown-extension", "no Debian package for ext-nonsense", &["composer.json", "bcmath"]);
    fails("php/fixtures/no-start", "nothing says how to start the app", &["index.php", "document-root"]);
    fails("php/fixtures/composer-fails", "composer exited 2", &["example/missing", "composer.json"]);
    fails("php/fixtures/broken-json", "composer.json is not valid JSON (line 4)", &["line 4, column 3"]);
}
