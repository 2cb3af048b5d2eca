//! Where lines and events of an app go as well.

use clap::Subcommand;

use super::{AppFlag, AppWord};

#[derive(Debug, Subcommand)]
pub(in crate::edges::cli) enum OutletVerb {
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
}
