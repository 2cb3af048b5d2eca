//! What runs beside the replicas, and inside them.

use clap::Subcommand;

use super::{AtFlag, AtWord};

#[derive(Debug, Subcommand)]
pub(in crate::edges::cli) enum CommandVerb {
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
}

/// The replica that the first word names, and the words after it.
pub(in crate::edges::cli) fn replica_first(words: &[String]) -> (&str, &[String]) {
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
