//! The verbs and their words: `noun:verb`.

mod volumes;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(super) use volumes::VolumeVerb;

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
    Prepare(Serve),
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
        /// Days until it expires; without it, never.
        #[arg(long)]
        days: Option<i64>,
    },
    #[command(name = "tokens:remove", about = "Remove an API token")]
    TokensRemove { name: String },
    /// List your apps.
    Apps,
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
    #[command(name = "config:set")]
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
    /// Run a command beside the replicas, with your terminal; its exit code is the verb's. One word with spaces is a
    /// line for the shell; a process type stands for its command; nothing is a shell.
    Run {
        #[command(flatten)]
        at: AtFlag,
        #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Run a command that goes on by itself; prints its id.
    #[command(name = "run:detached")]
    RunDetached {
        #[command(flatten)]
        at: AtFlag,
        #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    #[command(name = "run:list", about = "List what was run beside the replicas")]
    RunList(AtWord),
    /// Show what a detached or scheduled command writes; its exit code is the verb's.
    #[command(name = "run:logs")]
    RunLogs {
        #[command(flatten)]
        at: AtFlag,
        id: String,
        /// Go on until it ends.
        #[arg(short, long)]
        tail: bool,
    },
    #[command(name = "run:stop", about = "Ask a command to end")]
    RunStop {
        #[command(flatten)]
        at: AtFlag,
        id: String,
    },
    /// Run a command inside a running replica: web.1 unless its first word names another.
    #[command(name = "ps:exec")]
    PsExec {
        #[command(flatten)]
        at: AtFlag,
        #[arg(value_name = "[REPLICA] COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// List the schedules of an app.
    Cron(AtWord),
    /// Run a command again and again: cron:add '0 3 * * *' 'bin/tidy'.
    #[command(name = "cron:add")]
    CronAdd {
        #[command(flatten)]
        at: AtFlag,
        /// Its command by default.
        #[arg(long)]
        name: Option<String>,
        /// Such as Europe/Zurich; UTC by default.
        #[arg(long, value_name = "ZONE")]
        timezone: Option<String>,
        /// Minute, hour, day of the month, month, day of the week; or @daily and the like.
        schedule: String,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    #[command(name = "cron:remove", about = "Remove a schedule that was added by hand")]
    CronRemove {
        #[command(flatten)]
        at: AtFlag,
        name: String,
    },
    #[command(name = "cron:run", about = "Run a schedule's command now")]
    CronRun {
        #[command(flatten)]
        at: AtFlag,
        name: String,
    },
    #[command(name = "cron:runs", about = "List the runs of a schedule")]
    CronRuns {
        #[command(flatten)]
        at: AtFlag,
        name: String,
    },
    /// Show what an app writes, and what was written for it: by builds, deployments and the proxy.
    Logs {
        #[command(flatten)]
        at: AtWord,
        #[command(flatten)]
        words: LogWords,
    },
    /// Say why an app is as it is: the chain of causes, with evidence, and what to do.
    Why(AtWord),
    /// List where the lines of an app go as well, and how that goes.
    Drains(AppWord),
    /// Send the lines of an app elsewhere from now on.
    #[command(name = "drains:add")]
    DrainsAdd {
        #[command(flatten)]
        app: AppFlag,
        /// Only this environment; all by default.
        #[arg(short, long = "env", value_name = "ENVIRONMENT")]
        environment: Option<String>,
        /// syslog://HOST:PORT, syslog+tls://HOST, https://[USER:PASSWORD@]HOST/PATH
        url: String,
    },
    #[command(name = "drains:remove", about = "Stop sending lines to a drain")]
    DrainsRemove {
        #[command(flatten)]
        app: AppFlag,
        /// Id of the drain.
        drain: String,
    },
    /// List where the events of an app are posted.
    Webhooks(AppWord),
    /// Post the events of an app elsewhere from now on, signed.
    #[command(name = "webhooks:add")]
    WebhooksAdd {
        #[command(flatten)]
        app: AppFlag,
        /// Only this environment; all by default.
        #[arg(short, long = "env", value_name = "ENVIRONMENT")]
        environment: Option<String>,
        /// Only these kinds, such as deployment.failed or environment.*; all by default.
        #[arg(long, value_delimiter = ',', value_name = "KIND,…")]
        events: Vec<String>,
        /// https://[USER:PASSWORD@]HOST/PATH
        url: String,
    },
    #[command(name = "webhooks:remove", about = "Stop posting events to a webhook")]
    WebhooksRemove {
        #[command(flatten)]
        app: AppFlag,
        /// Id of the webhook.
        webhook: String,
    },
    #[command(name = "webhooks:deliveries", about = "List what was posted to a webhook, and what came of it")]
    WebhooksDeliveries {
        #[command(flatten)]
        app: AppFlag,
        /// Id of the webhook.
        webhook: String,
        /// How many, newest first.
        #[arg(short, long, default_value_t = 20)]
        number: i64,
    },
    #[command(name = "webhooks:replay", about = "Post an event again, or all that failed")]
    WebhooksReplay {
        #[command(flatten)]
        app: AppFlag,
        /// Id of the webhook.
        webhook: String,
        /// Id of the event.
        #[arg(required_unless_present = "failed", conflicts_with = "failed")]
        event: Option<String>,
        /// All that were given up.
        #[arg(long)]
        failed: bool,
    },
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
    /// Show all that a push printed, from line one; follow it while it is under way.
    #[command(name = "builds:output")]
    BuildsOutput {
        #[command(flatten)]
        app: AppFlag,
        /// Id of a build.
        #[arg(default_value = "latest")]
        build: String,
    },
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

/// The replica that the first word names, and the words after it.
pub(super) fn replica_first(words: &[String]) -> (&str, &[String]) {
    let names_one = |word: &str| {
        word.rsplit_once('.').is_some_and(|(process, ordinal)| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            !process.is_empty() && process.bytes().all(plain) && ordinal.parse::<u32>().is_ok()
        })
    };
    match words.split_first() {
        Some((first, rest)) if names_one(first) => (first, rest),
        _ => ("web.1", words),
    }
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
            _ => false,
        }
    }
}

/// Which lines of a log; all that is given must hold.
#[derive(Debug, Args)]
pub(super) struct LogWords {
    /// Go on with the lines to come.
    #[arg(short, long)]
    pub(super) tail: bool,
    /// Lines to start with.
    #[arg(short = 'n', long = "num", default_value_t = 100)]
    pub(super) lines: usize,
    /// Only this process type or replica: web, web.1.
    #[arg(short, long)]
    pub(super) process: Option<String>,
    /// Only app, build, deploy, proxy or system.
    #[arg(short, long)]
    pub(super) source: Option<String>,
    /// From a time on, or how long ago: 2026-01-31T12:00:00Z, 90s, 15m, 2h, 3d.
    #[arg(long, value_name = "WHEN")]
    pub(super) since: Option<String>,
    /// Before a time.
    #[arg(long, value_name = "WHEN")]
    pub(super) until: Option<String>,
    /// Only lines with this text in them.
    #[arg(long, value_name = "TEXT")]
    pub(super) grep: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct SeriesWords {
    /// From a time on, or how long ago: 15m, 2h, 3d.
    #[arg(long, value_name = "WHEN")]
    pub(super) since: Option<String>,
    /// Seconds of one line, a multiple of 60.
    #[arg(long)]
    pub(super) step: Option<i64>,
}

#[derive(Debug, Args)]
pub(super) struct ChecksSet {
    #[command(flatten)]
    pub(super) at: AtFlag,
    /// startup, readiness or liveness.
    pub(super) kind: String,
    #[arg(short, long, default_value = "web")]
    pub(super) process: String,
    /// Path that must answer, such as /healthz.
    #[arg(long)]
    pub(super) path: Option<String>,
    /// The status that it must answer with; without it, any below 500.
    #[arg(long)]
    pub(super) status: Option<u16>,
    /// It must accept connections on PORT.
    #[arg(long)]
    pub(super) tcp: bool,
    /// Command line that must exit with 0 inside the replica; no shell reads it.
    #[arg(long)]
    pub(super) command: Option<String>,
    /// Seconds that it must have run.
    #[arg(long, value_name = "SECONDS")]
    pub(super) uptime: Option<f64>,
    /// From 0.1 on [default: 5]
    #[arg(long, value_name = "SECONDS")]
    pub(super) every: Option<f64>,
    /// Longest wait for an answer [default: 5]
    #[arg(long, value_name = "SECONDS")]
    pub(super) timeout: Option<f64>,
    /// Failures in a row that count as one [default: 3]
    #[arg(long)]
    pub(super) attempts: Option<u32>,
    /// From the start of a replica to the first question [default: 0]
    #[arg(long, value_name = "SECONDS")]
    pub(super) delay: Option<f64>,
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// TOML file; each key can be given as HYTHE_<SECTION>_<KEY> as well.
    #[arg(long, env = "HYTHE_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Setup {
    /// The one-time token.
    #[arg(long, env = "HYTHE_SETUP_TOKEN", hide_env_values = true)]
    pub(super) token: String,
    /// Your user name: a-z, 0-9 and -.
    #[arg(long)]
    pub(super) name: String,
    #[arg(long)]
    pub(super) email: String,
    /// Your public SSH key.
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    /// Address of the server's API.
    #[arg(long)]
    pub(super) url: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Login {
    /// Address of the server's API.
    #[arg(long)]
    pub(super) url: Option<String>,
    /// An API token; without it, it is read from standard input.
    #[arg(long)]
    pub(super) token: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct KeysAdd {
    /// A .pub file, - for what is piped in, or the key itself. Without it: the first of ~/.ssh/id_ed25519.pub,
    /// id_ecdsa.pub, id_rsa.pub.
    #[arg(value_name = "FILE|KEY")]
    pub(super) words: Vec<String>,
    /// Name of the key; its comment by default.
    #[arg(long)]
    pub(super) name: Option<String>,
}

impl KeysAdd {
    /// The key, when it stands in the words.
    pub(super) fn key(&self) -> Option<String> {
        (self.words.iter().any(|word| word.starts_with("AAAA"))).then(|| self.words.join(" "))
    }

    pub(super) fn file(&self) -> Option<&str> {
        self.words.first().map(String::as_str).filter(|word| *word != "-" && self.key().is_none())
    }
}
