//! Static sites: built by Node.js, headers, redirects, one page for all paths, compression.

use super::*;

#[test]
fn a_site_that_node_builds() {
    let app = App::new();
    let done = app.build(&Tree::of("buildpacks/static/fixtures/built"));
    for text in [
        "-----> Node.js assets, static site detected (package.json, index.html)",
        "-----> Building (npm run build)",
        "one page: paths",
    ] {
        assert!(done.log.contains(text), "{text:?} is not in:\n{}", done.log);
    }
    let image = app.lab.engine.image_reference(&done.imaged.image);
    let found = crate::harness::docker(&["run", "--rm", &image, "find", "/workspace", "/layers", "-type", "f"]);
    let mut files: Vec<_> = found.out.lines().filter(|file| !file.starts_with("/layers/sbom/")).collect();
    files.sort_unstable();
    // What was made, and nothing of what made it.
    assert_eq!(
        files,
        [
            "/layers/hythe_static/server/bin/start-static",
            "/workspace/.hythe-static",
            "/workspace/site/assets/app-1a2b3c.js",
            "/workspace/site/assets/app-1a2b3c.js.br",
            "/workspace/site/assets/app-1a2b3c.js.gz",
            "/workspace/site/index.html",
        ]
    );
    let site = Container::start(&app, &done);
    for path in ["/", "/users/42"] {
        let (status, _, body) = site.get(path, &[]);
        assert!(status == 200 && body.contains("/assets/app-1a2b3c.js"), "{path}: {status} {body}");
    }
    assert_eq!(site.get("/assets/app-of-before.js", &[]).0, 404);
    // Compressed ahead, as each asks for it, and told apart by whatever keeps copies.
    for (asked, encoding) in [("br, gzip", "br"), ("gzip", "gzip"), ("identity", "")] {
        let accept = format!("Accept-Encoding: {asked}");
        let (status, head) = site.head("/assets/app-1a2b3c.js", &[&accept]);
        let said = head.lines().find_map(|line| line.strip_prefix("content-encoding: ")).unwrap_or("").trim();
        assert_eq!((status, said), (200, encoding), "{head}");
        assert!(head.contains("vary: accept-encoding") && head.contains("etag: w/\""), "{head}");
    }
    // A later push builds and fetches nothing else.
    let second = app.build(&Tree::of("buildpacks/static/fixtures/built").file("src/app.js", "console.log(2);\n"));
    assert!(!second.log.contains("Fetching") && second.imaged.layers_new == 1, "{}", second.log);
    assert!(Container::start(&app, &second).body("/assets/app-1a2b3c.js").starts_with("console.log(2);"));
}

#[test]
fn headers_and_redirects() {
    let app = App::new();
    let done = app.build(&Tree::of("buildpacks/static/fixtures/rules"));
    assert!(done.log.contains("_headers: 4, _redirects: 10 rules"), "{}", done.log);
    let site = Container::start(&app, &done);
    for (path, status, target) in [
        ("/home?a=b", 301, "/?a=b"),
        ("/news/a/b", 302, "/blog/a/b"),
        ("/2024/hello/old", 308, "/archive/2024-hello?from=old"),
        ("/elsewhere/x", 307, "https://example.org/x"),
    ] {
        let (said, head, _) = site.get(path, &[]);
        assert!(said == status && head.contains(&format!("location: {target}\r\n")), "{path}: {head}");
    }
    for (path, status, page) in [
        ("/blog/post", 200, "a post"),
        ("/about", 200, "shell"),
        ("/app/deep/link", 200, "shell"),
        ("/files/site.css", 200, "margin"),
        ("/gone/x", 404, "gone away"),
        ("/api/old", 410, "410"),
        ("/nothing", 404, "no such page"),
        ("/files/.env", 404, "no such page"),
        ("/_redirects", 404, "no such page"),
        ("/files/../../etc/passwd", 400, ""),
    ] {
        let (said, _, body) = site.get(path, &[]);
        assert!(said == status && body.contains(page), "{path}: {said} {body}");
    }
    let (_, head, _) = site.get("/assets/site.css", &[]);
    for text in ["cache-control: public, max-age=31536000, immutable", "x-frame-options: deny\r\n", "img-src \"$self\""]
    {
        assert!(head.contains(text) && !head.contains("no-cache"), "{text:?} is not in:\n{head}");
    }
    assert!(site.get("/", &[]).1.contains("cache-control: no-cache"));
    assert!(site.get("/association", &[]).1.contains("content-type: application/json"));
}

#[test]
fn assets_for_an_app_of_another_language() {
    let app = App::new();
    let done = app.build(&Tree::of("buildpacks/python/fixtures/assets"));
    assert!(done.log.contains("-----> Node.js assets, Python detected"), "{}", done.log);
    assert_eq!(Container::start(&app, &done).body("/"), "collected made by Node.js, node None");
}

#[test]
fn what_fails() {
    fails(
        "static/fixtures/bad-redirect",
        "_redirects line 3 is wrong",
        &["no file /missing.html", "/old/* /new/:splat 301"],
    );
    fails("static/fixtures/bad-header", "_headers line 2 is wrong", &["X-Frame-Options DENY", "Name: value"]);
    fails("static/fixtures/no-site", "the build script made no site", &["dist", "package.json", "\"start\" script"]);
}
