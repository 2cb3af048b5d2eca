//! Words of bases.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(in crate::edges::cli) enum BaseVerb {
    /// Show the base that images are built on, and how old it is.
    Base,
    /// Make that base anew, with the packages of today. What runs gets it by hythe rebase, or by its next push.
    #[command(name = "base:update")]
    BaseUpdate,
    /// Put the newest base under what runs, without a build.
    Rebase(Rebase),
}

#[derive(Debug, Args)]
pub(in crate::edges::cli) struct Rebase {
    /// NAME, ORGANIZATION/NAME or id; else the app of this folder's git remote.
    #[arg(short, long)]
    pub(in crate::edges::cli) app: Option<String>,
    /// All apps that you may deploy, some at a time; one that fails stops no other
    #[arg(long, conflicts_with = "app")]
    pub(in crate::edges::cli) all: bool,
    /// This environment only; without it, all of them
    #[arg(short, long = "env", value_name = "ENVIRONMENT")]
    pub(in crate::edges::cli) environment: Option<String>,
    /// Say what would be rebased, and change nothing
    #[arg(long)]
    pub(in crate::edges::cli) dry_run: bool,
}
