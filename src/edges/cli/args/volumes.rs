//! Words of sizes and volumes.

use clap::Subcommand;

use super::{AtFlag, AtWord};

#[derive(Debug, Subcommand)]
pub(in crate::edges::cli) enum VolumeVerb {
    /// Give process types another size: web=medium; `default` is the usual one. It is a release with new replicas.
    #[command(name = "ps:size", visible_alias = "ps:type")]
    PsSize {
        #[command(flatten)]
        at: AtFlag,
        #[arg(value_name = "PROCESS=SIZE", required = true)]
        words: Vec<String>,
    },
    /// List the sizes that a process type can have.
    Sizes,
    /// List the volumes of an app, destroyed ones that are still kept included.
    Volumes {
        #[command(flatten)]
        at: AtWord,
        /// Destroyed ones wherever they are from, those of destroyed apps included.
        #[arg(long)]
        destroyed: bool,
    },
    /// Make a volume: data that outlives replicas and releases.
    #[command(name = "volumes:create")]
    VolumesCreate {
        #[command(flatten)]
        at: AtFlag,
        name: String,
        /// Several replicas may use it at once; without it one at a time, and a deployment stops the one before first.
        #[arg(long)]
        shared: bool,
    },
    #[command(name = "volumes:info", about = "Show a volume: what is used of it, where it is mounted")]
    VolumesInfo {
        #[command(flatten)]
        at: AtFlag,
        name: String,
    },
    /// Let a process type have a volume at a path, by a new release.
    #[command(name = "volumes:mount")]
    VolumesMount {
        #[command(flatten)]
        at: AtFlag,
        name: String,
        /// Absolute, such as /data.
        path: String,
        #[arg(short, long, default_value = "web")]
        process: String,
    },
    /// Take a volume from its process types, by a new release. Its data stays.
    #[command(name = "volumes:unmount")]
    VolumesUnmount {
        #[command(flatten)]
        at: AtFlag,
        name: String,
        /// Only from this one.
        #[arg(short, long)]
        process: Option<String>,
    },
    /// Destroy a volume. Its data is kept for a while, in which volumes:restore brings it back.
    #[command(name = "volumes:destroy")]
    VolumesDestroy {
        #[command(flatten)]
        at: AtFlag,
        name: String,
        /// The volume's name once more.
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
    },
    /// Bring a destroyed volume back with its data; by its id also one of another, perhaps destroyed, app.
    #[command(name = "volumes:restore")]
    VolumesRestore {
        #[command(flatten)]
        at: AtFlag,
        #[arg(value_name = "NAME|ID")]
        volume: String,
        /// Another name than it had.
        #[arg(long = "as", value_name = "NAME")]
        name: Option<String>,
    },
}
