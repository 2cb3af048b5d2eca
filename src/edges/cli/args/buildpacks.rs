//! Words of buildpacks.

use clap::Subcommand;

use super::{AtFlag, AtWord};

#[derive(Debug, Subcommand)]
pub(in crate::edges::cli) enum BuildpackVerb {
    /// List the buildpacks that were set for an app, in the order of building.
    Buildpacks(AtWord),
    /// Set all of them: ID, ID@VERSION, ./PATH in the repository, docker://HOST/NAME:TAG, https://HOST/REPOSITORY.git#REF:DIRECTORY
    /// or https://HOST/FILE.tgz. $USER:$PASSWORD@ before a host names variables with credentials. The next push takes them.
    #[command(name = "buildpacks:set")]
    BuildpacksSet {
        #[command(flatten)]
        at: AtFlag,
        #[arg(required = true)]
        buildpacks: Vec<String>,
    },
    /// Add one: at the end, or at a place of its own.
    #[command(name = "buildpacks:add")]
    BuildpacksAdd {
        #[command(flatten)]
        at: AtFlag,
        buildpack: String,
        /// Its place, from 1 on.
        #[arg(short, long)]
        index: Option<usize>,
    },
    /// Remove one, by name or by its place from 1 on.
    #[command(name = "buildpacks:remove")]
    BuildpacksRemove {
        #[command(flatten)]
        at: AtFlag,
        buildpack: Option<String>,
        #[arg(short, long, conflicts_with = "buildpack")]
        index: Option<usize>,
    },
    /// Remove all of them: the tree says again which there are.
    #[command(name = "buildpacks:clear")]
    BuildpacksClear(AtWord),
}
