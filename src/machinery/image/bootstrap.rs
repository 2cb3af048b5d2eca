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
    let layer = match child.stdout.take() {
        Some(stdout) => layer(blobs, stdout),
        None => Err(ImageError::Stream(io::Error::other("no output"))),
    };
    // the pipe is closed by now, so a program that still writes ends too
    let ended = child.wait();
    let evidence = evidence.join().unwrap_or_default();
    match (layer, ended) {
        (Err(error), _) if !matches!(error, ImageError::Stream(_)) => Err(error),
        (layer, Ok(status)) if status.success() => layer,
        (_, ended) => {
            let status = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(ImageError::Bootstrap { program, status, evidence })
        }
    }
}

fn layer(blobs: &BlobStore, tar: impl Read) -> Result<Layer> {
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
    layer.finish()
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
