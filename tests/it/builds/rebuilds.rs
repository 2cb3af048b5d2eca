//! What a second build reuses, and that equal trees give equal images wherever they are built.

use std::collections::BTreeSet;

use hythe::base::model::{BuildpackRef, EnvironmentId, Id};
use hythe::machinery::image::{Digest, inspect};
use hythe::product::builds::{CacheCleared, Origin};

use super::lab::tar_of;
use super::{App, Tree};

const NODE: &str = "buildpacks/nodejs/fixtures/dependencies";

fn layers(app: &App, image: &hythe::base::model::ImageDigest) -> BTreeSet<Digest> {
    inspect(&app.lab.blobs, image).expect("image").layers.into_iter().map(|layer| layer.digest).collect()
}

#[test]
fn a_change_of_code_makes_one_new_layer() {
    let app = App::new();
    let first = app.build(&Tree::of("contrib/samples/hello-node"));
    let second = app.build(&Tree::of("contrib/samples/hello-node").file("note.txt", "changed\n"));
    assert_eq!(second.imaged.layers_new, 1, "{}", second.log);
    assert!(second.imaged.bytes_new < 100_000, "{}", second.imaged.bytes_new);
    assert!(second.log.contains("dependencies reused"), "{}", second.log);
    assert_ne!(first.imaged.image, second.imaged.image);
    let third = app.build(&Tree::of("contrib/samples/hello-node").file("note.txt", "changed\n"));
    assert_eq!((third.imaged.image, third.imaged.layers_new), (second.imaged.image, 0));
}

/// Content of a layer that nobody touched is not read again: its fingerprint is as it was.
#[test]
fn a_change_of_code_touches_no_other_layer() {
    for sample in ["hello-node", "hello-python", "hello-static"] {
        let app = App::new();
        let tree = format!("contrib/samples/{sample}");
        let prints = || {
            let text = std::fs::read_to_string(app.lab.data.join(format!("caches/{}.json", app.id))).expect("cache");
            let cache: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let layers = cache["layers"].as_array().expect("layers").iter().filter(|layer| layer["launch"] == true);
            layers.map(|layer| (layer["name"].to_string(), layer["fingerprint"].to_string())).collect::<Vec<_>>()
        };
        app.build(&Tree::of(&tree));
        let before = prints();
        app.build(&Tree::of(&tree).file("note.txt", "changed\n"));
        assert!(!before.is_empty() && before.iter().all(|(_, print)| print.len() == 66), "{before:?}");
        assert_eq!(before, prints(), "{sample}");
    }
}

#[test]
fn a_change_of_dependencies_installs_them_anew() {
    let app = App::new();
    let first = app.build(&Tree::of("buildpacks/python/fixtures/requirements"));
    let second =
        app.build(&Tree::of("buildpacks/python/fixtures/requirements").file("requirements.txt", "bottle==0.13.3\n"));
    assert!(second.log.contains("Successfully installed bottle-0.13.3"), "{}", second.log);
    let (before, after) = (layers(&app, &first.imaged.image), layers(&app, &second.imaged.image));
    assert_eq!(after.difference(&before).count(), 3, "dependencies, their bill of materials, and workspace");
}

#[test]
fn equal_trees_give_equal_images_in_different_sandboxes() {
    for tree in [NODE, "buildpacks/python/fixtures/requirements", "buildpacks/static/fixtures/public"] {
        let (one, other) = (App::new(), App::new());
        assert_eq!(one.build(&Tree::of(tree)).imaged.image, other.build(&Tree::of(tree)).imaged.image, "{tree}");
    }
}

#[test]
fn layers_come_back_into_a_lost_sandbox() {
    let app = App::new();
    let first = app.build(&Tree::of(NODE));
    app.await_(app.lab.engine.close_sandbox(&app.sandbox())).expect("closed");
    // A restart of the platform forgets what it knew of sandboxes; the caches stay.
    let mut again = App::new();
    again.id = app.id.clone();
    again.builder = again.lab.builder_with(&hythe::base::config::Build::default());
    let second = again.build(&Tree::of(NODE));
    assert!(second.log.contains("dependencies reused"), "{}", second.log);
    assert!(!second.log.contains("Fetching"), "{}", second.log);
    assert_eq!(first.imaged.image, second.imaged.image);
}

#[test]
fn no_cache_starts_from_nothing() {
    let mut app = App::new();
    let first = app.build(&Tree::of(NODE));
    app.no_cache = true;
    let second = app.build(&Tree::of(NODE));
    assert!(second.log.contains("Installing dependencies"), "{}", second.log);
    assert_eq!(first.imaged.image, second.imaged.image);
}

#[test]
fn another_language_leaves_nothing_of_the_one_before() {
    let app = App::new();
    app.build(&Tree::of("buildpacks/python/fixtures/requirements"));
    let done = app.build(&Tree::of("buildpacks/static/fixtures/root"));
    let alone = App::new().build(&Tree::of("buildpacks/static/fixtures/root"));
    assert_eq!(done.imaged.image, alone.imaged.image);
}

/// Whether the source of `tree` was put in place of what the app's sandbox had before.
fn builds(app: &App, tree: &Tree) -> bool {
    let mark = tar_of("mark");
    app.await_(app.lab.engine.put(&app.sandbox(), "/workspace", mark)).expect("marked");
    let done = app.build(tree);
    let left = app.await_(app.lab.engine.get(&app.sandbox(), "/workspace/mark")).is_ok();
    assert_eq!(left, done.log.contains("its image is used again"), "{}", done.log);
    !left
}

#[test]
fn a_tree_that_is_built_already_enters_no_sandbox() {
    let (mut app, tree) = (App::new(), Tree::of("contrib/samples/hello-static"));
    let environment = EnvironmentId::fresh();
    let origin = |tree: &str, version| Some(Origin { tree: tree.into(), variables: (environment.clone(), version) });
    let first = app.build(&tree);
    assert!(builds(&app, &tree), "nobody said that it is the same");

    app.origin = origin("one", 1);
    assert!(builds(&app, &tree));
    app.commit = "1".repeat(40);
    assert!(!builds(&app, &tree) && !builds(&app, &tree));
    assert_eq!(app.build(&tree).imaged.image, first.imaged.image);

    for changed in [origin("two", 1), origin("two", 2), origin("one", 2)] {
        app.origin = changed;
        assert!(builds(&app, &tree) && !builds(&app, &tree), "{:?}", app.origin);
    }
    app.wishes.buildpacks = vec!["hythe/static".parse::<BuildpackRef>().expect("reference").into()];
    assert!(builds(&app, &tree) && builds(&app, &tree), "what somebody chose may have changed where it comes from");
    app.wishes.buildpacks.clear();

    assert!(builds(&app, &tree) && !builds(&app, &tree));
    assert_eq!(app.await_(app.builder.clear_cache(&app.id, None)).expect("cleared"), CacheCleared::Done);
    assert!(!app.build(&tree).log.contains("used again"), "a cleared cache has nothing to use");
    app.builder = app.lab.builder_with(&hythe::base::config::Build::default());
    assert!(builds(&app, &tree), "another process may be another version");
}

#[test]
fn a_tree_that_speaks_of_its_commit_is_built_for_each() {
    let mut app = App::new();
    let tree = Tree::of("contrib/samples/hello-static").file("about.txt", "made of $SOURCE_VERSION\n");
    app.origin = Some(Origin { tree: "one".into(), variables: (EnvironmentId::fresh(), 1) });
    app.build(&tree);
    assert!(!builds(&app, &tree));
    app.commit = "1".repeat(40);
    assert!(builds(&app, &tree) && !builds(&app, &tree));
}

/// Two versions of a tree too large for one layer.
#[test]
fn a_change_in_a_large_tree_writes_little() {
    let app = App::new();
    let tree = |text: &str| {
        let films = (0..12_u8).map(|number| (format!("films/{number}"), vec![number; 6 << 20]));
        let tree = Tree::of("contrib/samples/hello-static").file("note.txt", text);
        films.fold(tree, |tree, (path, film)| tree.bytes(&path, &film))
    };
    let (first, second) = (app.build(&tree("one")), app.build(&tree("two")));
    assert_eq!(second.imaged.layers_new, 1, "{}", second.log);
    assert!(second.imaged.bytes_new < 100_000, "{}", second.imaged.bytes_new);
    let again = App::new().build(&tree("one"));
    assert_eq!(again.imaged.image, first.imaged.image, "the history of an app decides nothing");
}
