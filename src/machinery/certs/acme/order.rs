//! The walk of one order: made or taken up again, proven, finished, fetched. Whatever was reached by a life before is not
//! asked for twice.

use instant_acme::{
    AuthorizationStatus, ChallengeStatus, ChallengeType, Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};

use super::super::issuer::{Answer, Desk, Draft, IssueError, Wish};
use super::super::{Issued, keys, read};
use super::{Acme, Method, words};

pub(super) async fn walk(acme: &Acme, wanted: &Wish<'_>, desk: &dyn Desk) -> Result<Issued, IssueError> {
    if let Some(fault) = acme.means.fault(wanted.name) {
        return Err(IssueError::NoMethod(fault));
    }
    let mut draft = desk.draft().await.map_err(IssueError::Desk)?;
    let key = match draft.key.clone() {
        Some(key) => key,
        None => keys::fresh(acme.means.key)?,
    };
    draft.key = Some(key.clone());
    let mut order = take_up(acme, wanted, desk, draft).await?;
    if order.state().status == OrderStatus::Pending {
        prove(acme, wanted, desk, &mut order).await?;
    }
    if order.state().status == OrderStatus::Ready {
        let request = keys::request(wanted.name.as_str(), &key)?;
        order.finalize_csr(&request).await.map_err(|error| acme.told(error))?;
    }
    let chain = match order.state().status {
        OrderStatus::Valid => order.certificate().await.map_err(|error| acme.told(error))?,
        _ => Some(order.poll_certificate(&patience(acme)).await.map_err(|error| acme.told(error))?),
    };
    let chain = chain.ok_or_else(|| IssueError::Slow { host: acme.host.clone(), after: acme.heard.after() })?;
    let facts = read::read(&chain)?;
    Ok(Issued { chain, key, not_before: facts.not_before, not_after: facts.not_after })
}

/// The order of a life before, where it may be gone on with, or a new one.
async fn take_up(acme: &Acme, wanted: &Wish<'_>, desk: &dyn Desk, mut draft: Draft) -> Result<Order, IssueError> {
    if let Some(url) = &draft.url {
        match acme.account.order(url.clone()).await.map_err(|error| acme.told(error)) {
            Ok(mut order) => {
                if order.state().status != OrderStatus::Invalid {
                    return Ok(order);
                }
            }
            // An authority forgets old ones.
            Err(IssueError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let names = [Identifier::Dns(wanted.name.to_string())];
    // The key is kept before anybody knows of the order, and the order before anything is done for it.
    draft.url = None;
    desk.keep(&draft).await.map_err(IssueError::Desk)?;
    let made = acme.account.new_order(&NewOrder::new(&names)).await;
    let order = made.map_err(|error| acme.told(error))?;
    draft.url = Some(order.url().to_owned());
    desk.keep(&draft).await.map_err(IssueError::Desk)?;
    Ok(order)
}

/// Shows what the authority looks for until it has looked.
async fn prove(acme: &Acme, wanted: &Wish<'_>, desk: &dyn Desk, order: &mut Order) -> Result<(), IssueError> {
    let methods = acme.means.methods(wanted.name, wanted.attempts);
    // Taken down when the order is ready, or has failed.
    let mut shown: Vec<Box<dyn Send + Sync>> = Vec::new();
    let mut tried = Method::Http;
    let mut records = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(next) = authorizations.next().await {
        let mut authorization = next.map_err(|error| acme.told(error))?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let offered = |method: &&Method| authorization.challenges.iter().any(|one| one.r#type == kind(**method));
        let method = methods.iter().find(offered).copied().ok_or_else(|| {
            let offers: Vec<_> = methods.iter().map(|method| method.as_str()).collect();
            let text = format!("the authority {} offers none of {}", acme.host, offers.join(", "));
            IssueError::NoMethod(text)
        })?;
        tried = method;
        let Some(mut challenge) = authorization.challenge(kind(method)) else { continue };
        let proof = challenge.key_authorization();
        match method {
            Method::Http => {
                let answer = Answer::Http { token: challenge.token.clone(), text: proof.as_str().to_owned() };
                shown.push(desk.show(wanted.name, answer).map_err(IssueError::Desk)?);
            }
            Method::TlsAlpn => {
                let (chain, key) = keys::challenge(wanted.name.as_str(), proof.digest().as_ref())?;
                shown.push(desk.show(wanted.name, Answer::Tls { chain, key }).map_err(IssueError::Desk)?);
            }
            Method::Dns => {
                let record = format!("_acme-challenge.{}", wanted.name.bare());
                let dns = acme.means.dns.as_ref().ok_or_else(|| IssueError::NoMethod("no DNS is kept".into()))?;
                let text = proof.dns_value();
                let fault = |cause| IssueError::Dns { name: record.clone(), cause };
                dns.add(&record, &text, wanted.now).await.map_err(fault)?;
                records.push((record, text));
            }
        }
        // A life before may have said so already, and the authority be looking right now.
        if challenge.status == ChallengeStatus::Pending
            && let Err(error) = challenge.set_ready().await
        {
            withdraw(acme, wanted, records).await;
            return Err(match acme.told(error) {
                IssueError::Refused { detail, .. } => IssueError::Unproven { method: method.as_str(), detail },
                other => other,
            });
        }
    }
    let polled = order.poll_ready(&patience(acme)).await.map_err(|error| acme.told(error));
    withdraw(acme, wanted, records).await;
    drop(shown);
    match polled {
        Ok(OrderStatus::Ready) => Ok(()),
        Err(error @ (IssueError::Slow { .. } | IssueError::Unreachable { .. })) => Err(error),
        // What went wrong stands at the challenge.
        Ok(_) => Err(unproven(order, tried, None).await),
        Err(error) => Err(unproven(order, tried, Some(error)).await),
    }
}

async fn withdraw(acme: &Acme, wanted: &Wish<'_>, records: Vec<(String, String)>) {
    let Some(dns) = &acme.means.dns else { return };
    for (record, text) in records {
        if let Err(cause) = dns.remove(&record, &text, wanted.now).await {
            tracing::warn!(domain.name = record, cause, "a record of a challenge is left in the DNS");
        }
    }
}

async fn unproven(order: &mut Order, method: Method, known: Option<IssueError>) -> IssueError {
    let mut authorizations = order.authorizations();
    while let Some(next) = authorizations.next().await {
        let Ok(mut authorization) = next else { break };
        let Ok(state) = authorization.refresh().await else { break };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return IssueError::Unproven { method: method.as_str(), detail: words(problem) };
        }
    }
    known.unwrap_or_else(|| IssueError::Unproven {
        method: method.as_str(),
        detail: "the authority says no more".into(),
    })
}

fn kind(method: Method) -> ChallengeType {
    match method {
        Method::Http => ChallengeType::Http01,
        Method::TlsAlpn => ChallengeType::TlsAlpn01,
        Method::Dns => ChallengeType::Dns01,
    }
}

fn patience(acme: &Acme) -> RetryPolicy {
    RetryPolicy::new().initial_delay(acme.means.poll).backoff(1.5).timeout(acme.means.patience)
}
