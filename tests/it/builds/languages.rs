//! The languages whose runtime or compiler comes as a layer of Debian packages: each fixture built, and run where it is to run.

mod go;
mod java;
mod nodejs;
mod php;
mod python;
mod ruby;
mod rust;
mod sites;

use super::fixtures::fails;
use super::lab::Done;
use super::running::Container;
use super::{App, Tree};

/// Builds the fixture, asks the running app for its page, changes a file and builds again: the second build reuses
/// what `reuses` says, fetches nothing, and the app answers still.
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
    assert_eq!(second.imaged.layers_new, 1, "{}", second.log);
    let body = Container::start(&app, &second).body("/");
    assert!(body.contains(page), "{page:?} is not in:\n{body}");
    (app, first)
}
