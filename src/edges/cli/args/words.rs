//! Words that stand together.

use std::path::PathBuf;

use clap::Args;

use super::AtFlag;

/// Which lines of a log; all that is given must hold.
#[derive(Debug, Args)]
pub(in crate::edges::cli) struct LogWords {
    /// Go on with the lines to come.
    #[arg(short, long)]
    pub(in crate::edges::cli) tail: bool,
    /// Lines to start with.
    #[arg(short = 'n', long = "num", default_value_t = 100)]
    pub(in crate::edges::cli) lines: usize,
    /// Only this process type or replica: web, web.1.
    #[arg(short, long)]
    pub(in crate::edges::cli) process: Option<String>,
    /// Only app, build, deploy, proxy or system.
    #[arg(short, long)]
    pub(in crate::edges::cli) source: Option<String>,
    /// From a time on, or how long ago: 2026-01-31T12:00:00Z, 90s, 15m, 2h, 3d.
    #[arg(long, value_name = "WHEN")]
    pub(in crate::edges::cli) since: Option<String>,
    /// Before a time.
    #[arg(long, value_name = "WHEN")]
    pub(in crate::edges::cli) until: Option<String>,
    /// Only lines with this text in them.
    #[arg(long, value_name = "TEXT")]
    pub(in crate::edges::cli) grep: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::edges::cli) struct SeriesWords {
    /// From a time on, or how long ago: 15m, 2h, 3d.
    #[arg(long, value_name = "WHEN")]
    pub(in crate::edges::cli) since: Option<String>,
    /// Seconds of one line, a multiple of 60.
    #[arg(long)]
    pub(in crate::edges::cli) step: Option<i64>,
}

#[derive(Debug, Args)]
pub(in crate::edges::cli) struct ChecksSet {
    #[command(flatten)]
    pub(in crate::edges::cli) at: AtFlag,
    /// startup, readiness or liveness.
    pub(in crate::edges::cli) kind: String,
    #[arg(short, long, default_value = "web")]
    pub(in crate::edges::cli) process: String,
    /// Path that must answer, such as /healthz.
    #[arg(long)]
    pub(in crate::edges::cli) path: Option<String>,
    /// The status that it must answer with; without it, any below 500.
    #[arg(long)]
    pub(in crate::edges::cli) status: Option<u16>,
    /// It must accept connections on PORT.
    #[arg(long)]
    pub(in crate::edges::cli) tcp: bool,
    /// Command line that must exit with 0 inside the replica; no shell reads it.
    #[arg(long)]
    pub(in crate::edges::cli) command: Option<String>,
    /// Seconds that it must have run.
    #[arg(long, value_name = "SECONDS")]
    pub(in crate::edges::cli) uptime: Option<f64>,
    /// From 0.1 on [default: 5]
    #[arg(long, value_name = "SECONDS")]
    pub(in crate::edges::cli) every: Option<f64>,
    /// Longest wait for an answer [default: 5]
    #[arg(long, value_name = "SECONDS")]
    pub(in crate::edges::cli) timeout: Option<f64>,
    /// Failures in a row that count as one [default: 3]
    #[arg(long)]
    pub(in crate::edges::cli) attempts: Option<u32>,
    /// From the start of a replica to the first question [default: 0]
    #[arg(long, value_name = "SECONDS")]
    pub(in crate::edges::cli) delay: Option<f64>,
}

#[derive(Debug, Args)]
pub(in crate::edges::cli) struct Serve {
    /// TOML file; each key can be given as HYTHE_<SECTION>_<KEY> as well.
    #[arg(long, env = "HYTHE_CONFIG", value_name = "FILE")]
    pub(in crate::edges::cli) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::edges::cli) struct Prepare {
    #[command(flatten)]
    pub(in crate::edges::cli) serve: Serve,
    /// Make the base anew, with the packages of today, also when one is there; the server must not run
    #[arg(long)]
    pub(in crate::edges::cli) refresh: bool,
}

#[derive(Debug, Args)]
pub(in crate::edges::cli) struct Setup {
    /// The one-time token.
    #[arg(long, env = "HYTHE_SETUP_TOKEN", hide_env_values = true)]
    pub(in crate::edges::cli) token: String,
    /// Your user name: a-z, 0-9 and -.
    #[arg(long)]
    pub(in crate::edges::cli) name: String,
    #[arg(long)]
    pub(in crate::edges::cli) email: String,
    /// Your public SSH key.
    #[arg(long, value_name = "FILE")]
    pub(in crate::edges::cli) key: Option<PathBuf>,
    /// Address of the server's API.
    #[arg(long)]
    pub(in crate::edges::cli) url: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::edges::cli) struct Login {
    /// Address of the server's API.
    #[arg(long)]
    pub(in crate::edges::cli) url: Option<String>,
    /// An API token; without it, it is read from standard input.
    #[arg(long)]
    pub(in crate::edges::cli) token: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::edges::cli) struct KeysAdd {
    /// A .pub file, - for what is piped in, or the key itself. Without it: the first of ~/.ssh/id_ed25519.pub,
    /// id_ecdsa.pub, id_rsa.pub.
    #[arg(value_name = "FILE|KEY")]
    pub(in crate::edges::cli) words: Vec<String>,
    /// Name of the key; its comment by default.
    #[arg(long)]
    pub(in crate::edges::cli) name: Option<String>,
}

impl KeysAdd {
    /// The key, when it stands in the words.
    pub(in crate::edges::cli) fn key(&self) -> Option<String> {
        (self.words.iter().any(|word| word.starts_with("AAAA"))).then(|| self.words.join(" "))
    }

    pub(in crate::edges::cli) fn file(&self) -> Option<&str> {
        self.words.first().map(String::as_str).filter(|word| *word != "-" && self.key().is_none())
    }
}

/// `30d`, `4w`, or days as a number.
pub(in crate::edges::cli) fn days(text: &str) -> Result<i64, String> {
    let (number, times) = match (text.strip_suffix('d'), text.strip_suffix('w')) {
        (Some(days), _) => (days, 1),
        (_, Some(weeks)) => (weeks, 7),
        _ => (text, 1),
    };
    let number: i64 = number.parse().map_err(|_| format!("{text:?} is no time: write 30d for thirty days"))?;
    number.checked_mul(times).ok_or_else(|| format!("{text:?} is too long"))
}
