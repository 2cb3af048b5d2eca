//! Clones and fetches by the real client, in every protocol it speaks.

use super::*;

const PROTOCOLS: [&str; 3] = ["protocol.version=0", "protocol.version=1", "protocol.version=2"];

/// Two branches that were merged, a third that was not, tags of both sorts, and a few files that change and move.
fn history(world: &World) {
    let text: String = (0..400).map(|n| format!("line {n}\n")).collect();
    world.commit("lib/a.txt", &text);
    for n in 0..12 {
        world.commit("lib/a.txt", text.replace(&format!("line {}\n", n * 7), "changed\n"));
        world.commit(&format!("d{}/f{n}", n % 3), format!("{n}\n"));
    }
    git(&world.work(), &["checkout", "-q", "-b", "side", "HEAD~5"]);
    world.commit("side.txt", "side");
    git(&world.work(), &["checkout", "-q", "main"]);
    git(&world.work(), &["merge", "-q", "--no-ff", "-m", "merge", "side"]);
    git(&world.work(), &["tag", "-a", "v1", "-m", "one"]);
    git(&world.work(), &["tag", "-a", "v1-again", "-m", "a tag of a tag", "v1"]);
    git(&world.work(), &["tag", "light", "HEAD~2"]);
    git(&world.work(), &["checkout", "-q", "-b", "lone", "HEAD~9"]);
    world.commit("lone.txt", "lone");
    git(&world.work(), &["checkout", "-q", "main"]);
}

fn served() -> (World, Server) {
    let world = World::new();
    let server = Server::start(&world);
    history(&world);
    git(&world.work(), &["remote", "add", "origin", &server.url()]);
    git(&world.work(), &["push", "-q", "origin", "--all"]);
    git(&world.work(), &["push", "-q", "origin", "--tags"]);
    (world, server)
}

/// All refs with what they point to, but for HEAD and the way remotes name theirs.
fn refs_of(directory: &Path, prefix: &str) -> Vec<String> {
    git(directory, &["for-each-ref", "--format=%(objectname) %(refname)"])
        .lines()
        .filter(|line| !line.ends_with("/HEAD"))
        .filter_map(|line| {
            let (id, name) = line.split_once(' ')?;
            if let Some(tag) = name.strip_prefix("refs/tags/") {
                return Some(format!("{id} tag {tag}"));
            }
            Some(format!("{id} {}", name.strip_prefix(prefix)?))
        })
        .collect()
}

#[test]
fn clones_are_whole_in_every_protocol() {
    let (world, server) = served();
    for protocol in PROTOCOLS {
        let name = protocol.replace('.', "-");
        git(world.directory.path(), &["-c", protocol, "clone", "-q", &server.url(), &name]);
        let clone = world.path(&name);
        fsck(&clone);
        assert_eq!(refs_of(&clone, "refs/remotes/origin/"), refs_of(&world.work(), "refs/heads/"), "{protocol}");
        assert_eq!(git(&clone, &["rev-parse", "HEAD"]), world.id("main").to_string());
        assert_eq!(git(&clone, &["symbolic-ref", "HEAD"]), "refs/heads/main");
        assert_eq!(git(&clone, &["status", "--porcelain"]), "");
    }
}

#[test]
fn fetches_bring_what_is_new_and_little_more() {
    for protocol in PROTOCOLS {
        let (world, server) = served();
        git(world.directory.path(), &["-c", protocol, "clone", "-q", &server.url(), "clone"]);
        let clone = world.path("clone");
        // The clone goes its own way too, so that there are haves that the server does not know.
        for n in 0..40 {
            git(&clone, &["commit", "-q", "--allow-empty", "-m", &format!("own {n}")]);
        }
        let tip = world.commit("lib/a.txt", "all new\n");
        git(&world.work(), &["tag", "-a", "v2", "-m", "two"]);
        git(&world.work(), &["push", "-q", "origin", "main", "v2"]);
        let output = run(&mut git_process(&clone, &["-c", protocol, "fetch", "--progress", "origin"]), b"");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        fsck(&clone);
        assert_eq!(git(&clone, &["rev-parse", "origin/main"]), tip.to_string());
        assert_eq!(git(&clone, &["rev-parse", "v2^{commit}"]), tip.to_string(), "tags follow");
        let sent = text.split("Sending ").nth(1).and_then(|t| t.split(' ').next()).unwrap().parse::<usize>().unwrap();
        assert!(sent <= 8, "{protocol}: {text}");
        git(&clone, &["-c", protocol, "fetch", "-q", "origin"]);
    }
}

#[test]
fn rewritten_and_single_branches_arrive() {
    let (world, server) = served();
    let args = ["clone", "-q", "--single-branch", "--no-tags", "--branch", "lone", &server.url(), "clone"];
    git(world.directory.path(), &args);
    let clone = world.path("clone");
    fsck(&clone);
    assert_eq!(refs_of(&clone, "refs/remotes/origin/"), [format!("{} lone", world.id("lone"))]);

    git(&world.work(), &["checkout", "-q", "lone"]);
    git(&world.work(), &["commit", "-q", "--amend", "-m", "rewritten"]);
    git(&world.work(), &["push", "-q", "--force", "origin", "lone"]);
    git(&clone, &["pull", "-q", "--rebase", "origin", "lone"]);
    git(&clone, &["fetch", "-q", "origin", "main", "tag", "v1-again"]);
    fsck(&clone);
    assert_eq!(git(&clone, &["rev-parse", "FETCH_HEAD"]), world.id("main").to_string());
}

#[test]
fn an_empty_repository_can_be_cloned() {
    let world = World::new();
    let server = Server::start(&world);
    for protocol in PROTOCOLS {
        let name = protocol.replace('.', "-");
        git(world.directory.path(), &["-c", protocol, "clone", "-q", &server.url(), &name]);
        assert_eq!(git(&world.path(&name), &["symbolic-ref", "HEAD"]), "refs/heads/main");
    }
}

#[test]
fn listings_agree_with_git() {
    let (world, server) = served();
    let expected =
        git(world.directory.path(), &["ls-remote", "--symref", &format!("file://{}", world.repo.path().display())]);
    for protocol in PROTOCOLS {
        let listed = git(world.directory.path(), &["-c", protocol, "ls-remote", "--symref", &server.url()]);
        assert_eq!(listed, expected, "{protocol}");
        let some = git(world.directory.path(), &["-c", protocol, "ls-remote", "--tags", &server.url(), "v1*"]);
        assert_eq!(some.lines().count(), 4, "{protocol}: {some}");
    }
}

#[test]
fn what_is_not_served_is_said() {
    let (world, server) = served();
    let missing = "1234567890123456789012345678901234567890";
    let said = git_fails(&world.work(), &["fetch", "origin", missing]);
    assert!(said.contains("not our ref"), "{said}");
    for protocol in PROTOCOLS {
        let args = ["-c", protocol, "clone", "--depth", "1", &server.url(), "shallow"];
        let said = git_fails(world.directory.path(), &args);
        assert!(said.contains("shallow"), "{said}");
    }
}

#[test]
fn fetches_see_what_git_packed_and_what_lies_loose() {
    let (world, server) = served();
    git(world.directory.path(), &["clone", "-q", &server.url(), "clone"]);
    git(world.repo.path(), &["repack", "-adfq"]);
    git(world.repo.path(), &["pack-refs", "--all"]);
    world.commit("loose", "x");
    let objects = world.repo.path().join("objects");
    git(&world.work(), &["push", "-q", "origin", "main"]);
    for pack in super::super::quarantine::files(&objects.join("pack"), "pack").unwrap() {
        let bytes = std::fs::read(&pack).unwrap();
        if bytes.len() < 2_000 {
            std::fs::remove_file(pack.with_extension("idx")).unwrap();
            std::fs::remove_file(&pack).unwrap();
            let output = run(&mut git_process(world.repo.path(), &["unpack-objects", "-q"]), &bytes);
            assert!(output.status.success());
        }
    }
    git(&world.path("clone"), &["fetch", "-q", "origin"]);
    fsck(&world.path("clone"));
    git(world.directory.path(), &["clone", "-q", &server.url(), "second"]);
    fsck(&world.path("second"));
}

#[test]
fn any_bytes_end_a_conversation_without_panic() {
    let (world, _server) = served();
    let tip = world.id("main");
    let mut seed = 11_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let packet = |text: String| format!("{:04x}{text}", text.len() + 4);
    for _ in 0..600 {
        let words = [
            packet("command=fetch\n".into()),
            packet("command=ls-refs\n".into()),
            packet(format!("want {tip}\n")),
            packet(format!("want {tip} side-band-64k multi_ack_detailed\n")),
            packet(format!("have {tip}\n")),
            packet("have 1234567890123456789012345678901234567890".into()),
            packet("done".into()),
            packet("ref-prefix refs/\n".into()),
            packet("\u{0}".into()),
            "0000".into(),
            "0001".into(),
            "0002".into(),
            "0004".into(),
            "zzzz".into(),
        ];
        let text: String = (0..random(12)).map(|_| words[random(words.len())].as_str()).collect();
        for part in [Part::Both, Part::Answer] {
            for v2 in [true, false] {
                let _ = serve_upload(&world.repo, (part, v2), text.as_bytes(), std::io::sink());
            }
        }
    }
}

#[test]
fn a_large_clone() {
    let world = World::new();
    let server = Server::start(&world);
    world.import(many(20_000));
    git(&world.work(), &["push", "-q", &server.url(), "main"]);
    let start = std::time::Instant::now();
    git(world.directory.path(), &["clone", "-q", "--bare", &server.url(), "clone"]);
    eprintln!("clone of 20,000 files: {:?}", start.elapsed());
    fsck(&world.path("clone"));
}
