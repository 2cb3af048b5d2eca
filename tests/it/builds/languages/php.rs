//! PHP: files alone, Composer, extensions, document roots.

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
