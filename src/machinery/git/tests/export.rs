//! Exported trees, unpacked and compared by the system's own tools.

use super::*;

fn tree_limits() -> TreeLimits {
    TreeLimits { entries: 100_000, total_bytes: 1 << 30, file_bytes: 64 << 20, depth: 64 }
}

fn export(world: &World, commit: ObjectId, limits: &TreeLimits) -> (Result<TreeSummary>, Vec<u8>) {
    let mut out = Vec::new();
    (export_tree(&world.repo, None, &commit, limits, &mut out), out)
}

#[track_caller]
fn unpack(world: &World, name: &str, tar: &[u8]) -> PathBuf {
    let directory = world.path(name);
    std::fs::create_dir(&directory).unwrap();
    let output = run(Process::new("tar").args(["-x", "-f", "-"]).current_dir(&directory), tar);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    directory
}

#[test]
fn what_is_exported_is_what_was_committed() {
    let world = World::new();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    for name in
        ["plain", "sp ace/quo\"te'", "new\nline", "emoji 😀/ümläut", "back\\slash", "-dash", "a", "a.b/c", &long]
    {
        world.write(name, format!("content of {name}"));
    }
    world.write("empty", "");
    world.write("run.sh", "#!/bin/true\n");
    std::fs::set_permissions(world.work().join("run.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (link, target) in [("to-plain", "plain"), ("a.b/up", "../sp ace"), ("dangling", "not/yet")] {
        std::os::unix::fs::symlink(target, world.work().join(link)).unwrap();
    }
    let commit = world.commit_all("all");
    world.accept_head("push");

    let (summary, tar) = export(&world, commit, &tree_limits());
    let summary = summary.unwrap();
    assert_eq!(summary.tree_id, world.id("HEAD^{tree}"));
    let unpacked = unpack(&world, "unpacked", &tar);
    git(&world.work(), &["archive", "--format=tar", "-o", "../archive.tar", "HEAD"]);
    let archived = unpack(&world, "archived", &std::fs::read(world.path("archive.tar")).unwrap());
    let diff = Process::new("diff").args(["-r", "--no-dereference"]).arg(&unpacked).arg(&archived).output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    let mode = |path: &str| {
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(unpacked.join(path)).unwrap().permissions())
    };
    assert_eq!((mode("run.sh") & 0o100, mode("plain") & 0o111), (0o100, 0));
    let listed = Process::new("find").arg(&unpacked).args(["-mindepth", "1", "-printf", "x"]).output().unwrap();
    assert_eq!(summary.entries, listed.stdout.len());

    // The same tree gives the same bytes, whatever commit it is in.
    git(&world.work(), &["commit", "-q", "--allow-empty", "-m", "again"]);
    world.accept_head("again");
    assert_eq!(export(&world, world.id("HEAD"), &tree_limits()).1, tar);
}

#[test]
fn a_quarantined_commit_is_exported_before_it_is_accepted() {
    let world = World::new();
    world.commit("old", "old");
    world.accept_head("one");
    let tip = world.commit("new", "new");
    let quarantine = world.receive("two", &world.pack_of(&format!("HEAD\n^{}", world.id("HEAD^")))).unwrap();
    let mut out = Vec::new();
    let summary = export_tree(&world.repo, Some(&quarantine), &tip, &tree_limits(), &mut out).unwrap();
    assert_eq!((summary.entries, summary.bytes), (2, 6));
    assert!(export(&world, tip, &tree_limits()).0.is_err());
    let read = |path: &str| read_file(&world.repo, Some(&quarantine), &tip, path, 100).unwrap();
    assert_eq!(read("new").as_deref(), Some(&b"new"[..]));
    assert_eq!(read("old").as_deref(), Some(&b"old"[..]));
    assert_eq!(read("none"), None);
    assert_eq!(read("old/below"), None);
    assert!(matches!(read_file(&world.repo, Some(&quarantine), &tip, "new", 2), Err(GitError::TooLarge(_))));
}

#[test]
fn export_ignore_keeps_files_and_directories_out() {
    let world = World::new();
    world.write(".gitattributes", "docs export-ignore\n*.md export-ignore\n");
    world.write("docs/a/b", "x");
    world.write("lib/.gitattributes", "keep.md -export-ignore\n");
    world.write("lib/keep.md", "x");
    world.write("lib/drop.md", "x");
    world.write("main", "x");
    let commit = world.commit_all("all");
    world.accept_head("push");
    let (summary, tar) = export(&world, commit, &tree_limits());
    summary.unwrap();
    let unpacked = unpack(&world, "unpacked", &tar);
    for (path, there) in [("docs", false), ("lib/keep.md", true), ("lib/drop.md", false), ("main", true)] {
        assert_eq!(unpacked.join(path).exists(), there, "{path}");
    }
}

#[test]
fn limits_and_hostile_trees_are_refused_before_a_byte_is_written() {
    let world = World::new();
    let blob = world.object("blob", b"0123456789");
    let elsewhere = id("1234567890123456789012345678901234567890");
    let link = |target: &str| world.object("blob", target.as_bytes());
    let tree = |entries: &[(&str, &str, ObjectId)]| world.tree(entries);
    let deep = (0..70).fold(tree(&[("100644", "f", blob)]), |below, _| tree(&[("40000", "d", below)]));
    // Ten entries that each hold ten entries, nine levels down: a thousand million files in ten small objects.
    let names: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    let bomb = (0..9).fold(tree(&[("100644", "f", blob)]), |below, _| {
        tree(&names.iter().map(|name| ("40000", name.as_str(), below)).collect::<Vec<_>>())
    });
    let small = TreeLimits { entries: 3, total_bytes: 25, file_bytes: 12, depth: 2 };
    let many = [("100644", "a", blob), ("100644", "b", blob), ("100644", "c", blob)];
    let large = world.object("blob", b"01234567890123456789");
    let cases = [
        (tree(&many), small.clone(), "more than 25 bytes together"),
        (
            tree(&[many.as_slice(), &[("100644", "d", blob)]].concat()),
            TreeLimits { total_bytes: 99, ..small.clone() },
            "more than 3 files",
        ),
        (tree(&[("100644", "big", large)]), small, "big has 20 bytes, the limit for one file is 12 bytes"),
        (deep, tree_limits(), "lies deeper than 64 directories"),
        (bomb, tree_limits(), "more than 100000 files"),
        (tree(&[("160000", "vendor", elsewhere)]), tree_limits(), "vendor is a submodule"),
        (tree(&[("120000", "l", link("/etc/passwd"))]), tree_limits(), "l -> /etc/passwd is absolute"),
        (tree(&[("120000", "l", link("../x"))]), tree_limits(), "l -> ../x leads out of the repository"),
        (tree(&[("120000", "l", link("l"))]), tree_limits(), "l -> l never ends"),
        (tree(&[("120000", "l", link("a\0b"))]), tree_limits(), "target that cannot be"),
        (tree(&[("120000", "l", link(""))]), tree_limits(), "target that cannot be"),
        (tree(&[("100644", &"n".repeat(300), blob)]), tree_limits(), "too long a name"),
    ];
    for (number, (tree, limits, word)) in cases.into_iter().enumerate() {
        let commit = world.commit_of(tree);
        let objects = git(&world.work(), &["rev-list", "--objects", "--no-object-names", &commit.to_string()]);
        let ids: Vec<_> = objects.lines().map(id).collect();
        world.accept(&format!("case{number}"), &world.pack(&ids), "refs/heads/main", commit).unwrap();
        let (outcome, out) = export(&world, commit, &limits);
        let fault = outcome.expect_err(word).to_string();
        assert!(fault.contains(word), "{word:?} is not in: {fault}");
        assert!(out.is_empty(), "{word}: {} bytes", out.len());
    }
}

#[test]
fn many_files_are_exported_fast() {
    let world = World::new();
    let files = many(5_000).map(|(path, content)| (path, content.repeat(200)));
    let commit = world.import(files);
    world.accept_head("push");
    let start = std::time::Instant::now();
    let (summary, _) = export(&world, commit, &tree_limits());
    eprintln!("export of {:?}: {:?}", summary.unwrap(), start.elapsed());
}
