//! What a second build reuses, and that equal trees give equal images wherever they are built.

use std::collections::BTreeSet;

use hythe::machinery::image::{Digest, inspect};

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
    assert_eq!(after.difference(&before).count(), 2, "dependencies and workspace");
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
