//! What would keep the platform on this machine from working. Looks, and changes nothing.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::args::Serve;
use super::failure::{Failure, Result};
use super::{Client, Session, Transport, serve};
use crate::base::clock::{Clock, SystemClock, Timestamp};
use crate::base::config::Config;

/// What a build of a usual app may take.
const ROOMY: u64 = 2 << 30;
/// Files of the future say that the clock was set back; of this much less is made nothing.
const SKEW: Duration = Duration::from_secs(60);
/// 2026-01-01T00:00:00Z: no clock that goes is before it.
const NOT_BEFORE: Duration = Duration::from_secs(1_767_225_600);
/// Days, after which a newer base is worth its minute.
const OLD_BASE: i64 = 30;
const ENGINE_PATIENCE: Duration = Duration::from_secs(5);
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Well,
    /// Works, with something to know.
    Note,
    Wrong,
}

#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    text: String,
}

pub(super) async fn doctor(s: &mut Session, verb: &Serve) -> Result<()> {
    let config = serve::configuration(verb.config.as_deref()).map_err(|e| Failure::usage(format!("{e:#}")))?;
    let serves = serving(&config).await;
    let mut findings = vec![data_dir(&config.data.dir), disk(&config), engine(&config.runtime.engine).await];
    findings.push(store(&config, serves));
    findings.push(clock(&config.data.dir));
    findings.push(finding(
        "server",
        if serves { Verdict::Well } else { Verdict::Note },
        if serves {
            format!("answers at {}", config.http.api_listen)
        } else {
            format!("does not answer at {}; start it with: hythe serve", config.http.api_listen)
        },
    ));
    for (what, address) in [
        ("proxy port", config.http.proxy_listen),
        ("API port", config.http.api_listen),
        ("git port", config.git.listen),
    ] {
        findings.push(port(what, address, serves));
    }
    findings.push(bootstrap(&config));
    findings.push(certificates());
    findings.push(base_image(&config.data.dir));
    let wrong = findings.iter().filter(|f| f.verdict == Verdict::Wrong).count();
    if s.json {
        s.io.json(&findings).await?;
    } else {
        for f in &findings {
            let mark = match f.verdict {
                Verdict::Well => "ok  ",
                Verdict::Note => "note",
                Verdict::Wrong => "BAD ",
            };
            s.io.out(&format!("{mark}  {:<13} {}", f.what, f.text)).await?;
        }
    }
    match wrong {
        0 => Ok(()),
        1 => Err(Failure::new("1 thing is wrong")),
        n => Err(Failure::new(format!("{n} things are wrong"))),
    }
}

fn finding(what: &'static str, verdict: Verdict, text: impl Into<String>) -> Finding {
    Finding { what, verdict, text: text.into() }
}

fn data_dir(dir: &Path) -> Finding {
    let what = "data";
    // The folder that exists: a first start makes the rest.
    let Some(there) = dir.ancestors().find(|above| above.exists()) else {
        return finding(what, Verdict::Wrong, format!("{} has no folder above it", dir.display()));
    };
    match tempfile::NamedTempFile::new_in(there) {
        Ok(_) if there == dir => finding(what, Verdict::Well, format!("{} can be written", dir.display())),
        Ok(_) => finding(what, Verdict::Well, format!("{} will be made at the first start", dir.display())),
        Err(e) => {
            let text = format!(
                "{} cannot be written ({e}); run as its owner, or set data.dir (HYTHE_DATA_DIR)",
                there.display()
            );
            finding(what, Verdict::Wrong, text)
        }
    }
}

fn disk(config: &Config) -> Finding {
    let reserved = config.disk.reserved_bytes;
    let there = config.data.dir.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(there) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let text = format!("{:.1} GB free, {:.1} GB are kept free", free as f64 / 1e9, reserved as f64 / 1e9);
            if stat.f_files > 0 && stat.f_favail < config.disk.reserved_files {
                let text = format!(
                    "{text}, but only {} inodes are, and {} are kept free (disk.reserved_files): pushes are refused; see where \
                     they are (df -i), then hythe disk:clean, or a file system with more inodes",
                    stat.f_favail, config.disk.reserved_files
                );
                return finding("disk", Verdict::Wrong, text);
            }
            let (verdict, text) = match free {
                n if n < reserved => (
                    Verdict::Wrong,
                    format!(
                        "{text}: pushes are refused; look with hythe disk, then hythe disk:clean, keep fewer images \
                         (disk.keep_images), or get a larger disk"
                    ),
                ),
                n if n < reserved.saturating_add(ROOMY) => {
                    (Verdict::Note, format!("{text}; a large build may not fit: see what fills it with hythe disk"))
                }
                _ => (Verdict::Well, text),
            };
            finding("disk", verdict, text)
        }
        Err(e) => finding("disk", Verdict::Wrong, format!("cannot be asked: {e}")),
    }
}

/// The server itself opens it; here is seen what would keep it from that.
fn store(config: &Config, serves: bool) -> Finding {
    let what = "database";
    if serves {
        return finding(what, Verdict::Well, "answers, as the server says");
    }
    if config.data.database_url.is_some() {
        return finding(
            what,
            Verdict::Note,
            "is PostgreSQL; hythe serve asks it when it starts, and says what is wrong",
        );
    }
    let file = config.data.dir.join("hythe.db");
    match std::fs::OpenOptions::new().read(true).write(true).open(&file) {
        Ok(_) => finding(what, Verdict::Well, format!("{} can be written", file.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            finding(what, Verdict::Note, format!("{} will be made at the first start", file.display()))
        }
        Err(e) => {
            let text = format!("{} cannot be opened ({e}); run as its owner", file.display());
            finding(what, Verdict::Wrong, text)
        }
    }
}

/// Jobs, tokens and certificates go by it.
fn clock(dir: &Path) -> Finding {
    let what = "clock";
    let now = std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(SystemClock.now().0).unwrap_or_default());
    if now < std::time::UNIX_EPOCH + NOT_BEFORE {
        let text = "is years behind; set it, and let it be kept right: apt-get install systemd-timesyncd";
        return finding(what, Verdict::Wrong, text);
    }
    let written = ["hythe.db", "hythe.db-wal", "lock"].map(|name| std::fs::metadata(dir.join(name))?.modified());
    let ahead = written.into_iter().flatten().filter_map(|at| at.duration_since(now).ok()).max();
    match ahead.filter(|ahead| *ahead > SKEW) {
        Some(ahead) => {
            let text = format!(
                "is {} minutes behind what was last written in {}: it was set back; set it right, and let it be kept so: \
                 apt-get install systemd-timesyncd",
                ahead.as_secs() / 60,
                dir.display()
            );
            finding(what, Verdict::Wrong, text)
        }
        None => finding(what, Verdict::Well, "is not behind what was last written"),
    }
}

/// `GET /version` by hand (Docker Engine API); an edge does not speak to engines otherwise.
async fn engine(socket: &str) -> Finding {
    let what = "engine";
    match tokio::time::timeout(ENGINE_PATIENCE, engine_version(socket)).await {
        Ok(Ok(version)) => finding(what, Verdict::Well, format!("Docker Engine {version} answers at {socket}")),
        Ok(Err(e)) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            finding(what, Verdict::Wrong, format!("{socket} is not yours to use; join its group (usually docker)"))
        }
        Ok(Err(e)) => {
            let text = format!("does not answer at {socket} ({e}); install and start docker.io, or set runtime.engine");
            finding(what, Verdict::Wrong, text)
        }
        Err(_) => finding(what, Verdict::Wrong, format!("accepts at {socket}, but says nothing; look at its log")),
    }
}

async fn engine_version(socket: &str) -> std::io::Result<String> {
    let mut stream = tokio::net::UnixStream::connect(socket.strip_prefix("unix://").unwrap_or(socket)).await?;
    stream.write_all(b"GET /version HTTP/1.0\r\nHost: engine\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let json = text.split_once("\r\n\r\n").map(|(_, body)| body.trim()).unwrap_or_default();
    let version: serde_json::Value = serde_json::from_str(json).map_err(std::io::Error::other)?;
    version["Version"].as_str().map(str::to_owned).ok_or_else(|| std::io::Error::other("an answer without a version"))
}

async fn serving(config: &Config) -> bool {
    let Ok(transport) = Transport::http(&format!("http://{}", config.http.api_listen), None) else { return false };
    let client = Client::new(transport);
    matches!(tokio::time::timeout(ENGINE_PATIENCE, client.health()).await, Ok(Ok(_)))
}

fn port(what: &'static str, address: SocketAddr, serves: bool) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) if serves => finding(
            what,
            Verdict::Note,
            format!("{address} is free, though the server runs: it has another configuration"),
        ),
        Ok(_) => finding(what, Verdict::Well, format!("{address} is free")),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse && serves => {
            finding(what, Verdict::Well, format!("{address} is in use, as it should be while the server runs"))
        }
        Err(e) => finding(what, Verdict::Wrong, format!("{address} cannot be had ({e}); free it or configure another")),
    }
}

fn bootstrap(config: &Config) -> Finding {
    let what = "mmdebstrap";
    if config.build.base != "debian" {
        return finding(what, Verdict::Well, format!("not needed: the base image is {}", config.build.base));
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join("mmdebstrap")).find(|path| path.is_file());
    match found {
        Some(path) => finding(what, Verdict::Well, path.display().to_string()),
        None => finding(
            what,
            Verdict::Wrong,
            "is not installed, and the base image is made with it: apt-get install mmdebstrap",
        ),
    }
}

fn certificates() -> Finding {
    match std::fs::metadata(CA_BUNDLE) {
        Ok(file) if file.len() > 0 => finding("certificates", Verdict::Well, CA_BUNDLE),
        _ => {
            finding("certificates", Verdict::Wrong, format!("{CA_BUNDLE} is missing: apt-get install ca-certificates"))
        }
    }
}

fn base_image(dir: &Path) -> Finding {
    let recipes: Vec<PathBuf> = std::fs::read_dir(dir.join("base"))
        .map(|entries| {
            entries
                .filter_map(|e| Some(e.ok()?.path()))
                .filter(|p| p.extension().is_some_and(|x| x == "json"))
                .collect()
        })
        .unwrap_or_default();
    match recipes.len() {
        0 => finding("base image", Verdict::Note, "not made yet; the first start does it, and takes a minute"),
        n => newest_base(&recipes, n),
    }
}

/// A base that was not made anew for long lacks what was mended since.
fn newest_base(recipes: &[PathBuf], count: usize) -> Finding {
    #[derive(serde::Deserialize)]
    struct Record {
        made: Timestamp,
        base: String,
    }
    let read = |path: &PathBuf| serde_json::from_str::<Record>(&std::fs::read_to_string(path).ok()?).ok();
    let what = "base image";
    let Some(base) = recipes.iter().filter_map(read).max_by_key(|record| record.made) else {
        return finding(
            what,
            Verdict::Note,
            format!("made ({count} in store), nobody noted when; make it anew with hythe base:update"),
        );
    };
    let days = SystemClock.now().since(base.made) / (24 * 60 * 60 * 1000);
    let text = format!("{}, {} ({count} in store)", base.base, super::text::age(days));
    match days > OLD_BASE {
        true => {
            let remedy = "what was mended since is not in it: hythe base:update, then hythe rebase --all";
            finding(what, Verdict::Note, format!("{text}; {remedy}"))
        }
        false => finding(what, Verdict::Well, text),
    }
}
