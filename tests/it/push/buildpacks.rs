//! Which buildpacks an app is built with: by the tree, and by the verbs, which go before it.

use super::{Deployed, ok};

/// Makes the Node.js app of the push answer with what it is told at launch.
fn buildpack(id: &str) -> Vec<(String, String)> {
    let build = format!(
        "#!/bin/bash\nmkdir -p \"$1/words/env\"; printf 'by {id}' >\"$1/words/env/WORDS\"\n\
         printf '[types]\\nlaunch = true\\n' >\"$1/words.toml\"\n"
    );
    let toml = format!("api = \"0.10\"\n[buildpack]\nid = \"example/{id}\"\nversion = \"1.0.0\"\n");
    [("buildpack.toml", toml), ("bin/detect", "#!/bin/bash\n".to_owned()), ("bin/build", build)]
        .map(|(file, text)| (format!("packs/{id}/{file}"), text))
        .to_vec()
}

#[test]
fn the_tree_says_which_and_people_go_before_it() {
    let app = Deployed::new();
    let server =
        "require('http').createServer((_, r) => r.end(process.env.WORDS ?? 'none')).listen(process.env.PORT);\n";
    let files: Vec<_> = buildpack("one").into_iter().chain(buildpack("two")).collect();
    let mut files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    files.push(("server.js", server));
    files.push(("app.json", "{\"buildpacks\": [{\"url\": \"heroku/nodejs\"}, {\"url\": \"./packs/one\"}]}"));
    app.repo.commit(&files);
    app.repo.git(&["update-index", "--chmod=+x", "packs/one/bin/detect", "packs/one/bin/build"]).expect("mode");
    app.repo.git(&["update-index", "--chmod=+x", "packs/two/bin/detect", "packs/two/bin/build"]).expect("mode");
    app.repo.git(&["commit", "-q", "-m", "programs"]).expect("commit");
    app.repo.git(&["checkout", "-q", "--", "."]).expect("checkout");
    let said = app.repo.push("main").accepted();
    assert!(said.contains("Node.js, example/one detected"), "{said}");
    assert_eq!(app.server.get("hello"), ok("by one"));

    let owner = &app.server.owner;
    let refused = app.server.cli(owner, &["buildpacks:set", "-a", "hello", "git@example.com:x.git"]);
    assert!(!refused.ok && refused.err.contains("https://HOST/REPOSITORY.git#REF"), "{refused:?}");
    app.server.cli(owner, &["buildpacks:set", "-a", "hello", "hythe/nodejs"]).expect("buildpacks:set");
    app.server.ssh(owner, &["buildpacks:add", "-a", "hello", "./packs/two"]).expect("buildpacks:add");
    let listed = app.server.cli(owner, &["buildpacks", "-a", "hello", "--json"]).expect("buildpacks");
    let listed: Vec<String> = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed, ["hythe/nodejs", "./packs/two"]);
    app.repo.commit(&[("note.txt", "again")]);
    app.repo.push("main").accepted();
    assert_eq!(app.server.get("hello"), ok("by two"));

    app.server.cli(owner, &["buildpacks:remove", "-a", "hello", "--index", "1"]).expect("buildpacks:remove");
    app.server.cli(owner, &["buildpacks:clear", "-a", "hello"]).expect("buildpacks:clear");
    app.repo.commit(&[("project.toml", "[[io.buildpacks.group]]\nuri = \"packs/gone\"\n")]);
    app.repo.push("main").refused(&["packs/gone", "there is no packs/gone/buildpack.toml", "project.toml"]);
    app.repo.commit(&[("project.toml", "[io.buildpacks")]);
    app.repo.push("main").refused(&["project.toml: line 1"]);
    assert_eq!(app.server.get("hello"), ok("by two"));
}
