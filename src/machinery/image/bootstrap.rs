//! A base layer from Debian packages, made by `mmdebstrap`: the one place in Hythe that starts a process.
//!
//! Its arguments are checked values in a vector, its environment is listed here, its tar goes straight into a layer.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};

use super::{BlobStore, EPOCH_SECONDS, ImageError, Layer, LayerRules, LayerWriter, Owner, Result};

const PROGRAM: &str = "mmdebstrap";

/// What a base layer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// `bookworm`
    pub suite: String,
    /// `http://…/debian`; none means mmdebstrap's own default.
    pub mirror: Option<String>,
    /// Packages beyond the essential ones and apt.
    pub include: Vec<String>,
}

/// What differs from one run to the next, belongs to one machine, or is a device: left out. Where a directory is
/// expected, `DIRECTORIES` puts an empty one.
const LEFT_OUT: &[&str] = &[
    "dev",
    "etc/.pwd.lock",
    "etc/group-",
    "etc/gshadow-",
    "etc/hostname",
    "etc/machine-id",
    "etc/passwd-",
    "etc/resolv.conf",
    "etc/shadow-",
    "proc",
    "run",
    "sys",
    "tmp",
    "var/cache/apt",
    "var/cache/debconf/config.dat-old",
    "var/cache/debconf/templates.dat-old",
    "var/cache/ldconfig",
    "var/lib/apt/lists",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/diversions-old",
    "var/lib/dpkg/status-old",
    "var/log",
    "var/tmp",
];

const DIRECTORIES: &[(&str, u32, (u64, u64))] = &[
    ("dev", 0o755, (0, 0)),
    ("home/app", 0o755, APP),
    ("layers", 0o755, APP),
    ("proc", 0o555, (0, 0)),
    ("run", 0o755, (0, 0)),
    ("run/lock", 0o1777, (0, 0)),
    ("sys", 0o555, (0, 0)),
    ("tmp", 0o1777, (0, 0)),
    // packages with alternatives for manual pages fail to install without it
    ("usr/share/man/man1", 0o755, (0, 0)),
    ("var/cache/apt/archives/partial", 0o755, (0, 0)),
    ("var/cache/ldconfig", 0o755, (0, 0)),
    ("var/lib/apt/lists/partial", 0o755, (0, 0)),
    ("var/log/apt", 0o755, (0, 0)),
    ("var/tmp", 0o1777, (0, 0)),
    ("workspace", 0o755, APP),
];

/// User and group id of the user that runs builds and apps.
const APP: (u64, u64) = (1000, 1000);

const USER_LINES: &[(&str, &str)] = &[
    ("etc/group", "app:x:1000:\n"),
    ("etc/gshadow", "app:!::\n"),
    ("etc/passwd", "app:x:1000:1000::/home/app:/bin/bash\n"),
    ("etc/shadow", "app:!:3652:0:99999:7:::\n"),
];

/// Both also hold for packages that are installed later: mmdebstrap leaves them in the tree's configuration.
const OPTIONS: &[&str] = &[
    "--variant=minbase",
    "--format=tar",
    "--aptopt=Acquire::Languages \"none\"",
    "--aptopt=APT::Install-Recommends \"false\"",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    "--dpkgopt=path-exclude=/usr/share/lintian/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-include=/usr/share/locale/locale.alias",
    "--dpkgopt=path-exclude=/usr/share/man/*",
];

/// What of our own environment the program sees: how to reach a mirror, and where to work.
const ENVIRONMENT: &[&str] =
    &["HOME", "TMPDIR", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

/// Makes the layer; takes about 20 s. Has the user `app` (1000:1000, home /home/app, bash), /workspace and /layers owned
/// by it, and a working apt with empty lists. Equal states of the mirror give equal layers.
pub async fn bootstrap(blobs: &BlobStore, recipe: &Recipe) -> Result<Layer> {
    let arguments = arguments(recipe)?;
    let blobs = blobs.clone();
    let made = tokio::task::spawn_blocking(move || run(PROGRAM, &arguments, &blobs)).await;
    made.unwrap_or_else(|error| Err(ImageError::Stream(io::Error::other(error))))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the named place for it: packages can only be unpacked by their own tools"
)]
fn run(program: &'static str, arguments: &[String], blobs: &BlobStore) -> Result<Layer> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_clear();
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("LC_ALL", "C.UTF-8").env("SOURCE_DATE_EPOCH", EPOCH_SECONDS.to_string());
    command.envs(ENVIRONMENT.iter().filter_map(|&name| Some((name, std::env::var_os(name)?))));
    let child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ImageError::NoProgram { program },
        _ => ImageError::Bootstrap { program, status: "not started".to_owned(), evidence: error.to_string() },
    })?;
    collect(program, child, blobs)
}

fn collect(program: &'static str, mut child: Child, blobs: &BlobStore) -> Result<Layer> {
    let stderr = child.stderr.take();
    let evidence = std::thread::spawn(move || stderr.map(last_lines).unwrap_or_default());
    let tree = match child.stdout.take() {
        Some(stdout) => tree(blobs, stdout),
        None => Err(ImageError::Stream(io::Error::other("no output"))),
    };
    // the pipe is closed by now, so a program that still writes ends too
    let ended = child.wait();
    let evidence = evidence.join().unwrap_or_default();
    match (tree, ended) {
        (Err(error), _) if !matches!(error, ImageError::Stream(_)) => Err(error),
        (tree, Ok(status)) if status.success() => tree?.finish(),
        (_, ended) => {
            let status = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(ImageError::Bootstrap { program, status, evidence })
        }
    }
}

fn tree(blobs: &BlobStore, tar: impl Read) -> Result<LayerWriter> {
    let rules = LayerRules {
        owner: Owner::Kept,
        exclude: LEFT_OUT.iter().map(|&path| path.to_owned()).collect(),
        ..LayerRules::default()
    };
    let mut layer = LayerWriter::new(blobs);
    layer.add_tar_with(tar, &rules, USER_LINES)?;
    for &(path, mode, owner) in DIRECTORIES {
        layer.directory(path, mode, owner)?;
    }
    Ok(layer)
}

/// The end of what a program says, at most 4 KiB, cut at a line.
fn last_lines(mut stderr: impl Read) -> String {
    const KEPT: usize = 4096;
    let mut tail = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stderr.read(&mut buffer) {
        tail.extend_from_slice(&buffer[..n]);
        if tail.len() > 2 * KEPT {
            tail.drain(..tail.len() - KEPT);
        }
    }
    let text = String::from_utf8_lossy(&tail);
    let mut lines = text.trim_end();
    while lines.len() > KEPT {
        lines = lines.split_once('\n').map_or("", |(_, rest)| rest);
    }
    lines.to_owned()
}

fn arguments(recipe: &Recipe) -> Result<Vec<String>> {
    let word = |text: &str, extra: &str| {
        text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || extra.contains(c))
    };
    if !word(&recipe.suite, "-.") {
        return Err(refused("suite", &recipe.suite, "is no name of a Debian suite"));
    }
    if let Some(package) = recipe.include.iter().find(|package| !word(package, "+-.")) {
        return Err(refused("package", package, "is no name of a Debian package"));
    }
    let mode = if rustix::process::geteuid().is_root() { "--mode=root" } else { "--mode=unshare" };
    let mut arguments: Vec<String> = OPTIONS.iter().chain([&mode]).map(|&option| option.to_owned()).collect();
    if !recipe.include.is_empty() {
        arguments.push(format!("--include={}", recipe.include.join(",")));
    }
    arguments.extend([recipe.suite.clone(), "-".to_owned()]);
    if let Some(mirror) = &recipe.mirror {
        let rest = mirror.strip_prefix("http://").or_else(|| mirror.strip_prefix("https://"));
        if rest
            .is_none_or(|rest| rest.is_empty() || rest.contains(|c: char| !c.is_ascii_graphic() || "[]\"'".contains(c)))
        {
            return Err(refused("mirror", mirror, "is no http or https address"));
        }
        arguments.push(mirror.clone());
    }
    Ok(arguments)
}

fn refused(field: &'static str, value: &str, reason: &'static str) -> ImageError {
    ImageError::Argument { field, value: value.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn recipe() -> Recipe {
        Recipe { suite: "bookworm".to_owned(), mirror: None, include: Vec::new() }
    }

    #[test]
    fn values_reach_the_command_line_only_in_their_grammar() {
        let mirror = Some("http://127.0.0.1:3142/debian".to_owned());
        let include = vec!["g++".to_owned(), "libc6-dev".to_owned()];
        let whole = arguments(&Recipe { mirror, include, ..recipe() }).unwrap();
        let end = &whole[whole.len() - 4..];
        assert_eq!(end, ["--include=g++,libc6-dev", "bookworm", "-", "http://127.0.0.1:3142/debian"]);
        assert_eq!(arguments(&recipe()).unwrap().last().unwrap(), "-");

        let bad = ["", "-x", "--setup-hook=id", "a b", "a;id", "$(id)", "../x", "a\n", "A"];
        for text in bad {
            assert!(arguments(&Recipe { suite: text.to_owned(), ..recipe() }).is_err(), "{text:?}");
            assert!(arguments(&Recipe { include: vec![text.to_owned()], ..recipe() }).is_err(), "{text:?}");
            assert!(arguments(&Recipe { mirror: Some(text.to_owned()), ..recipe() }).is_err(), "{text:?}");
        }
        for text in
            ["http://", "file:///etc/apt", "ext::sh -c id", "http://x/ main", "deb http://x y z", "http://x/\"y"]
        {
            assert!(arguments(&Recipe { mirror: Some(text.to_owned()), ..recipe() }).is_err(), "{text:?}");
        }
        assert!(arguments(&Recipe { include: vec!["a,b".to_owned()], ..recipe() }).is_err());
    }

    #[test]
    fn a_program_that_is_missing_or_fails_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path()).unwrap();
        let missing = run("hythe-no-such-program", &[], &blobs).unwrap_err().to_string();
        assert!(missing.contains("hythe-no-such-program is not installed: install the Debian package"), "{missing}");
        let failed = run(PROGRAM, &["--variant=nonsense".to_owned(), "-".to_owned()], &blobs).unwrap_err();
        let ImageError::Bootstrap { status, evidence, .. } = failed else { panic!("{failed}") };
        assert!(status.contains("exit status"), "{status}");
        assert!(evidence.contains("variant"), "{evidence}");
        for place in ["incoming", "fresh", "sha256"] {
            assert_eq!(std::fs::read_dir(dir.path().join(place)).unwrap().count(), 0, "{place}");
        }
    }

    #[test]
    fn the_end_of_what_was_said_is_kept() {
        let text: String = (0..5000).map(|i| format!("line {i}\n")).collect();
        let kept = last_lines(text.as_bytes());
        assert!(kept.len() <= 4096 && kept.starts_with("line ") && kept.ends_with("line 4999"), "{kept}");
        assert_eq!(last_lines(&b"E: one\n"[..]), "E: one");
    }

    #[test]
    fn the_tree_gets_its_user_and_loses_what_varies() {
        let mut tree = tar::Builder::new(Vec::new());
        let mut add = |kind, path: &str, body: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(body.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(42);
            header.set_cksum();
            tree.append_data(&mut header, path, body.as_bytes()).unwrap();
        };
        add(tar::EntryType::Regular, "./etc/passwd", "root:x:0:0::/root:/bin/bash\n");
        add(tar::EntryType::Regular, "./etc/hostname", "builder-7");
        add(tar::EntryType::Char, "./dev/null", "");
        add(tar::EntryType::Regular, "./var/log/dpkg.log", "now");
        add(tar::EntryType::Regular, "./var/lib/apt/lists/x_Packages", "many");
        add(tar::EntryType::Regular, "./var/lib/dpkg/status", "Package: base\n");
        let dir = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(dir.path()).unwrap();
        let made = super::tree(&blobs, Cursor::new(tree.into_inner().unwrap())).unwrap().finish().unwrap();
        let mut archive = tar::Archive::new(blobs.open_blob(&made.digest).unwrap());
        let mut found = std::collections::BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut body = String::new();
            entry.read_to_string(&mut body).unwrap();
            let header = entry.header();
            let facts = (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap(), body);
            found.insert(entry.path().unwrap().display().to_string(), facts);
        }
        let users = "root:x:0:0::/root:/bin/bash\napp:x:1000:1000::/home/app:/bin/bash\n";
        assert_eq!(found["etc/passwd"], (0o644, 0, 42, users.to_owned()));
        assert_eq!(found["var/lib/dpkg/status"].3, "Package: base\n");
        for dir in ["workspace/", "layers/", "home/app/"] {
            assert_eq!(found[dir], (0o755, 1000, 1000, String::new()));
        }
        assert_eq!(found["home/"], (0o755, 0, 0, String::new()));
        assert_eq!(found["tmp/"].0, 0o1777);
        for gone in ["etc/hostname", "dev/null", "var/log/dpkg.log", "var/lib/apt/lists/x_Packages"] {
            assert!(!found.contains_key(gone), "{gone}");
        }
        assert!(found.contains_key("var/lib/apt/lists/partial/") && found.contains_key("dev/"));
    }
}
