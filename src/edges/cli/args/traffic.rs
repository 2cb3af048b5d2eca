//! Words of what holds for an app's requests.

use std::path::PathBuf;

use clap::Subcommand;

use super::{AtFlag, AtWord};

#[derive(Debug, Subcommand)]
pub(in crate::edges::cli) enum TrafficVerb {
    /// Show what holds for an app's requests.
    Traffic(AtWord),
    /// Set rules, from now on: allow=NETWORK,… deny=NETWORK,… rate=PER_SECOND[/BURST] body=BYTES timeout=SECONDS sticky=on
    /// in-flight=REQUESTS queue=REQUESTS wait=SECONDS compression=on canary-cookie=NAME protocol=http1|h2c|https server-timing=on access-log=json redirect=HOST cors=ORIGIN,… request-header.NAME=VALUE response-header.NAME=VALUE;
    /// RULE=off: not even as app.json has it
    #[command(name = "traffic:set")]
    TrafficSet {
        #[command(flatten)]
        at: AtFlag,
        #[arg(required = true, value_name = "RULE=VALUE")]
        rules: Vec<String>,
    },
    /// Take rules away, by name: what app.json says holds again.
    #[command(name = "traffic:unset")]
    TrafficUnset {
        #[command(flatten)]
        at: AtFlag,
        #[arg(required = true, value_name = "RULE")]
        rules: Vec<String>,
    },
    /// Show a page of the app's own where the platform answers in its place: 502 (the app broke off), 503 (none of it runs), 504
    /// (it took too long) or maintenance. HTML of at most 32 KiB, with its styles and pictures inside.
    #[command(name = "traffic:pages:set")]
    TrafficPagesSet {
        #[command(flatten)]
        at: AtFlag,
        #[arg(value_name = "502|503|504|maintenance")]
        page: String,
        /// Without it, or with -, the page is read from standard input.
        file: Option<PathBuf>,
    },
    /// Show the platform's own page again.
    #[command(name = "traffic:pages:remove")]
    TrafficPagesRemove {
        #[command(flatten)]
        at: AtFlag,
        #[arg(value_name = "502|503|504|maintenance")]
        page: String,
    },
    /// Answer every request with a page that says that the app is being worked on.
    #[command(name = "maintenance:on")]
    MaintenanceOn(AtWord),
    /// Serve again.
    #[command(name = "maintenance:off")]
    MaintenanceOff(AtWord),
    /// Let somebody in by name; from the first on nobody comes in without one. The password is read from standard input.
    #[command(name = "traffic:users:set")]
    TrafficUsersSet {
        #[command(flatten)]
        at: AtFlag,
        user: String,
    },
    /// Let somebody in no more; after the last, everybody comes in again.
    #[command(name = "traffic:users:remove")]
    TrafficUsersRemove {
        #[command(flatten)]
        at: AtFlag,
        user: String,
    },
}

impl TrafficVerb {
    /// Whether it reads a file, which is to be one of the machine where it is typed.
    pub(in crate::edges::cli) fn reads_file(&self) -> bool {
        matches!(self, Self::TrafficPagesSet { file: Some(file), .. } if file.as_os_str() != "-")
    }
}
