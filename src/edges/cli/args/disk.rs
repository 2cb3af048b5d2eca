//! Words of the disk.

use clap::Subcommand;

use super::AppWord;

#[derive(Debug, Subcommand)]
pub(in crate::edges::cli) enum DiskVerb {
    /// Show who uses how much of the disk: your apps, and for who runs the platform the whole.
    Disk,
    /// Remove now what nobody needs: images of releases beyond those that are kept, and what destroyed apps left.
    #[command(name = "disk:clean")]
    DiskClean,
    /// Forget what earlier builds of an app left for later ones.
    #[command(name = "builds:cache:clear")]
    BuildsCacheClear(AppWord),
}
