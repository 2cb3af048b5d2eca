//! Whether whoever claims a domain has it: it can publish a text in the DNS of the name, or on the web server that the
//! name leads to now. The platform itself never serves that file, so a name that merely leads here proves nothing.

use tokio::sync::Semaphore;

use crate::base::config::Config;
use crate::base::model::{Domain, DomainName, ProofMethod};
use crate::machinery::outbound::{Dns, Fetcher, Guard, OutboundError};

/// Path of the file; it holds the text in a line of its own.
const FILE: &str = "/.well-known/hythe-verification";
const MOST_BYTES: usize = 4096;
/// Questions under way, of all who ask.
static ASKING: Semaphore = Semaphore::const_new(16);

/// What the owner publishes.
pub(crate) fn text(domain: &Domain) -> String {
    format!("hythe-verification={}", domain.token)
}

/// What was looked for and not found, in words, where neither way proves it.
pub(crate) async fn prove(config: &Config, domain: &Domain) -> Result<ProofMethod, String> {
    let _turn = ASKING.acquire().await;
    let by_dns = match by_dns(config, domain).await {
        Ok(()) => return Ok(ProofMethod::Dns),
        Err(found) => found,
    };
    if domain.name.below().is_some() {
        return Err(by_dns);
    }
    match by_http(config, domain).await {
        Ok(()) => Ok(ProofMethod::Http),
        Err(found) => Err(format!("{by_dns}; {found}")),
    }
}

async fn by_dns(config: &Config, domain: &Domain) -> Result<(), String> {
    let name = domain.name.proof_name();
    let asked = async { Dns::new(config.domains.resolver)?.texts(&name).await };
    let texts = asked.await.map_err(|error: OutboundError| {
        tracing::debug!(domain.id = %domain.id, %error, "the DNS of a domain does not answer");
        format!("the DNS of {name} does not answer")
    })?;
    let wanted = text(domain);
    if texts.iter().any(|found| found.trim_ascii() == wanted.as_bytes()) {
        return Ok(());
    }
    match texts.len() {
        0 => Err(format!("{name} has no TXT record")),
        1 => Err(format!("the TXT record of {name} is another text")),
        count => Err(format!("none of the {count} TXT records of {name} is that text")),
    }
}

async fn by_http(config: &Config, domain: &Domain) -> Result<(), String> {
    let url = file_url(config, &domain.name);
    let guard = Guard { private: config.outbound.private };
    let asked = async { Fetcher::asking(guard, config.domains.resolver)?.text(&url, MOST_BYTES).await };
    let answer = asked.await.map_err(|error: OutboundError| match error {
        OutboundError::Answer { status, .. } => format!("{url} answered {status}"),
        OutboundError::Refused { .. } => error.to_string(),
        _ => {
            tracing::debug!(domain.id = %domain.id, %error, "the web server of a domain does not answer");
            format!("{url} cannot be fetched")
        }
    })?;
    if answer.host != domain.name.as_str() {
        return Err(format!("{url} leads to another host, which proves nothing"));
    }
    match answer.text.lines().any(|line| line.trim() == text(domain)) {
        true => Ok(()),
        false => Err(format!("{url} holds another text")),
    }
}

pub(crate) fn file_url(config: &Config, name: &DomainName) -> String {
    match config.domains.check_port {
        80 => format!("http://{name}{FILE}"),
        port => format!("http://{name}:{port}{FILE}"),
    }
}
