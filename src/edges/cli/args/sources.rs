//! Flags of what is deployed from elsewhere.

use clap::Args;

#[derive(Debug, Args)]
pub struct MannerFlags {
    /// Build it, and deploy nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Build without what earlier builds left.
    #[arg(long)]
    pub no_cache: bool,
    /// What the release says of itself.
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// How this release takes over: blue-green, rolling or canary=10,50.
    #[arg(long, value_name = "STRATEGY")]
    pub strategy: Option<String>,
    /// End when it is taken, not when it serves.
    #[arg(long)]
    pub detach: bool,
}

#[derive(Debug, Args)]
pub struct ElsewhereFlags {
    /// Deploy an image of a registry: HOST/NAME:TAG or HOST/NAME@sha256:…
    #[arg(long, value_name = "REFERENCE", conflicts_with_all = ["archive", "git", "s3"])]
    pub image: Option<String>,
    /// Build a branch of a git repository: https://HOST/OWNER/REPOSITORY.git
    #[arg(long, value_name = "URL", conflicts_with_all = ["archive", "s3"])]
    pub git: Option<String>,
    /// Of the git repository; the environment's own when it is left out.
    #[arg(long, requires = "git")]
    pub branch: Option<String>,
    /// Build an archive in a bucket: s3://BUCKET/KEY.tar.gz
    #[arg(long, value_name = "ADDRESS", conflicts_with = "archive")]
    pub s3: Option<String>,
    /// Of an S3-compatible store: https://HOST[:PORT]
    #[arg(long, value_name = "URL", requires = "s3")]
    pub endpoint: Option<String>,
    /// Of the bucket.
    #[arg(long, requires = "s3")]
    pub region: Option<String>,
    /// Variable of the app with the user, or with the id of the key (for s3 AWS_ACCESS_KEY_ID where the app has it).
    #[arg(long, value_name = "VARIABLE", requires = "password_from")]
    pub user_from: Option<String>,
    /// Variable of the app with the password, the token or the secret key (for s3 AWS_SECRET_ACCESS_KEY, as above).
    #[arg(long, value_name = "VARIABLE")]
    pub password_from: Option<String>,
}
