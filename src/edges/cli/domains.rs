//! Names of people's own, and certificates for them.

use std::path::Path;

use super::Session;
use super::args::{AtFlag, AtWord, DomainVerb};
use super::failure::{Failure, Result};
use super::text::time;
use crate::edges::api::types::{
    CertificateItem, DomainItem, EnvironmentChangeBody, EnvironmentView, NameItem, NewCertificateBody, NewDomainBody,
    OrderBody,
};

pub(super) async fn run(s: &mut Session, verb: DomainVerb) -> Result<()> {
    match verb {
        DomainVerb::Domains(at) => list(s, &at).await,
        DomainVerb::DomainsAdd { at, domain } => add(s, &at, domain).await,
        DomainVerb::DomainsVerify { at, domain } => verify(s, &at, &domain).await,
        DomainVerb::Certs(at) => certificates(s, &at).await,
        DomainVerb::CertsAdd { at, certificate, key } => add_certificate(s, &at, [&certificate, &key]).await,
        DomainVerb::CertsRemove { at, certificate } => remove_certificate(s, &at, &certificate).await,
        DomainVerb::CertsAuto { at, domain, off } => order(s, &at, domain, !off).await,
        DomainVerb::CertsInfo(at) => names(s, &at).await,
        DomainVerb::Https(at) => https(s, &at).await,
        DomainVerb::HttpsSet { at, redirect, hsts } => set_https(s, &at, redirect.as_deref(), hsts.as_deref()).await,
        DomainVerb::CertsAuthority => authority(s).await,
        DomainVerb::DomainsRemove { at, domain } => remove(s, &at, &domain).await,
    }
}

async fn list(s: &mut Session, at: &AtWord) -> Result<()> {
    let all = s.client.domains(&s.app_word(&at.app)?, &at.environment.environment).await?.items;
    if s.json {
        return Ok(s.io.json(&all).await?);
    }
    if all.is_empty() {
        return Ok(s.io.say("no domains; claim one with: hythe domains:add shop.example.com").await?);
    }
    let row = |d: &DomainItem| {
        let by = d.verified_by.clone().unwrap_or_default();
        vec![d.domain.clone(), d.state.clone(), by, d.verified_at.as_deref().map(time).unwrap_or_default()]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    s.print(&["DOMAIN", "STATE", "VERIFIED BY", "AT"], &rows).await
}

async fn add(s: &mut Session, at: &AtFlag, domain: String) -> Result<()> {
    let added =
        s.client.add_domain(&s.app_flag(&at.app)?, &at.environment.environment, &NewDomainBody { domain }).await?;
    if s.json {
        return Ok(s.io.json(&added).await?);
    }
    s.io.out(&format!("{}  {}", added.domain, added.state)).await?;
    for proof in &added.proofs {
        let what = if proof.method == "dns" { "TXT record" } else { "file      " };
        s.io.out(&format!("{what}  {}  {}", proof.place, proof.text)).await?;
    }
    s.io.say(&format!("Publish one of these, then: hythe domains:verify '{}'", added.domain)).await?;
    Ok(())
}

async fn verify(s: &mut Session, at: &AtFlag, domain: &str) -> Result<()> {
    let verified = s.client.verify_domain(&s.app_flag(&at.app)?, &at.environment.environment, domain).await?;
    if s.json {
        return Ok(s.io.json(&verified).await?);
    }
    Ok(s.io.out(&format!("{}  {}", verified.domain, verified.state)).await?)
}

async fn remove(s: &mut Session, at: &AtFlag, domain: &str) -> Result<()> {
    s.client.remove_domain(&s.app_flag(&at.app)?, &at.environment.environment, domain).await?;
    Ok(s.io.say("removed").await?)
}

async fn certificates(s: &mut Session, at: &AtWord) -> Result<()> {
    let all = s.client.certificates(&s.app_word(&at.app)?, &at.environment.environment).await?.items;
    if s.json {
        return Ok(s.io.json(&all).await?);
    }
    if all.is_empty() {
        return Ok(s.io.say("no certificates; upload one with: hythe certs:add CERTIFICATE KEY").await?);
    }
    let row = |c: &CertificateItem| {
        vec![c.id.clone(), c.names.join(" "), c.origin.clone(), time(&c.not_after), c.covers.join(" ")]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    s.print(&["ID", "NAMES", "ORIGIN", "UNTIL", "GOOD FOR"], &rows).await
}

async fn add_certificate(s: &mut Session, at: &AtFlag, files: [&Path; 2]) -> Result<()> {
    let [certificate, key] = files.map(text);
    let body = NewCertificateBody { certificate: certificate?, key: key? };
    let added = s.client.add_certificate(&s.app_flag(&at.app)?, &at.environment.environment, &body).await?;
    if s.json {
        return Ok(s.io.json(&added).await?);
    }
    Ok(s.io.out(&format!("{}  {}  until {}", added.id, added.covers.join(" "), time(&added.not_after))).await?)
}

async fn remove_certificate(s: &mut Session, at: &AtFlag, id: &str) -> Result<()> {
    s.client.remove_certificate(&s.app_flag(&at.app)?, &at.environment.environment, id).await?;
    Ok(s.io.say("removed").await?)
}

async fn order(s: &mut Session, at: &AtFlag, domain: Option<String>, ordered: bool) -> Result<()> {
    let body = OrderBody { ordered, domain };
    let all = s.client.order_certificates(&s.app_flag(&at.app)?, &at.environment.environment, &body).await?.items;
    say_names(s, &all).await
}

async fn names(s: &mut Session, at: &AtWord) -> Result<()> {
    let all = s.client.certificate_names(&s.app_word(&at.app)?, &at.environment.environment).await?.items;
    say_names(s, &all).await
}

async fn say_names(s: &mut Session, all: &[NameItem]) -> Result<()> {
    if s.json {
        return Ok(s.io.json(&all).await?);
    }
    for one in all {
        s.io.out(&format!("{}  {}", one.name, one.state)).await?;
        for line in told(one) {
            s.io.out(&format!("  {line}")).await?;
        }
    }
    Ok(())
}

fn told(one: &NameItem) -> Vec<String> {
    let mut lines = Vec::new();
    if let (Some(issuer), Some(until)) = (&one.issuer, &one.not_after) {
        let renewed = one.renews_at.as_deref().map_or_else(String::new, |at| format!(", made anew at {}", time(at)));
        lines.push(format!("certificate  of {issuer}, until {}{renewed}", time(until)));
    }
    if let Some(authority) = &one.authority {
        lines.push(format!("authority    {authority}"));
    }
    if let Some(reason) = &one.reason {
        lines.push(format!("reason       {reason}"));
    }
    if let (Some(failed), Some(next)) = (&one.failed_at, &one.next_at) {
        lines.push(format!("tries        {}, the last at {}, the next at {}", one.attempts, time(failed), time(next)));
    }
    lines
}

async fn https(s: &mut Session, at: &AtWord) -> Result<()> {
    let environment = s.client.environment(&s.app_word(&at.app)?, &at.environment.environment).await?;
    say_https(s, &environment).await
}

async fn set_https(s: &mut Session, at: &AtFlag, redirect: Option<&str>, hsts: Option<&str>) -> Result<()> {
    if redirect.is_none() && hsts.is_none() {
        return Err(Failure::usage("nothing to set: give --redirect or --hsts"));
    }
    let seconds = |text: &str| match text {
        "none" => Ok(None),
        text => text.parse().map(Some).map_err(|_| Failure::usage("--hsts takes a number of seconds, or none")),
    };
    let body = EnvironmentChangeBody {
        redirect: redirect.map(|word| Some(word == "on").filter(|_| word != "auto")),
        hsts_seconds: hsts.map(seconds).transpose()?,
        ..Default::default()
    };
    let app = s.app_flag(&at.app)?;
    let environment = s.client.change_environment(&app, &at.environment.environment, &body).await?;
    say_https(s, &environment).await
}

async fn say_https(s: &mut Session, environment: &EnvironmentView) -> Result<()> {
    if s.json {
        return Ok(s.io.json(environment).await?);
    }
    let redirect = match environment.redirect {
        None => "auto (where a certificate answers that clients trust)",
        Some(true) => "on",
        Some(false) => "off",
    };
    let hsts = environment.hsts_seconds.map_or_else(|| "none".to_owned(), |seconds| format!("{seconds} s"));
    s.io.out(&format!("redirect  {redirect}")).await?;
    s.io.out(&format!("hsts      {hsts}")).await?;
    Ok(())
}

async fn authority(s: &mut Session) -> Result<()> {
    let authority = s.client.authority().await?;
    if s.json {
        return Ok(s.io.json(&authority).await?);
    }
    Ok(s.io.out(authority.certificate.trim_end()).await?)
}

fn text(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|error| Failure::new(format!("{} cannot be read: {error}", file.display())))
}
