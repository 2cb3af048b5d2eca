//! Packs and objects that no honest client sends.

use super::*;

#[track_caller]
fn refused(outcome: Result<impl std::fmt::Debug>, word: &str) {
    let error = outcome.expect_err("accepted");
    assert!(matches!(error, GitError::Refused(_) | GitError::TooLarge(_)), "{error:?}");
    assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
}

#[test]
fn truncated_packs_are_a_lost_connection() {
    let world = World::new();
    world.commit("a", "some text\n".repeat(1000));
    let pack = world.pack_of("HEAD");
    for end in [0, 3, 11, 12, 13, 40, pack.len() / 2, pack.len() - 21, pack.len() - 1] {
        let outcome = world.receive("cut", &pack[..end]);
        assert!(matches!(outcome, Err(GitError::Disconnected(_))), "{end}: {outcome:?}");
        world.assert_nothing_left();
    }
}

#[test]
fn a_flipped_bit_anywhere_is_never_accepted() {
    let world = World::new();
    world.commit("a", "text\n".repeat(20));
    let tip = world.commit("a", "text\n".repeat(21));
    let pack = world.pack_of("HEAD");
    for at in 0..pack.len() {
        let mut bad = pack.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(world.receive("flip", &bad).is_err(), "byte {at} of {}", pack.len());

        // And when the checksum is made to fit: whatever still passes must be what was sent.
        bad.truncate(pack.len() - 20);
        let Ok(quarantine) = world.receive("flip", &sealed(bad)) else { continue };
        if quarantine.check(&[tip]).is_ok() {
            let read = read_file(&world.repo, Some(&quarantine), &tip, "a", 1_000).unwrap();
            assert_eq!(read, Some("text\n".repeat(21).into_bytes()), "byte {at}");
        }
    }
    world.assert_nothing_left();
    assert_eq!(world.packs(), 0);
}

/// A pack with its checksum.
fn sealed(mut pack: Vec<u8>) -> Vec<u8> {
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(&pack);
    pack.extend_from_slice(hasher.try_finalize().unwrap().as_slice());
    pack
}

#[test]
fn random_bytes_in_the_place_of_entries_never_panic() {
    let world = World::new();
    let mut seed = 7_u64;
    for round in 0..400 {
        let mut pack = b"PACK\0\0\0\x02\0\0\0".to_vec();
        pack.push(round as u8 % 5);
        for _ in 0..200 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            pack.push((seed >> 33) as u8);
        }
        assert!(world.receive("fuzz", &pack).is_err());
        let _ = world.receive("fuzz", &sealed(pack));
    }
    world.assert_nothing_left();
}

#[test]
fn a_header_that_claims_too_much_is_refused_at_once() {
    let world = World::new();
    refused(world.receive("huge", b"PACK\0\0\0\x02\xff\xff\xff\xff"), "objects, the limit is");
    assert!(matches!(world.receive("x", b"KCAP\0\0\0\x02\0\0\0\x01"), Err(GitError::Protocol(_))));
    // A blob that declares 2^40 bytes.
    let mut pack = b"PACK\0\0\0\x02\0\0\0\x01".to_vec();
    pack.extend_from_slice(&[0xb0, 0x80, 0x80, 0x80, 0x80, 0x20]);
    pack.extend_from_slice(&[0; 64]);
    refused(world.receive("huge", &pack), "limit is 16.8 MB");
}

#[test]
fn a_bomb_is_stopped_by_its_size() {
    let world = World::new();
    let blob = world.object("blob", &vec![0; 40 << 20]);
    refused(world.receive("bomb", &world.pack(&[blob])), "limit is 16.8 MB");
    // The same, hidden in a delta: a megabyte that is copied twenty times, and a delta that lies about it.
    let base = vec![0; 1 << 20];
    for (claimed, word) in [(20 << 20, "limit is 16.8 MB"), (1 << 20, "damaged")] {
        let delta = [varint(1 << 20), varint(claimed), [0xc0, 0x10].repeat(20)].concat();
        refused(world.receive("bomb", &pack_with_delta(&base, &delta)), word);
    }
    let delta = [varint(1 << 20), varint(2 << 20), [0xc0, 0x10].repeat(2)].concat();
    world.receive("harmless", &pack_with_delta(&base, &delta)).unwrap().check(&[]).unwrap();
}

/// Seven bits at a time, lowest first.
fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A blob, and a delta on it.
fn pack_with_delta(base: &[u8], delta: &[u8]) -> Vec<u8> {
    let deflate = |bytes: &[u8]| {
        let mut out = gix::zlib::stream::deflate::Write::new(Vec::new(), gix::zlib::Compression::DEFAULT);
        out.write_all(bytes).unwrap();
        out.flush().unwrap();
        out.into_inner()
    };
    // The type sits in the first byte, above four bits of the size.
    let head = |kind: u8, size: usize| {
        let mut bytes = varint(size >> 4);
        bytes.insert(0, 0x80 | kind << 4 | (size & 0xf) as u8);
        bytes
    };
    let blob = [head(3, base.len()), deflate(base)].concat();
    let mut distance = vec![blob.len() as u8 & 0x7f];
    let mut rest = blob.len() >> 7;
    while rest > 0 {
        rest -= 1;
        distance.insert(0, rest as u8 & 0x7f | 0x80);
        rest >>= 7;
    }
    let mut pack = b"PACK\0\0\0\x02\0\0\0\x02".to_vec();
    pack.extend([blob, head(6, delta.len()), distance, deflate(delta)].concat());
    sealed(pack)
}

#[test]
fn whatever_is_missing_is_named() {
    let world = World::new();
    let blob = world.object("blob", b"hello\n");
    let tree = world.tree(&[("100644", "hello.txt", blob)]);
    let commit = world.commit_of(tree);
    let check = |ids: &[ObjectId], tip| world.receive("part", &world.pack(ids)).unwrap().check(&[tip]);
    check(&[blob, tree, commit], commit).unwrap();
    refused(check(&[tree, commit], commit), "hello.txt");
    refused(check(&[blob, commit], commit), "the tree");
    refused(check(&[blob, tree], commit), &commit.to_string());
    // Also where no tip leads there.
    let stray = world.tree(&[("100644", "stray.txt", id("1234567890123456789012345678901234567890"))]);
    refused(check(&[blob, tree, commit, stray], commit), "stray.txt");
    let child = world.object(
        "commit",
        format!("tree {tree}\nparent {commit}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n").as_bytes(),
    );
    refused(check(&[blob, tree, child], child), "--unshallow");
    world.assert_nothing_left();
}

#[test]
fn links_to_the_wrong_kind_are_refused() {
    let world = World::new();
    let blob = world.object("blob", b"hello\n");
    let tree = world.tree(&[("100644", "a", blob)]);
    let posing = world.tree(&[("100644", "a", tree)]);
    let commit = world.commit_of(posing);
    let pack = world.pack(&[blob, tree, posing, commit]);
    refused(world.receive("kind", &pack).unwrap().check(&[commit]), "another kind");
    let good = world.commit_of(tree);
    world.accept("good", &world.pack(&[blob, tree, good]), "refs/heads/main", good).unwrap();
    // The same against what is stored already.
    let pack = world.pack(&[posing, commit]);
    refused(world.receive("kind", &pack).unwrap().check(&[commit]), "but it is a tree");
}

#[test]
fn hostile_trees_are_refused_with_the_name() {
    let world = World::new();
    let blob = world.object("blob", b"x");
    let empty = world.tree(&[]);
    type Entries<'a> = &'a [(&'a str, &'a str, ObjectId)];
    let cases: &[(Entries<'_>, &str)] = &[
        (&[("100644", ".git", blob)], ".git"),
        (&[("40000", ".GIT", empty)], ".GIT"),
        (&[("100644", "git~1", blob)], "git~1"),
        (&[("100644", ".g\u{200c}it", blob)], "git uses for itself"),
        (&[("100644", "..", blob)], "another directory"),
        (&[("100644", ".", blob)], "another directory"),
        (&[("100644", "a/b", blob)], "a/b"),
        (&[("100644", "", blob)], "without a name"),
        (&[("120000", ".gitmodules", blob)], ".gitmodules"),
        (&[("100777", "run.sh", blob)], "run.sh"),
        (&[("100644", "b", blob), ("100644", "a", blob)], "out of order"),
        (&[("100644", "a", blob), ("100644", "a", blob)], "two entries"),
        (&[("120000", "a", blob), ("40000", "a", empty)], "two entries"),
        (&[("100644", "a", blob), ("100644", "a.b", blob), ("40000", "a", empty)], "two entries"),
    ];
    for (entries, word) in cases {
        let tree = world.tree(entries);
        let commit = world.commit_of(tree);
        let quarantine = world.receive("bad", &world.pack(&[blob, empty, tree, commit])).unwrap();
        refused(quarantine.check(&[commit]), word);
    }
    let malformed = [("commit", &b"tree x\n"[..]), ("tag", b"object x\n"), ("tree", b"100644 a\0short")];
    for (kind, content) in malformed {
        let object = world.object(kind, content);
        let quarantine = world.receive("bad", &world.pack(&[object])).unwrap();
        refused(quarantine.check(&[object]), "malformed");
    }
    world.assert_nothing_left();
}

#[test]
fn submodules_and_empty_trees_are_no_fault_of_a_push() {
    let world = World::new();
    let elsewhere = id("1234567890123456789012345678901234567890");
    let tree = world.tree(&[("160000", "vendor", elsewhere)]);
    let commit = world.commit_of(tree);
    world.receive("sub", &world.pack(&[tree, commit])).unwrap().check(&[commit]).unwrap();
    // Every git knows the empty tree, so it need not be sent.
    let commit = world.commit_of(world.tree(&[]));
    world.receive("empty", &world.pack(&[commit])).unwrap().check(&[commit]).unwrap();
}
