//! What is in images.

use clap::{Args, ValueEnum};

use super::AtFlag;

#[derive(Debug, Args)]
pub(in crate::edges::cli) struct Sbom {
    #[command(flatten)]
    pub(in crate::edges::cli) at: AtFlag,
    #[arg(long, value_enum, default_value_t = SbomFormat::List)]
    pub(in crate::edges::cli) format: SbomFormat,
    /// Number; the live one when it is left out.
    #[arg(long)]
    pub(in crate::edges::cli) release: Option<String>,
    /// What the app's last build was made with, as its buildpacks told it.
    #[arg(long, conflicts_with_all = ["release", "format"])]
    pub(in crate::edges::cli) build: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::edges::cli) enum SbomFormat {
    List,
    /// CycloneDX 1.5, JSON.
    Cyclonedx,
    /// SPDX 2.3, JSON.
    Spdx,
}
