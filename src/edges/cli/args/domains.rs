//! Names of people's own, and certificates for them.

use std::path::PathBuf;

use clap::Subcommand;

use super::{AtFlag, AtWord};

#[derive(Debug, Subcommand)]
pub(in crate::edges::cli) enum DomainVerb {
    /// List the domains of an environment.
    Domains(AtWord),
    #[command(name = "domains:add", about = "Claim a domain, and print what to publish to verify it")]
    DomainsAdd {
        #[command(flatten)]
        at: AtFlag,
        /// shop.example.com, or '*.shop.example.com' for all one label below it
        domain: String,
    },
    #[command(name = "domains:verify", about = "Look for the proof of a domain, and send its requests to the app")]
    DomainsVerify {
        #[command(flatten)]
        at: AtFlag,
        domain: String,
    },
    #[command(name = "domains:remove", about = "Give a domain up: its requests do not come here any more")]
    DomainsRemove {
        #[command(flatten)]
        at: AtFlag,
        domain: String,
    },
    /// List the certificates of an environment.
    Certs(AtWord),
    #[command(
        name = "certs:add",
        about = "Upload a certificate and its key; it answers at once for the names it covers"
    )]
    CertsAdd {
        #[command(flatten)]
        at: AtFlag,
        /// File with the certificate and its chain, PEM.
        certificate: PathBuf,
        /// File with its private key, PEM.
        key: PathBuf,
    },
    #[command(name = "certs:remove", about = "Remove a certificate")]
    CertsRemove {
        #[command(flatten)]
        at: AtFlag,
        /// Id of the certificate.
        certificate: String,
    },
    #[command(
        name = "certs:auto",
        about = "Have certificates ordered for a domain, or for all names of an environment, and try at once"
    )]
    CertsAuto {
        #[command(flatten)]
        at: AtFlag,
        /// All names of the environment when it is left out.
        domain: Option<String>,
        /// Order none from now on.
        #[arg(long)]
        off: bool,
    },
    #[command(name = "certs:info", about = "Show each name of an environment with its certificate, or why it has none")]
    CertsInfo(AtWord),
    #[command(name = "https", about = "Show what plain HTTP gets, and what clients are told over TLS")]
    Https(AtWord),
    #[command(
        name = "https:set",
        about = "Set whether plain HTTP is sent on to HTTPS, and for how long clients remember it"
    )]
    HttpsSet {
        #[command(flatten)]
        at: AtFlag,
        /// on, off, or auto (on where a certificate answers that clients trust)
        #[arg(long, value_parser = ["on", "off", "auto"])]
        redirect: Option<String>,
        /// Seconds of Strict-Transport-Security; 0 takes it back at clients that were told; `none`: not sent
        #[arg(long, value_name = "SECONDS")]
        hsts: Option<String>,
    },
    #[command(name = "certs:authority", about = "Print the certificate of the server's own authority, to trust it")]
    CertsAuthority,
}
