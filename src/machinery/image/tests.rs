use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Cursor, Read, Write};
use std::path::Path;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use tar::{EntryType, Header};

use super::*;

/// Tar streams as other tools write them, hostile ones included.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn entry(mut self, kind: EntryType, path: &str, link: &str, mode: u32, body: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_700_000_000 + self.0.len() as u64);
        header.set_username("somebody").unwrap();
        header.set_size(body.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(body);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (1..).map(|digits| rest + digits).find(|l| rest + l.to_string().len() == *l).unwrap();
            write!(body, "{length} {key}=").unwrap();
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        self.entry(EntryType::XHeader, "pax", "", 0o644, &body)
    }

    fn file(self, path: &str, body: &str) -> Self {
        self.entry(EntryType::Regular, path, "", 0o644, body.as_bytes())
    }

    fn dir(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", 0o750, b"")
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target, 0o644, b"")
    }

    fn done(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn store() -> (tempfile::TempDir, BlobStore) {
    let dir = tempfile::tempdir().unwrap();
    let blobs = BlobStore::open(dir.path()).unwrap();
    (dir, blobs)
}

fn below(prefix: &str) -> LayerRules {
    LayerRules { prefix: prefix.to_owned(), ..LayerRules::default() }
}

/// One line per entry: type, mode, owner, path, link or content.
fn listing(blobs: &BlobStore, layer: &Layer) -> Vec<String> {
    let mut archive = tar::Archive::new(blobs.open_blob(&layer.digest).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(header.mtime().unwrap(), EPOCH_SECONDS);
        assert_eq!((header.username().unwrap(), header.groupname().unwrap()), (Some(""), Some("")));
        let kind = match header.entry_type() {
            EntryType::Regular => '-',
            EntryType::Directory => 'd',
            EntryType::Symlink => 'l',
            EntryType::Link => 'h',
            other => panic!("{other:?}"),
        };
        let (mode, uid, gid) = (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap());
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let link = entry.link_name_bytes().map(|l| String::from_utf8(l.into_owned()).unwrap()).unwrap_or_default();
        let mut body = String::new();
        entry.read_to_string(&mut body).unwrap();
        format!("{kind} {mode:o} {uid}:{gid} {path} {link}{body}").trim_end().to_owned()
    });
    entries.collect()
}

fn refusal(tar: Tar, rules: &LayerRules) -> String {
    let (dir, blobs) = store();
    let error = write_layer(&blobs, Cursor::new(tar.done()), rules).unwrap_err();
    assert_eq!(files(dir.path()), BTreeSet::new(), "something was left behind after: {error}");
    error.to_string()
}

/// A blob may move from `fresh` to `sha256` between the looks.
fn files(dir: &Path) -> BTreeSet<String> {
    let below = ["incoming", "fresh", "sha256"].iter().flat_map(|sub| std::fs::read_dir(dir.join(sub)).unwrap());
    below.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn blobs_have_their_content_under_their_name_and_nothing_else_is_left() {
    let (dir, blobs) = store();
    let digest = blobs.put_bytes(b"abc").unwrap();
    let mut writer = blobs.writer().unwrap();
    writer.write_all(b"ab").unwrap();
    writer.write_all(b"c").unwrap();
    assert_eq!(writer.finish().unwrap(), (digest, 3));
    blobs.writer().unwrap().write_all(b"dropped").unwrap();
    let mut wrong = blobs.writer().unwrap();
    wrong.write_all(b"abd").unwrap();
    assert!(matches!(wrong.finish_as(&digest), Err(ImageError::Invalid { .. })));
    assert_eq!(files(dir.path()), BTreeSet::from([digest.hex()]));
    assert_eq!(blobs.read(&digest).unwrap(), b"abc");
    assert_eq!(blobs.size(&digest).unwrap(), 3);
    blobs.remove(&digest).unwrap();
    blobs.remove(&digest).unwrap();
    assert!(matches!(blobs.size(&digest), Err(ImageError::Missing(_))));
}

#[test]
fn a_start_after_a_crash_keeps_what_is_whole() {
    let (dir, blobs) = store();
    let old = blobs.put_bytes(b"settled").unwrap();
    drop(blobs);
    let settled = |digest: &Digest| dir.path().join("sha256").join(digest.hex());
    assert!(settled(&old).exists(), "the last handle waits for the disk");

    let (whole, torn) = (Digest::of(b"whole"), Digest::of(b"torn"));
    std::fs::write(dir.path().join("fresh").join(whole.hex()), b"whole").unwrap();
    std::fs::write(dir.path().join("fresh").join(torn.hex()), b"to\0\0").unwrap();
    std::fs::write(dir.path().join("fresh/no digest"), b"x").unwrap();
    std::fs::write(dir.path().join("incoming/half"), b"x").unwrap();
    let blobs = BlobStore::open(dir.path()).unwrap();
    assert_eq!(files(dir.path()), BTreeSet::from([old.hex(), whole.hex()]));
    assert!(settled(&whole).exists());
    assert_eq!(blobs.read(&whole).unwrap(), b"whole");
    assert!(matches!(blobs.open_blob(&torn), Err(ImageError::Missing(_))));
}

#[test]
fn a_tree_is_placed_sorted_and_normalised() {
    let (_dir, blobs) = store();
    let tar = Tar::default()
        .dir("app/")
        .file("app/z", "last")
        .entry(EntryType::Regular, "app/bin/run", "", 0o4755, b"#!/bin/sh")
        .entry(EntryType::Symlink, "app/a", "/etc/passwd", 0o777, b"")
        .dir("app/skipped")
        .file("app/skipped/x", "x")
        .done();
    let rules =
        LayerRules { strip_prefix: "app".to_owned(), exclude: vec!["skipped".to_owned()], ..below("srv/workspace") };
    let layer = write_layer(&blobs, Cursor::new(tar), &rules).unwrap();
    assert_eq!(
        listing(&blobs, &layer),
        [
            "d 755 0:0 srv/",
            "d 750 1000:1000 srv/workspace/",
            "l 777 1000:1000 srv/workspace/a /etc/passwd",
            "d 755 1000:1000 srv/workspace/bin/",
            "- 755 1000:1000 srv/workspace/bin/run #!/bin/sh",
            "- 644 1000:1000 srv/workspace/z last",
        ]
    );
    assert_eq!(blobs.size(&layer.digest).unwrap(), layer.size);
    assert_eq!(Digest::of(&blobs.read(&layer.digest).unwrap()), layer.digest);
}

#[test]
fn kept_owners_keep_ids_modes_capabilities_and_whiteouts() {
    let (_dir, blobs) = store();
    let capability = b"\x01\0\0\x02\n\x20\0\0";
    let tar = Tar::default()
        .pax(&[("SCHILY.xattr.security.capability", capability), ("mtime", b"1700000000.5")])
        .entry(EntryType::Regular, "usr/bin/ping", "", 0o4755, b"elf")
        .file("etc/.wh.motd", "")
        .done();
    let rules = LayerRules { owner: Owner::Kept, whiteouts: true, ..LayerRules::default() };
    let layer = write_layer(&blobs, Cursor::new(tar), &rules).unwrap();
    assert_eq!(
        listing(&blobs, &layer),
        [
            "d 755 0:0 etc/",
            "- 644 7:8 etc/.wh.motd",
            "d 755 0:0 usr/",
            "d 755 0:0 usr/bin/",
            "- 4755 7:8 usr/bin/ping elf",
        ]
    );
    let bytes = blobs.read(&layer.digest).unwrap();
    let record = [&b"45 SCHILY.xattr.security.capability="[..], capability, b"\n"].concat();
    assert_eq!(record.len(), 45);
    assert!(bytes.windows(record.len()).any(|w| w == record));
    assert!(!bytes.windows(5).any(|w| w == b"mtime"));
}

#[test]
fn names_survive_whatever_they_hold() {
    let (_dir, blobs) = store();
    let names = ["with space", "quo\"te'", "new\nline", "snow\u{2603}man", &"long/".repeat(40), &"ß".repeat(90)];
    let mut tar = Tar::default();
    for (i, name) in names.iter().enumerate() {
        let name = name.trim_end_matches('/');
        tar = tar.pax(&[("path", name.as_bytes())]).file("x", name);
        tar = tar.pax(&[("linkpath", name.as_bytes())]).entry(EntryType::Symlink, &format!("to-{i}"), "", 0, b"");
    }
    let layer = write_layer(&blobs, Cursor::new(tar.done()), &LayerRules::default()).unwrap();
    // read with our own reader: that of `tar` cuts PAX values at newlines
    let mut source = source::Source::new(blobs.open_blob(&layer.digest).unwrap());
    let mut found = HashSet::new();
    while let Some(entry) = source.next().unwrap() {
        let mut body = Vec::new();
        source.read_to_end(&mut body).unwrap();
        match entry.kind {
            EntryType::Regular => assert_eq!(entry.path, body),
            EntryType::Symlink => assert!(found.insert(entry.link)),
            _ => {}
        }
    }
    assert_eq!(found, names.iter().map(|n| n.trim_end_matches('/').as_bytes().to_vec()).collect());
}

#[test]
fn equal_trees_give_equal_layers_in_whatever_order_they_come() {
    let big = "x".repeat(100_000);
    let sorted = Tar::default().dir("a").file("a/1", &big).link("a/2", "a/1").dir("b").file("b/c", "3").done();
    let shuffled = Tar::default().file("./b/c", "3").file("a/2", &big).link("./a/1", "a/2").dir("./b/").dir("a").done();
    let linked_first = Tar::default().dir("a").link("a/1", "a/2").file("a/2", &big).dir("b").file("b/c", "3").done();
    let (_dir, blobs) = store();
    let [one, two, three] = [sorted, shuffled, linked_first]
        .map(|tar| write_layer(&blobs, Cursor::new(tar), &LayerRules::default()).unwrap());
    assert_eq!(one, two);
    assert_eq!(one, three);
    let entries = listing(&blobs, &one);
    assert_eq!(entries[1], format!("- 644 1000:1000 a/1 {big}"));
    assert_eq!(entries[2], "h 644 1000:1000 a/2 a/1");

    let other = Tar::default().dir("a").file("a/1", &big).link("a/2", "a/1").dir("b").file("b/c", "4").done();
    assert_ne!(one, write_layer(&blobs, Cursor::new(other), &LayerRules::default()).unwrap());
}

#[test]
fn links_are_placed_with_their_files_and_follow_chains() {
    let (_dir, blobs) = store();
    let tar = Tar::default()
        .file("node/z", "body")
        .link("node/m", "node/z")
        .link("node/b", "node/m")
        .entry(EntryType::Symlink, "node/s", "z", 0, b"")
        .link("node/t", "node/s")
        .done();
    let rules = LayerRules { strip_prefix: "node".to_owned(), ..below("layers/node") };
    let layer = write_layer(&blobs, Cursor::new(tar), &rules).unwrap();
    assert_eq!(
        listing(&blobs, &layer)[2..],
        [
            "- 644 1000:1000 layers/node/b body",
            "h 644 1000:1000 layers/node/m layers/node/b",
            "l 777 1000:1000 layers/node/s z",
            "l 777 1000:1000 layers/node/t z",
            "h 644 1000:1000 layers/node/z layers/node/b",
        ]
    );
}

#[test]
fn layers_beyond_memory_are_the_same_bytes() {
    let body = |seed: u8| (0..13 << 20).map(|i: u32| (i >> 8) as u8 ^ seed).collect::<Vec<u8>>();
    let three = |order: [(&str, u8); 3]| {
        let add = |tar: Tar, (path, seed)| tar.entry(EntryType::Regular, path, "", 0o644, &body(seed));
        order.into_iter().fold(Tar::default(), add).done()
    };
    let (dir, blobs) = store();
    let sorted = write_layer(&blobs, Cursor::new(three([("a", 1), ("b", 2), ("c", 3)])), &below("x")).unwrap();
    assert!(sorted.size > spool::MEMORY as u64);
    blobs.remove(&sorted.digest).unwrap();
    let shuffled = write_layer(&blobs, Cursor::new(three([("c", 3), ("a", 1), ("b", 2)])), &below("x")).unwrap();
    assert_eq!(sorted, shuffled);
    assert_eq!(files(dir.path()), BTreeSet::from([sorted.digest.hex()]));
    let mut hashed = blobs.writer().unwrap();
    io::copy(&mut blobs.open_blob(&sorted.digest).unwrap(), &mut hashed).unwrap();
    assert_eq!(hashed.finish().unwrap(), (sorted.digest, sorted.size));
}

/// Of a large tree, with a file of code that says `code`.
fn large_tree(code: &str, turned: bool) -> Vec<u8> {
    let body = |seed: u8| (0..3 << 20).map(|i: u32| b'a' + seed + (i >> 16) as u8 % 8).collect::<Vec<u8>>();
    let film = |number: u8| (format!("films/{}/{number}", number % 4), body(number));
    let mut numbers: Vec<u8> = (0..16).collect();
    if turned {
        numbers.reverse();
    }
    let films = numbers.into_iter().map(film);
    let tar = films.fold(Tar::default(), |tar, (path, body)| tar.entry(EntryType::Regular, &path, "", 0o644, &body));
    tar.dir("films").dir("films/1").dir("empty").file("src/main.js", code).link("films/same", "films/3/15").done()
}

fn in_parts(blobs: &BlobStore, tar: impl Read, rules: &LayerRules) -> Result<Vec<Layer>> {
    write_slices(blobs, tar, rules, 0, &|_: &[u8]| 0)
}

#[test]
fn a_large_tree_in_parts_is_the_same_tree() {
    let (_dir, blobs) = store();
    let made = |tar| in_parts(&blobs, Cursor::new(tar), &below("workspace")).unwrap();
    let layers = made(large_tree("one", false));
    assert_eq!(layers, made(large_tree("one", true)));
    assert!(layers.len() > 2, "{layers:?}");
    let whole = write_layer(&blobs, Cursor::new(large_tree("one", false)), &below("workspace")).unwrap();
    let lines = |layers: &[Layer]| layers.iter().flat_map(|layer| listing(&blobs, layer)).collect::<BTreeSet<_>>();
    assert!(lines(&layers) == lines(&[whole]), "a directory says the same of itself wherever it is");
    let files = layers.iter().flat_map(|layer| listing(&blobs, layer)).filter(|line| !line.starts_with('d'));
    assert_eq!(files.count(), 18, "each file and link is in one of them");
}

#[test]
fn a_change_in_a_large_tree_changes_one_part() {
    let (_dir, blobs) = store();
    let made = |tar| in_parts(&blobs, Cursor::new(tar), &below("workspace")).unwrap();
    let (before, after) = (made(large_tree("one", false)), made(large_tree("two", false)));
    let new: Vec<_> = after.iter().filter(|layer| !before.contains(layer)).collect();
    assert_eq!((after.len(), new.len()), (before.len(), 1));
    assert!(new[0].size < 20_000, "{new:?}");
    let small = in_parts(&blobs, Cursor::new(Tar::default().file("a", "1").done()), &below("workspace")).unwrap();
    assert_eq!(
        small,
        [write_layer(&blobs, Cursor::new(Tar::default().file("a", "1").done()), &below("workspace")).unwrap()]
    );
}

#[test]
fn hostile_trees_are_refused_by_path() {
    let rules = LayerRules { strip_prefix: "app".to_owned(), ..below("workspace") };
    let device = |kind| Tar::default().entry(kind, "app/null", "", 0o666, b"");
    let under_link = Tar::default().entry(EntryType::Symlink, "app/d", "/etc", 0, b"").file("app/d/passwd", "root::0");
    let cases = [
        (Tar::default().file("/etc/passwd", "x"), "\"/etc/passwd\" is an absolute path"),
        (Tar::default().file("app/../../x", "x"), "\"app/../../x\" leaves the tree"),
        (Tar::default().file("other/x", "x"), "\"other/x\" lies outside of \"app\""),
        (Tar::default().pax(&[("path", b"app/a\0b")]).file("x", "x"), "\"app/a\\0b\" contains a NUL byte"),
        (Tar::default().link("app/x", "/etc/shadow"), "\"/etc/shadow\" is an absolute path"),
        (Tar::default().link("app/x", "app/../../y"), "\"app/../../y\" leaves the tree"),
        (
            Tar::default().link("app/x", "app/missing"),
            "\"workspace/x\" is a hard link to \"workspace/missing\", which is not in the tree",
        ),
        (Tar::default().link("app/x", "app/y").link("app/y", "app/x"), "is a hard link to itself"),
        (Tar::default().dir("app/d").link("app/x", "app/d"), "\"workspace/x\" is a hard link to a directory"),
        (device(EntryType::Char), "\"app/null\" is a device"),
        (device(EntryType::Block), "\"app/null\" is a device"),
        (device(EntryType::Fifo), "\"app/null\" is a pipe"),
        (device(EntryType::GNUSparse), "\"app/null\" is of a type that no layer holds"),
        (under_link, "\"workspace/d/passwd\" lies below something that is no directory"),
        (
            Tar::default().file("app/d/x", "1").file("app/d", "2"),
            "\"workspace/d\" lies above other entries and is no directory",
        ),
        (Tar::default().file("app/x", "1").file("app/x", "2"), "\"workspace/x\" comes twice"),
        (Tar::default().file("app/.wh.x", ""), "\"app/.wh.x\" has a name that would hide files of lower layers"),
        (
            Tar::default().entry(EntryType::Symlink, "app/x", "", 0, b""),
            "\"app/x\" is a symbolic link without a usable target",
        ),
        (Tar::default().pax(&[("GNU.sparse.major", b"1")]).file("app/x", ""), "the tar stream cannot be read"),
    ];
    for (tar, expected) in cases {
        let found = refusal(tar, &rules);
        assert!(found.contains(expected), "{found:?} instead of {expected:?}");
    }
}

#[test]
fn trees_beyond_their_bounds_are_refused() {
    let few = LayerRules { max_entries: 2, ..LayerRules::default() };
    assert_eq!(refusal(Tar::default().dir("a").dir("b").dir("c"), &few), "the tree is too large: more than 2 entries");
    let small = LayerRules { max_bytes: 5, ..LayerRules::default() };
    assert_eq!(
        refusal(Tar::default().file("a", "123").file("b", "456"), &small),
        "the tree is too large: more than 5 bytes"
    );
    let bomb = Tar::default().pax(&[("size", b"18446744073709551615")]).file("a", "");
    assert_eq!(refusal(bomb, &LayerRules::default()), "the tree is too large: more than 17179869184 bytes");
}

/// All bounds far away, but for this one.
fn batch(blobs: &BlobStore, set: impl FnOnce(&mut Allowed)) -> (Arc<Batch>, LayerRules) {
    let mut allowed = Allowed { bytes: u64::MAX, entries: u64::MAX, names: u64::MAX, spare_bytes: 0, spare_files: 0 };
    set(&mut allowed);
    let batch = Arc::new(Batch::new(blobs, allowed));
    (Arc::clone(&batch), LayerRules { batch: Some(batch), ..LayerRules::default() })
}

#[test]
fn layers_of_a_batch_have_their_names_together() {
    let (dir, blobs) = store();
    let (whole, rules) = batch(&blobs, |_| {});
    let trees = || [Tar::default().file("a", "1"), Tar::default().file("c", "2").file("b", "3")].map(Tar::done);
    let layers = trees().map(|tar| write_layer(&blobs, Cursor::new(tar), &rules).unwrap());
    let cut = write_slices(&blobs, Cursor::new(large_tree("one", false)), &rules, 0, &|_: &[u8]| 0).unwrap();
    let all: Vec<_> = layers.iter().chain(&cut).collect();
    assert!(cut.len() > 1 && all.iter().all(|layer| !blobs.has(&layer.digest)));
    whole.keep().unwrap();
    assert!(all.iter().all(|layer| blobs.size(&layer.digest).unwrap() == layer.size) && !whole.is_spent());
    let kept = files(dir.path());
    assert_eq!(kept.len(), all.len());
    // Nothing is left of one that is given up.
    let (given_up, rules) = batch(&blobs, |_| {});
    write_layer(&blobs, Cursor::new(Tar::default().file("a", "other").done()), &rules).unwrap();
    drop((given_up, rules));
    assert_eq!(files(dir.path()), kept);
}

#[test]
fn layers_of_a_batch_share_their_bounds() {
    let many = |n: u32| (0..n).fold(Tar::default(), |tar, n| tar.file(&format!("{n}"), ""));
    type Set = fn(&mut Allowed);
    let cases: [(Set, [Tar; 2], &str); 3] = [
        (|a| a.bytes = 5, ["123", "456"].map(|text| Tar::default().file("a", text)), "more than 5 bytes in all"),
        (|a| a.entries = 5, [many(3), many(3)], "more than 5 entries in all"),
        (
            |a| a.names = 5,
            [many(1), Tar::default().entry(EntryType::Symlink, "ab", "cde", 0o777, b"")],
            "more than 5 bytes of paths in all",
        ),
    ];
    for (set, [first, second], says) in cases {
        let (dir, blobs) = store();
        let (spent, rules) = batch(&blobs, set);
        write_layer(&blobs, Cursor::new(first.done()), &rules).unwrap();
        let error = write_layer(&blobs, Cursor::new(second.done()), &rules).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(spent.is_spent() && !error.is_temporary());
        drop((spent, rules));
        assert_eq!(files(dir.path()), BTreeSet::new(), "{error}");
    }
}

#[test]
fn cut_and_garbled_streams_are_refused() {
    let whole = Tar::default().file("a", &"x".repeat(2000)).file("b", "y").done();
    let (dir, blobs) = store();
    for cut in [100, 600, 2500, 2700] {
        let error = write_layer(&blobs, Cursor::new(&whole[..cut]), &LayerRules::default()).unwrap_err();
        assert!(matches!(error, ImageError::Stream(_)), "{cut}: {error}");
    }
    let mut garbled = whole.clone();
    garbled[3] ^= 1;
    assert!(matches!(write_layer(&blobs, Cursor::new(garbled), &LayerRules::default()), Err(ImageError::Stream(_))));
    assert_eq!(files(dir.path()), BTreeSet::new());
}

fn small_layer(blobs: &BlobStore, name: &str) -> AddedLayer {
    let layer =
        write_layer(blobs, Cursor::new(Tar::default().file(name, name).done()), &LayerRules::default()).unwrap();
    AddedLayer { layer, created_by: format!("test {name}") }
}

fn base_spec(blobs: &BlobStore) -> ImageSpec {
    ImageSpec {
        layers: vec![small_layer(blobs, "base")],
        env: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned()), ("LANG".to_owned(), "C.UTF-8".to_owned())]),
        cmd: Some(vec!["bash".to_owned()]),
        user: Some("1000:1000".to_owned()),
        ..ImageSpec::default()
    }
}

#[test]
fn an_image_continues_its_base() {
    let (_dir, blobs) = store();
    let base = assemble(&blobs, &base_spec(&blobs)).unwrap();
    let labels = (0..20).map(|i| (format!("label-{i}"), i.to_string())).collect::<BTreeMap<_, _>>();
    let spec = ImageSpec {
        base: Some(base.clone()),
        layers: vec![small_layer(&blobs, "app")],
        env: BTreeMap::from([("PATH".to_owned(), "/app/bin:/bin".to_owned()), ("PORT".to_owned(), "8080".to_owned())]),
        working_dir: Some("/workspace".to_owned()),
        labels: labels.clone(),
        exposed_port: Some(8080),
        entrypoint: Some(vec!["node".to_owned(), "server.js".to_owned()]),
        ..ImageSpec::default()
    };
    let image = assemble(&blobs, &spec).unwrap();
    assert_eq!(image, assemble(&blobs, &spec).unwrap(), "equal specs, equal images");
    let facts = inspect(&blobs, &image).unwrap();
    assert_eq!(facts.layers.len(), 2);
    assert_eq!(facts.layers[..1], inspect(&blobs, &base).unwrap().layers[..]);
    assert_eq!(facts.env["PATH"], "/app/bin:/bin");
    assert_eq!(facts.env["LANG"], "C.UTF-8");
    assert_eq!(facts.env.len(), 3);
    assert_eq!(facts.user.as_deref(), Some("1000:1000"));
    assert_eq!(facts.working_dir.as_deref(), Some("/workspace"));
    assert_eq!(facts.labels, labels);
    assert_eq!(facts.exposed_ports, ["8080/tcp"]);
    assert_eq!(facts.entrypoint, ["node", "server.js"]);
    assert_eq!(facts.cmd, Vec::<String>::new());

    let config: serde_json::Value = serde_json::from_slice(&blobs.read(&facts.config).unwrap()).unwrap();
    let diff_ids = facts.layers.iter().map(|l| l.digest.to_string()).collect::<Vec<_>>();
    assert_eq!(config["rootfs"], serde_json::json!({"type": "layers", "diff_ids": diff_ids}));
    assert_eq!(config["created"], "1980-01-01T00:00:01Z");
    assert_eq!(config["history"][1]["created_by"], "test app");
    assert_eq!(config["os"], "linux");
    let manifest: serde_json::Value = serde_json::from_slice(&blobs.read(&Digest::from(&image)).unwrap()).unwrap();
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar");
}

#[test]
fn an_image_of_absent_parts_is_refused() {
    let (_dir, blobs) = store();
    let spec = base_spec(&blobs);
    blobs.remove(&spec.layers[0].layer.digest).unwrap();
    assert!(matches!(assemble(&blobs, &spec), Err(ImageError::Missing(_))));
    let unknown = ImageSpec { base: Some(Digest::of(b"unknown").to_image()), ..ImageSpec::default() };
    assert!(matches!(assemble(&blobs, &unknown), Err(ImageError::Missing(_))));
    let text = blobs.put_bytes(b"no manifest").unwrap();
    assert!(matches!(inspect(&blobs, &text.to_image()), Err(ImageError::Invalid { .. })));
}

#[tokio::test]
async fn an_archive_holds_what_is_asked_for() {
    let (_dir, blobs) = store();
    let base = assemble(&blobs, &base_spec(&blobs)).unwrap();
    let added = small_layer(&blobs, "app");
    let spec = ImageSpec { base: Some(base.clone()), layers: vec![added.clone(), added], ..ImageSpec::default() };
    let image = assemble(&blobs, &spec).unwrap();
    let layers = inspect(&blobs, &image).unwrap().layers;
    let without = HashSet::from([layers[0].digest]);
    let stream = docker_archive(&blobs, &image, "hythe/test:1", &without).unwrap();
    let bytes =
        stream.try_fold(Vec::new(), |all, part| async move { Ok([all, part.to_vec()].concat()) }).await.unwrap();
    let mut archive = tar::Archive::new(Cursor::new(bytes));
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut body = Vec::new();
        entry.read_to_end(&mut body).unwrap();
        assert!(found.insert(entry.path().unwrap().display().to_string(), body).is_none(), "a file twice");
    }
    let manifest: serde_json::Value = serde_json::from_slice(&found["manifest.json"]).unwrap();
    let file = |layer: &Layer| format!("{}.tar", layer.digest.hex());
    assert_eq!(manifest[0]["RepoTags"], serde_json::json!(["hythe/test:1"]));
    assert_eq!(manifest[0]["Layers"], serde_json::json!(layers.iter().map(file).collect::<Vec<_>>()));
    assert!(found.contains_key(manifest[0]["Config"].as_str().unwrap()));
    assert!(!found.contains_key(&file(&layers[0])));
    assert_eq!(Digest::of(&found[&file(&layers[1])]), layers[1].digest);
    assert_eq!(found.len(), 3);

    // once begun, it can be read to its end whatever is removed
    let stream = docker_archive(&blobs, &image, "hythe/test:1", &HashSet::new()).unwrap();
    blobs.remove(&layers[1].digest).unwrap();
    assert!(stream.try_for_each(|_| async { Ok(()) }).await.is_ok());
    assert!(docker_archive(&blobs, &image, "hythe/test:1", &HashSet::new()).is_err());
    assert!(docker_archive(&blobs, &image, "hythe/test:1", &HashSet::from([layers[1].digest])).is_ok());
}

#[test]
#[ignore = "a measurement: cargo test --release --lib image::tests::throughput -- --ignored --nocapture"]
fn throughput() {
    let file = |i: u32, size: usize| (format!("d{}/f{i:05}", i % 100), size);
    let large: Vec<_> = (0..10).map(|i| file(i, 50 << 20)).collect();
    let small: Vec<_> = (0..20_000).map(|i| file(i, 6 << 10)).collect();
    for (name, mut files) in [("500 MB in 10 files", large), ("120 MB in 20,000 files", small)] {
        for sorted in [false, true] {
            if sorted {
                files.sort();
            }
            let body: Vec<u8> = (0..50u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            let add = |tar: Tar, (path, size): &(String, usize)| {
                tar.entry(EntryType::Regular, path, "", 0o644, &body[..*size])
            };
            let tar = files.iter().fold(Tar::default(), add).done();
            let (_dir, blobs) = store();
            let mut seconds = [0.0; 2];
            for round in &mut seconds {
                let start = std::time::Instant::now();
                write_layer(&blobs, Cursor::new(&tar), &LayerRules::default()).unwrap();
                *round = start.elapsed().as_secs_f64();
            }
            println!(
                "{name}, sorted {sorted}: new {:.3} s, unchanged {:.3} s of {} bytes",
                seconds[0],
                seconds[1],
                tar.len()
            );
        }
    }
    let (_dir, blobs) = store();
    let start = std::time::Instant::now();
    for i in 0..100u32 {
        blobs.put_bytes(&i.to_be_bytes().repeat(100)).unwrap();
    }
    println!("small blob: {:.2} ms", start.elapsed().as_secs_f64() * 10.0);
}
