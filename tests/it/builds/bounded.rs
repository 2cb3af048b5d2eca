//! What a build leaves, beyond its bounds or such as no image may hold: told, and gone.

use std::collections::BTreeMap;
use std::fs;
use std::thread;

use bytes::Bytes;
use futures_util::StreamExt as _;
use hythe::base::config;
use hythe::machinery::image::inspect;

use super::brought::{chosen, simple};
use super::{App, Tree};
use crate::harness::{docker, eventually};

const BOUND: u64 = 300_000_000;

fn bounded(bounds: config::Build) -> App {
    let mut app = App::with(&bounds);
    app.wishes.buildpacks = chosen(&["./look"]);
    app
}

/// A layer of the buildpack at `look`, for the image, made by these lines in its directory.
fn layer(name: &str, make: &str) -> String {
    let types = format!("printf '[types]\\nlaunch = true\\n' >$CNB_LAYERS_DIR/{name}.toml");
    format!("{types}; mkdir $CNB_LAYERS_DIR/{name}; (cd $CNB_LAYERS_DIR/{name}; {make}) || exit 9\n")
}

/// Sizes of what lies in the store, named or not, and is of one of these sizes in bytes and a head.
fn stored(app: &App, sizes: &[u64]) -> Vec<u64> {
    let blobs = app.lab.data.join("blobs");
    let places = ["incoming", "fresh", "sha256"].map(|place| fs::read_dir(blobs.join(place)).expect("directory"));
    let found = places.into_iter().flatten().flatten().filter_map(|entry| Some(entry.metadata().ok()?.len()));
    found.filter(|found| sizes.iter().any(|size| (*size..*size + 10_000).contains(found))).collect()
}

#[test]
fn a_build_that_is_over_before_anybody_looks_is_measured() {
    let app = bounded(config::Build { disk_bytes: BOUND, ..Default::default() });
    let full = "head -c 400M /dev/zero >/tmp/full";
    let (failure, _) = app.fail(&simple(full));
    assert_eq!(failure.reason, "build failed: it wrote more than 300 MB");
    app.build(&simple(":"));
}

#[test]
fn files_without_number_are_told() {
    const MOST: u64 = 10_000;
    let app = bounded(config::Build { disk_files: MOST, ..Default::default() });
    let many = |n: u64| format!("mkdir many; cd many; seq {n} | xargs touch");
    for build in [layer("x", &many(MOST)), many(MOST), format!("cd /tmp; {}", many(MOST))] {
        let (failure, _) = app.fail(&simple(&build));
        assert_eq!(failure.reason, "build failed: it made more than 10000 files");
        assert!(failure.lines.join("\n").contains("build.disk_files"), "{failure:?}");
    }
    // What hides from the count is counted as it leaves.
    let (failure, _) = app.fail(&simple(&layer("x", &format!("{}; cd ..; chmod 0 many", many(MOST)))));
    let text = failure.lines.join("\n");
    assert!(text.contains("more than 10000 files in all") && text.contains("build.disk_files"), "{text}");
    app.build(&simple(&layer("x", &many(MOST / 2))));
}

#[test]
fn a_disk_that_has_too_little_left_takes_nothing() {
    let mut app = bounded(config::Build::default());
    let keeping = |bytes, files| app.lab.builder_keeping(bytes, files);
    let full =
        [(keeping(1 << 60, 0), "the disk is nearly full"), (keeping(0, 1 << 60), "the disk takes no more files")];
    for (builder, says) in full {
        app.builder = builder;
        let (failure, _) = app.fail(&simple(&layer("x", "head -c 23000001 /dev/urandom >noise")));
        assert_eq!(failure.reason, format!("build failed: {says}"));
        assert!(failure.temporary);
        eventually("nothing of it is in the store", || stored(&app, &[23_000_001]).is_empty().then_some(()));
    }
}

#[test]
fn build_plans_in_a_circle_end_with_a_reason() {
    let mut app = App::new();
    app.wishes.buildpacks = chosen(&["./one", "./other"]);
    let pack = |tree: Tree, id: &str, provides: &str, requires: &str| {
        let detect =
            format!("printf '[[provides]]\\nname = \"{provides}\"\\n[[requires]]\\nname = \"{requires}\"\\n' >$2");
        let launch = "printf '[[processes]]\\ntype = \"web\"\\ncommand = [\"true\"]\\n' >\"$1/launch.toml\"";
        let toml = format!("api = \"0.10\"\n[buildpack]\nid = \"a/{id}\"\nversion = \"1.0.0\"\nname = \"The {id}\"\n");
        tree.file(&format!("{id}/buildpack.toml"), &toml)
            .program(&format!("{id}/bin/detect"), &format!("#!/bin/bash\n{detect}\n"))
            .program(&format!("{id}/bin/build"), &format!("#!/bin/bash\n{launch}\n"))
    };
    let pair = |one: [&str; 2], other: [&str; 2]| {
        pack(pack(Tree::empty(), "one", one[0], one[1]), "other", other[0], other[1])
    };
    let (failure, _) = app.fail(&pair(["x", "y"], ["y", "x"]));
    let text = failure.lines.join("\n");
    assert!(text.contains("The build plan of The one does not stand: nobody provides the \"y\""), "{text}");
    // Who needs what it provides itself stands, as the specification has it.
    app.build(&pair(["x", "x"], ["y", "y"]));
}

#[test]
fn a_device_in_a_layer_is_refused() {
    let app = bounded(config::Build::default());
    // No build can make one.
    app.build(&simple(&layer("x", "! mknod null c 1 3 && ! mknod gone c 0 0")));
    // Were it there all the same:
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Char);
    header.set_device_major(1).and_then(|()| header.set_device_minor(3)).expect("numbers");
    header.set_mode(0o666);
    header.set_size(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "null", std::io::empty()).expect("entry");
    let archive = Bytes::from(archive.into_inner().expect("tar"));
    let device = || futures_util::stream::iter([Ok(archive.clone())]).boxed();
    let waits = layer("y", "until test -c null; do sleep 0.1; done");
    let (failure, _) = thread::scope(|scope| {
        let failed = scope.spawn(|| app.fail(&simple(&waits)));
        eventually("the layer has a device", || {
            app.await_(app.lab.engine.put(&app.sandbox(), "/layers/example_look/y", device())).ok()
        });
        failed.join().expect("the build")
    });
    let text = failure.lines.join("\n");
    assert!(text.contains("null\" is a device"), "{text}");
}

#[test]
fn set_id_bits_stay_in_the_sandbox() {
    let app = bounded(config::Build::default());
    let done = app.build(&simple(&format!(
        "{}cp /bin/true mine; chmod 6755 mine",
        layer("x", "cp /bin/true t; chmod 4755 t; mkdir d; chmod 2775 d; cp -p t d/u; chmod 2755 d/u")
    )));
    let image = app.lab.engine.image_reference(&done.imaged.image);
    let listed = docker(&["run", "--rm", &image, "find", "/layers/example_look", "/workspace", "-perm", "/6000"]);
    assert_eq!(listed.expect("docker run"), "");
    let modes = docker(&["run", "--rm", &image, "stat", "-c", "%a", "/layers/example_look/x/t", "/workspace/mine"]);
    assert_eq!(modes.expect("docker run"), "755\n755\n");
}

#[test]
fn long_paths_are_in_the_image_or_refused() {
    let app = bounded(config::Build::default());
    let deep = |length: usize| {
        // Each step is 200 bytes and a slash; the last makes up the rest.
        let steps = (length - 2) / 201;
        let last = length - steps * 201;
        format!(
            "d=$(printf 'd%.0s' {{1..200}}); for i in {{1..{steps}}}; do mkdir $d && cd -P $d || exit 8; done; \
             f=$(printf 'f%.0s' {{1..{last}}}); echo deep >$f"
        )
    };
    let above = "/layers/example_look/x/".len();
    let done = app.build(&simple(&layer("x", &deep(3840 - above))));
    let facts = inspect(&app.lab.blobs, &done.imaged.image).expect("image");
    let lengths: BTreeMap<usize, String> = facts
        .layers
        .iter()
        .flat_map(|layer| {
            let mut tar = tar::Archive::new(app.lab.blobs.open_blob(&layer.digest).expect("blob"));
            let paths = tar.entries().expect("entries").map(|entry| entry.expect("entry").path_bytes().into_owned());
            paths.map(|path| String::from_utf8_lossy(&path).into_owned()).collect::<Vec<_>>()
        })
        .map(|path| (path.len() + 1, path))
        .collect();
    assert!(lengths.contains_key(&3840), "{:?}", lengths.last_key_value());
    for length in [3841, 4096, 5000] {
        let (failure, _) = app.fail(&simple(&layer("x", &deep(length - above))));
        assert_eq!(failure.reason, "build failed: a path is longer than 3840 bytes", "{length}");
    }
    app.build(&simple(":"));
}
