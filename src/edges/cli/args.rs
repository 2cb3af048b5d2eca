//! The verbs and their words: `noun:verb`.

mod bases;
mod buildpacks;
mod commands;
mod contents;
mod disk;
mod domains;
mod outlets;
mod sources;
mod traffic;
mod volumes;
mod words;

use clap::{Args, Parser, Subcommand};

pub(super) use bases::{BaseVerb, Rebase};
pub(super) use buildpacks::BuildpackVerb;
pub(super) use commands::{CommandVerb, replica_first};
pub(super) use contents::{Sbom, SbomFormat};
pub(super) use disk::DiskVerb;
pub(super) use domains::DomainVerb;
pub(super) use outlets::OutletVerb;
pub(super) use sources::{ElsewhereFlags, MannerFlags};
pub(super) use traffic::TrafficVerb;
pub(super) use volumes::VolumeVerb;
pub(super) use words::{ChecksSet, KeysAdd, LogWords, Login, Prepare, SeriesWords, Serve, Setup, days};

#[derive(Debug, Parser)]
#[command(name = "hythe", version, about = "A self-hosted platform: git push puts an app on the air")]
#[command(disable_help_subcommand = true)]
pub(super) struct Arguments {
    /// Print data as JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// The app: by `-a`, by its place, or by the git remote of this folder.
#[derive(Debug, Args)]
pub(super) struct AppWord {
    /// NAME, ORGANIZATION/NAME or id; else the app of this folder's git remote.
    #[arg(short, long = "app", value_name = "APP")]
    pub(super) app: Option<String>,
    /// The same as -a
    #[arg(value_name = "APP", conflicts_with = "app")]
    pub(super) named: Option<String>,
}

/// The app where other words have its place.
#[derive(Debug, Args)]
pub(super) struct AppFlag {
    /// NAME, ORGANIZATION/NAME or id; else the app of this folder's git remote.
    #[arg(short, long)]
    pub(super) app: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Environment {
    #[arg(short, long = "env", value_name = "ENVIRONMENT", default_value = "production")]
    pub(super) environment: String,
}

#[derive(Debug, Args)]
pub(super) struct AtWord {
    #[command(flatten)]
    pub(super) app: AppWord,
    #[command(flatten)]
    pub(super) environment: Environment,
}

#[derive(Debug, Args)]
pub(super) struct AtFlag {
    #[command(flatten)]
    pub(super) app: AppFlag,
    #[command(flatten)]
    pub(super) environment: Environment,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run the platform on this machine.
    Serve(Serve),
    /// Make the first administrator with the token that the first start printed, and log in as it.
    Setup(Setup),
    /// Make the base image of builds and end: as root, for a server that may not do so itself.
    Prepare(Prepare),
    /// Look for what would keep the platform on this machine from working.
    Doctor(Serve),
    /// Keep the address of a server and a token for it.
    Login(Login),
    /// Forget the token.
    Logout,
    /// Say who the server takes you for.
    Whoami,
    /// List your SSH keys.
    Keys,
    /// Add an SSH key.
    #[command(name = "keys:add")]
    KeysAdd(KeysAdd),
    #[command(name = "keys:remove", about = "Remove an SSH key")]
    KeysRemove { name: String },
    /// List your API tokens.
    Tokens,
    /// Make an API token and print it, this once.
    #[command(name = "tokens:create")]
    TokensCreate {
        name: String,
        /// Days until it expires, such as 30d; without it, never.
        #[arg(long, alias = "days", value_name = "DAYS", value_parser = days)]
        expires: Option<i64>,
        /// The one app that it is for; without it, all that you may.
        #[arg(long, value_name = "APP")]
        app: Option<String>,
        /// What it may at most do with that app: viewer or developer.
        #[arg(long, requires = "app", value_parser = ["viewer", "developer"])]
        role: Option<String>,
    },
    #[command(name = "tokens:remove", about = "Remove an API token")]
    TokensRemove { name: String },
    /// List your apps.
    Apps {
        /// Only where this package is live: a name, or a name and a bound, such as 'openssl<3.0.11'.
        #[arg(long, value_name = "PACKAGE")]
        with_package: Option<String>,
    },
    /// Create an app.
    #[command(name = "apps:create")]
    AppsCreate {
        name: String,
        /// Organization it belongs to; yours by default.
        #[arg(long)]
        org: Option<String>,
    },
    #[command(name = "apps:info", about = "Show an app: where it answers, what is live")]
    AppsInfo(AppWord),
    /// Rename an app; its host name follows.
    #[command(name = "apps:rename")]
    AppsRename {
        #[command(flatten)]
        app: AppFlag,
        /// The new name.
        name: String,
    },
    /// Destroy an app with all its releases. There is no way back.
    #[command(name = "apps:destroy")]
    AppsDestroy {
        #[command(flatten)]
        app: AppWord,
        /// The app's name once more.
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
    },
    #[command(visible_alias = "apps:open", about = "Print the address of an app")]
    Open(AppWord),
    /// Make `git push` of this folder go to an app.
    #[command(name = "git:remote")]
    GitRemote {
        #[command(flatten)]
        app: AppWord,
        /// Name of the git remote.
        #[arg(short, long, default_value = "hythe")]
        remote: String,
        /// Over HTTP, for who cannot get out over SSH. git asks for an API token as the password.
        #[arg(long)]
        https: bool,
    },
    /// List the environments of an app.
    Envs(AppWord),
    /// Create an environment with variables, numbers of replicas and a host of its own.
    #[command(name = "envs:create")]
    EnvsCreate {
        #[command(flatten)]
        app: AppFlag,
        name: String,
        /// A push to it deploys there; the branch of the same name by default.
        #[arg(long)]
        branch: Option<String>,
    },
    /// Destroy an environment with its variables and releases. There is no way back.
    #[command(name = "envs:destroy")]
    EnvsDestroy {
        #[command(flatten)]
        app: AppFlag,
        name: String,
        /// The environment's name once more.
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
    },
    /// Make what is live in one environment a release of another, without a build.
    Promote {
        #[command(flatten)]
        app: AppFlag,
        #[arg(long, value_name = "ENVIRONMENT", default_value = "staging")]
        from: String,
        #[arg(long, value_name = "ENVIRONMENT", default_value = "production")]
        to: String,
    },
    /// List the checks in effect.
    Checks(AtWord),
    /// Set a check; the replicas that run are asked from now on.
    #[command(name = "checks:set")]
    ChecksSet(ChecksSet),
    #[command(name = "checks:unset", about = "Return to what app.json says, or to no check")]
    ChecksUnset {
        #[command(flatten)]
        at: AtFlag,
        /// startup, readiness or liveness.
        kind: String,
        #[arg(short, long, default_value = "web")]
        process: String,
    },
    /// Change which branch deploys to an environment, how its web process is checked, how a release takes over and how long
    /// it is watched.
    #[command(name = "envs:set")]
    EnvsSet {
        #[command(flatten)]
        at: AtFlag,
        #[arg(long)]
        branch: Option<String>,
        /// Path that must answer below 500, such as /healthz; `none`: the process must accept connections.
        #[arg(long, value_name = "PATH")]
        check: Option<String>,
        /// Seconds after a switch within which the release before is brought back when the new one does worse; 0: none.
        #[arg(long, value_name = "SECONDS")]
        watch: Option<u32>,
        /// How a release takes over: blue-green, rolling (replica by replica), or canary=10,50 (percents of the requests)
        #[arg(long)]
        strategy: Option<String>,
        /// With a canary: seconds after which a step goes on by itself; without it, releases:continue says so
        #[arg(long, value_name = "SECONDS", requires = "strategy")]
        hold: Option<u32>,
    },
    /// List the variables of an app.
    Config(AtWord),
    #[command(name = "config:get", about = "Print the value of a variable")]
    ConfigGet {
        #[command(flatten)]
        at: AtFlag,
        name: String,
    },
    /// Set variables; what runs gets them by a new release.
    #[command(
        name = "config:set",
        after_help = "Builds have them too. What a build prints reads **** in place of a value of eight bytes or more that is no \
        number and\nno word such as production, and in place of passwords in addresses. A name with PASSWORD, TOKEN, KEY \
        or the like\nhas its value hidden from six bytes on."
    )]
    ConfigSet {
        #[command(flatten)]
        at: AtFlag,
        #[arg(value_name = "NAME=VALUE", required = true)]
        values: Vec<String>,
    },
    /// Remove variables; what runs loses them by a new release.
    #[command(name = "config:unset")]
    ConfigUnset {
        #[command(flatten)]
        at: AtFlag,
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Show the processes of an app.
    Ps(AtWord),
    /// Set the number of replicas, and their size where it is named: web=2 worker=1:large.
    #[command(name = "ps:scale")]
    PsScale {
        #[command(flatten)]
        at: AtFlag,
        #[arg(value_name = "PROCESS=NUMBER[:SIZE]", required = true)]
        numbers: Vec<String>,
    },
    #[command(flatten)]
    Volume(VolumeVerb),
    #[command(flatten)]
    Disk(DiskVerb),
    #[command(flatten)]
    Domain(DomainVerb),
    #[command(flatten)]
    Traffic(TrafficVerb),
    #[command(flatten)]
    Buildpacks(BuildpackVerb),
    #[command(flatten)]
    Base(BaseVerb),
    /// Let the platform choose the number of replicas; --min 0 lets an idle app sleep.
    #[command(name = "ps:autoscale")]
    PsAutoscale {
        #[command(flatten)]
        at: AtFlag,
        #[arg(default_value = "web")]
        process: String,
        #[arg(long, default_value_t = 1)]
        min: u32,
        #[arg(long, required_unless_present = "off")]
        max: Option<u32>,
        /// Requests that one replica shall have at a time, on average
        #[arg(long, default_value_t = crate::edges::api::types::ScalingBody::IN_FLIGHT)]
        in_flight: u32,
        /// With --min 0: seconds without a request after which no replica runs
        #[arg(long, default_value_t = crate::edges::api::types::ScalingBody::IDLE_SECONDS)]
        idle: u32,
        /// Percent of its processor bound that a replica shall use on average
        #[arg(long, value_name = "PERCENT")]
        cpu: Option<u32>,
        /// Percent of its memory bound that a replica shall use on average
        #[arg(long, value_name = "PERCENT")]
        memory: Option<u32>,
        /// Milliseconds within which 95 of 100 requests shall be answered
        #[arg(long, value_name = "MILLISECONDS")]
        latency: Option<u32>,
        /// Back to the number that ps:scale sets
        #[arg(long)]
        off: bool,
    },
    #[command(name = "ps:restart", about = "Replace all replicas, without a gap")]
    PsRestart(AtWord),
    #[command(name = "ps:stop", about = "Stop all replicas")]
    PsStop(AtWord),
    #[command(name = "ps:start", about = "Start what ps:stop stopped")]
    PsStart(AtWord),
    #[command(flatten)]
    Command(CommandVerb),
    /// Show what an app writes, and what was written for it: by builds, deployments and the proxy.
    Logs {
        #[command(flatten)]
        at: AtWord,
        #[command(flatten)]
        words: LogWords,
    },
    /// Say why an app is as it is: the chain of causes, with evidence, and what to do.
    Why(AtWord),
    #[command(flatten)]
    Outlet(OutletVerb),
    /// Show what an app uses and how it answers, over time.
    Metrics {
        #[command(flatten)]
        at: AtWord,
        #[command(flatten)]
        words: SeriesWords,
    },
    /// Show what the machine of the platform uses, over time.
    #[command(name = "host:metrics")]
    HostMetrics(SeriesWords),
    /// Show what happened to an app.
    Events {
        #[command(flatten)]
        at: AtWord,
        /// Go on with the events to come.
        #[arg(short, long)]
        tail: bool,
        #[arg(short = 'n', long = "num", default_value_t = 30)]
        number: i64,
    },
    /// List the builds of an app.
    Builds(AppWord),
    /// Build and deploy an archive of the app's files, or what lies in a registry, a git repository or a bucket.
    #[command(
        name = "builds:create",
        after_help = "The files lie at the root of the archive, or in its only directory.\n\
        Over ssh: git archive HEAD | ssh git@HOST -p 2222 builds:create -a APP\n\
        Credentials are values of the app's variables: hythe config:set TOKEN=…, then --password-from TOKEN"
    )]
    BuildsCreate {
        #[command(flatten)]
        at: AtFlag,
        /// A tar, tar.gz or zip; - or nothing reads it from standard input.
        #[arg(default_value = "-")]
        archive: std::path::PathBuf,
        #[command(flatten)]
        elsewhere: Box<ElsewhereFlags>,
        #[command(flatten)]
        manner: MannerFlags,
    },
    /// Show all that a push printed, from line one; follow it while it is under way.
    #[command(name = "builds:output")]
    BuildsOutput {
        #[command(flatten)]
        app: AppFlag,
        /// Id of a build.
        #[arg(default_value = "latest")]
        build: String,
    },
    /// End a build, or the deployment of what it made: what is live stays.
    #[command(name = "builds:cancel")]
    BuildsCancel {
        #[command(flatten)]
        app: AppFlag,
        /// Id of a build; without it, the newest that is not over.
        #[arg(default_value = "latest")]
        build: String,
    },
    /// Show what is in the image of a release, as a list or as a software bill of materials.
    Sbom(Sbom),
    /// List the releases of an app.
    Releases {
        #[command(flatten)]
        at: AtWord,
        #[arg(short = 'n', long = "num", default_value_t = 15)]
        lines: i64,
    },
    #[command(name = "releases:info", about = "Show a release")]
    ReleasesInfo {
        #[command(flatten)]
        at: AtFlag,
        /// Such as v42; without it, the live one.
        release: Option<String>,
    },
    /// Show what differs between two releases. Variables by name, never by value.
    #[command(name = "releases:diff")]
    ReleasesDiff {
        #[command(flatten)]
        at: AtFlag,
        /// Such as v41.
        from: String,
        /// Such as v42; without it, the one that shall be live.
        to: Option<String>,
    },
    /// Let a canary that is held go on: to its next step, or to all requests.
    #[command(name = "releases:continue")]
    ReleasesContinue(AtWord),
    /// End a release that is being rolled out, held or watched: the one before serves.
    #[command(name = "releases:abort")]
    ReleasesAbort(AtWord),
    /// Make an old release live again, without a build.
    Rollback {
        #[command(flatten)]
        at: AtFlag,
        /// Such as v41; without it, the one before the live one.
        release: Option<String>,
    },
    /// List the deployments of an app.
    Deployments(AtWord),
    #[command(name = "deployments:info", about = "Show a deployment with its steps")]
    DeploymentsInfo {
        #[command(flatten)]
        at: AtFlag,
        deployment: String,
    },
    /// Print the OpenAPI document.
    Openapi,
}

impl Verb {
    /// Verbs about the machine they are typed on.
    pub(super) fn only_near(&self) -> bool {
        match self {
            Self::Serve(_)
            | Self::Prepare(_)
            | Self::Setup(_)
            | Self::Doctor(_)
            | Self::Login(_)
            | Self::Logout
            | Self::Open(_) => true,
            Self::KeysAdd(verb) => verb.file().is_some(),
            Self::Domain(verb) => matches!(verb, DomainVerb::CertsAdd { .. }),
            Self::Traffic(verb) => verb.reads_file(),
            _ => false,
        }
    }
}
