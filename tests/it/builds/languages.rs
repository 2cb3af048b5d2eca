//! The languages whose runtime or compiler comes as a layer of Debian packages: each fixture built, and run where it is to run.

mod go;
mod java;
mod nodejs;
mod php;
mod python;
mod ruby;
mod rust;
mod sites;

use std::collections::BTreeSet;

use hythe::machinery::image::{inspect, read_files};

use super::fixtures::fails;
use super::lab::Done;
use super::running::Container;
use super::{App, Tree};

/// Builds the fixture, asks the running app for its page, changes a file and builds again: the second build reuses
/// what `reuses` says, fetches nothing, writes what is not dependencies or programs, and the app answers still.
fn answers(fixture: &str, page: &str, reuses: &[&str]) -> (App, Done) {
    let app = App::new();
    let path = format!("buildpacks/{fixture}");
    let first = app.build(&Tree::of(&path));
    let body = Container::start(&app, &first).body("/");
    assert!(body.contains(page), "{page:?} is not in:\n{body}");

    let second = app.build(&Tree::of(&path).file("note.txt", "changed\n"));
    for text in reuses {
        assert!(second.log.contains(text), "{text:?} is not in:\n{}", second.log);
    }
    for work in ["Fetching", "Installing", "list of Debian packages"] {
        assert!(!second.log.contains(work), "{work:?} is in:\n{}", second.log);
    }
    writes_little(&app, &first, &second);
    let body = Container::start(&app, &second).body("/");
    assert!(body.contains(page), "{page:?} is not in:\n{body}");
    (app, first)
}

/// Of a change of what programs read: one small layer, with nothing in it that the change did not touch.
fn writes_little(app: &App, before: &Done, after: &Done) {
    assert_eq!(after.imaged.layers_new, 1, "{}", after.log);
    assert!(after.imaged.bytes_new < 100_000, "{}", after.imaged.bytes_new);
    let new = new_files(app, before, after);
    let apart = |path: &&String| {
        let own = path.strip_prefix("workspace/").unwrap_or(path);
        own.contains("node_modules/") || own.starts_with("bin/") || own.starts_with("vendor/")
    };
    let found: Vec<_> = new.iter().filter(apart).collect();
    assert!(new.contains("workspace/note.txt") && found.is_empty(), "{found:?}");
}

/// Files of the layers that an image has and the one before has not.
fn new_files(app: &App, before: &Done, after: &Done) -> BTreeSet<String> {
    let layers = |done: &Done| inspect(&app.lab.blobs, &done.imaged.image).expect("image").layers;
    let known = layers(before);
    let new = layers(after).into_iter().filter(|layer| !known.contains(layer));
    let files = |digest| read_files(app.lab.blobs.open_blob(&digest).expect("layer"), |_| true, 1 << 20, 100_000);
    new.flat_map(|layer| files(layer.digest).expect("files").into_keys()).collect()
}
