//! The server itself, its configuration and its document.

use std::path::Path;

use tracing_subscriber::EnvFilter;

use super::Session;
use super::args::Serve;
use super::failure::Result;
use crate::base::config::Config;

/// Requests leave their lines in the logs of their apps.
const QUIET: &str = "info,hythe::access=off,hyper=warn,sqlx=warn,russh=warn,tower=warn";

/// These write what they send to the engine at debug level, and with it the variables of apps: whatever is asked for,
/// they stay silent.
const SECRETIVE: [&str; 3] = ["bollard=info", "bollard::docker=info", "bollard::read=info"];

fn without_secrets(wanted: EnvFilter) -> EnvFilter {
    SECRETIVE.iter().filter_map(|text| text.parse().ok()).fold(wanted, EnvFilter::add_directive)
}

/// What needs the configuration of the server and a runtime of its own.
pub(super) fn run<F: Future<Output = anyhow::Result<()>>>(verb: &Serve, work: impl FnOnce(Config) -> F) -> u8 {
    let wanted = EnvFilter::try_from_env("HYTHE_LOG").unwrap_or_else(|_| EnvFilter::new(QUIET));
    tracing_subscriber::fmt()
        .with_env_filter(without_secrets(wanted))
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .init();
    let outcome = configuration(verb.config.as_deref()).and_then(|config| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(work(config))
    });
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            eprintln!(" !     {error:#}");
            1
        }
    }
}

pub(super) fn configuration(file: Option<&Path>) -> anyhow::Result<Config> {
    let text = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some((path, text.map_err(|e| anyhow::anyhow!("{} cannot be read: {e}", path.display()))?))
        }
        None => None,
    };
    let file = text.as_ref().map(|(path, text)| (*path, text.as_str()));
    Ok(Config::load(file, |name| std::env::var(name).ok())?)
}

pub(super) async fn openapi(s: &mut Session) -> Result<()> {
    let document = s.client.document().await?;
    Ok(s.io.json(&document).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wish_for_detail_brings_variables_into_the_log() {
        for wish in ["trace", "debug,bollard=trace", "bollard::docker=debug", "info,bollard::read=trace,sqlx=debug"] {
            let filter = without_secrets(EnvFilter::new(wish)).to_string();
            for directive in SECRETIVE {
                assert!(filter.split(',').any(|d| d == directive), "{wish}: {filter}");
            }
            assert!(!filter.contains("bollard=trace") && !filter.contains("docker=debug"), "{wish}: {filter}");
        }
    }
}
