//! Archives as pushes. What git says of the same files is the truth.

use std::io::Write as _;
use std::process::Command as Program;

use super::*;

struct Stage {
    dir: tempfile::TempDir,
    repository: Repository,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repository = Repositories::open(dir.path().join("repositories")).unwrap().create("app_1").unwrap();
        std::fs::create_dir(dir.path().join("scratch")).unwrap();
        Self { dir, repository }
    }

    fn import(&self, archive: &[u8], tree: &TreeLimits) -> Result<(Quarantine, ObjectId)> {
        let path = self.dir.path().join("archive");
        std::fs::write(&path, archive).unwrap();
        let imported = Imported { message: "upload", time: 1_700_000_000 };
        let scratch = self.dir.path().join("scratch");
        let done = import_archive(&self.repository, "key", &path, &scratch, (tree, &limits()), &imported);
        assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0, "nothing is left in the scratch directory");
        done
    }

    /// The tree of the commit that the archive became.
    fn tree(&self, archive: &[u8]) -> String {
        let (quarantine, tip) = self.import(archive, &plenty()).unwrap();
        quarantine.migrate().unwrap();
        git(self.repository.path(), &["rev-parse", &format!("{tip}^{{tree}}")])
    }

    #[track_caller]
    fn refused(&self, archive: &[u8], text: &str) {
        let error = self.import(archive, &plenty()).expect_err(text);
        let said = error.public().unwrap_or_else(|| panic!("{error:?} is for the log alone"));
        assert!(said.contains(text), "{text:?} is not in {said:?}");
        let incoming = self.repository.path().join("incoming");
        let left = std::fs::read_dir(incoming).map_or(0, Iterator::count);
        assert_eq!(left, 0, "nothing is left in quarantine");
    }
}

fn plenty() -> TreeLimits {
    TreeLimits { entries: 1_000, total_bytes: 8 << 20, file_bytes: 4 << 20, depth: 20 }
}

/// A work tree of everything that an app has.
fn work_tree(dir: &Path) -> String {
    git(dir, &["init", "-q"]);
    for (path, text) in [
        ("package.json", "{}"),
        ("lib/a.js", "a"),
        ("lib-b/c.js", "c"),
        ("lib.txt", "sorts between them"),
        ("ümlaut.txt", "ü"),
        ("bin/start", "#!/bin/sh\n"),
        ("empty", ""),
        ("deep/er/and/deeper/file", "x"),
        ("copy", "a"),
    ] {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let start = dir.join("bin/start");
    std::fs::set_permissions(&start, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("lib/a.js", dir.join("current")).unwrap();
    git(dir, &["add", "-A"]);
    git(dir, &["commit", "-qm", "all"]);
    git(dir, &["rev-parse", "HEAD^{tree}"])
}

fn archived(dir: &Path, words: &[&str]) -> Vec<u8> {
    let output = run(&mut git_process(dir, &[&["archive"], words, &["HEAD"]].concat()), b"");
    assert!(output.status.success());
    output.stdout
}

#[test]
fn every_kind_of_archive_gives_the_tree_that_git_has() {
    let work = tempfile::tempdir().unwrap();
    let truth = work_tree(work.path());
    let plain = archived(work.path(), &["--format=tar"]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain).unwrap();
    let gnu = Program::new("tar")
        .args(["--exclude=.git", "--hard-dereference", "-cf", "-", "."])
        .current_dir(work.path())
        .output()
        .unwrap();
    assert!(gnu.status.success());
    for (what, archive) in [
        ("tar", plain),
        ("tar.gz", gzip.finish().unwrap()),
        ("tar in a directory", archived(work.path(), &["--format=tar", "--prefix=shop-1.0/"])),
        ("zip", archived(work.path(), &["--format=zip"])),
        ("zip in a directory", archived(work.path(), &["--format=zip", "--prefix=shop-1.0/"])),
        ("tar of the work tree", gnu.stdout),
    ] {
        let stage = Stage::new();
        assert_eq!(stage.tree(&archive), truth, "{what}");
        git(stage.repository.path(), &["fsck", "--full", "--strict"]);
    }
}

fn header(path: &str, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    // Not `set_path`, which refuses what is tried here.
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

fn tarred(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, content) in entries {
        let is_link = matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link);
        let data = if is_link { "" } else { content };
        let mut header = header(path, *kind, data.len() as u64);
        if is_link {
            header.set_link_name_literal(content).unwrap();
            header.set_cksum();
        }
        builder.append(&header, data.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_hostile_archive_is_refused_by_name_and_leaves_nothing() {
    use tar::EntryType::{Block, Directory, Fifo, Link, Regular, Symlink};
    let stage = Stage::new();
    let file = |path: &'static str| vec![(path, Regular, "x")];
    for (entries, text) in [
        (file("../evil"), "\"../evil\" leads out of the archive"),
        (file("a/../../evil"), "leads out of the archive"),
        (file("/etc/passwd"), "\"/etc/passwd\" leads out of the archive"),
        (file(".git/config"), ".git"),
        (file("a/.GIT/config"), ".GIT"),
        (vec![("disk", Block, "")], "\"disk\" is a device or a pipe"),
        (vec![("pipe", Fifo, "")], "\"pipe\" is a device or a pipe"),
        (vec![("twin", Link, "/etc/passwd")], "leads out of the archive"),
        (vec![("twin", Link, "later")], "\"twin\" is a hard link to \"later\", which is no file before it"),
        (vec![("a", Regular, "x"), ("a/b", Regular, "x")], "\"a/b\" is in the archive as a file and as a directory"),
        (vec![("a/b", Regular, "x"), ("a", Symlink, "/")], "\"a\" is in the archive as a file and as a directory"),
        (vec![("only", Directory, "")], "the archive has no files"),
        (vec![], "the archive has no files"),
    ] {
        stage.refused(&tarred(&entries), text);
    }
    stage.refused(b"", "the archive has no files");
    stage.refused(b"<html>not found</html>", "the archive cannot be read");
    stage.refused(b"PK\x03\x04 and nothing else", "the archive cannot be read");
    let whole = tarred(&[("a", Regular, &"x".repeat(5_000))]);
    stage.refused(&whole[..3_000], "the archive");
    // A name of 4,096 bytes, as pax carries it.
    let mut named = tar::Builder::new(Vec::new());
    named.append_pax_extensions([("path", "n".repeat(4096).as_bytes())]).unwrap();
    named.append(&header("short", Regular, 1), b"x".as_slice()).unwrap();
    stage.refused(&named.into_inner().unwrap(), "is too long a name: no file system has more than 255 bytes");
    // Bits that would make a program run as its owner are not a tree's.
    let plain = stage.tree(&tarred(&[("run", Regular, "x")]));
    let mut marked = header("run", Regular, 1);
    marked.set_mode(0o6644);
    marked.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&marked, b"x".as_slice()).unwrap();
    assert_eq!(Stage::new().tree(&tar.into_inner().unwrap()), plain);
    let twin = tarred(&[("a", Regular, "x"), ("b", Link, "a")]);
    assert_eq!(stage.tree(&twin), Stage::new().tree(&tarred(&[("a", Regular, "x"), ("b", Regular, "x")])));
}

#[test]
fn an_archive_keeps_within_its_bounds_before_anything_of_it_is_unpacked() {
    use tar::EntryType::Regular;
    let stage = Stage::new();
    let limits = plenty();
    let many: Vec<String> = (0..=limits.entries).map(|number| format!("f{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), Regular, "")).collect();
    stage.refused(&tarred(&many), "more than 1000 entries");
    let deep = "d/".repeat(30) + "f";
    stage.refused(&tarred(&[(&deep, Regular, "x")]), "more than 20 directories deep");
    // A sparse giant: its header says a terabyte, and nothing follows.
    stage.refused(header("giant", Regular, 1 << 40).as_bytes(), "\"giant\" has 1099511627776 bytes");
    // And a real one, of a single block: what is between is as large as it says.
    let mut sparse = header("giant", tar::EntryType::GNUSparse, 512);
    let gnu = sparse.as_gnu_mut().unwrap();
    gnu.set_real_size(1 << 40);
    gnu.sparse[0].set_offset((1 << 40) - 512);
    gnu.sparse[0].set_length(512);
    sparse.set_cksum();
    let giant = [sparse.as_bytes().as_slice(), &[1; 512], &[0; 1024]].concat();
    stage.refused(&giant, "\"giant\" has 1099511627776 bytes");
    // A bomb: megabytes of zeros in a few kilobytes.
    let zeros = "\0".repeat(3 << 20);
    let bomb = tarred(&[("a", Regular, &zeros), ("b", Regular, &zeros), ("c", Regular, &zeros)]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&bomb).unwrap();
    stage.refused(&gzip.finish().unwrap(), "have more than 8388608 bytes together");
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("a", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all("\0".repeat(5 << 20).as_bytes()).unwrap();
    stage.refused(&zip.finish().unwrap().into_inner(), "\"a\" has 5242880 bytes");
}
