//! What a certificate says of itself, and whether it can serve.

use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::X509Certificate;

use super::{CertError, Result};
use crate::base::clock::Timestamp;
use crate::base::model::DomainName;

/// Chains of the web have two to four.
const MOST_LINKS: usize = 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Those among its alternative names that are names of hosts.
    pub names: Vec<DomainName>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub issuer: String,
}

/// Of the first certificate of a chain, whatever its time.
pub fn read(chain: &str) -> Result<Facts> {
    let all = pems(chain)?;
    let first = all.first().ok_or_else(|| unfit("is no PEM text: it begins with -----BEGIN CERTIFICATE-----"))?;
    facts(&parsed(first, 1)?)
}

/// Of the first certificate of a chain: of one that is good at `now` and whose chain holds together.
pub fn judge(chain: &str, now: Timestamp) -> Result<Facts> {
    let facts = read(chain)?;
    let all = pems(chain)?;
    let links = all.iter().enumerate().map(|(at, pem)| parsed(pem, at + 1)).collect::<Result<Vec<_>>>()?;
    if links.len() > MOST_LINKS {
        return Err(unfit(format!("has a chain of more than {MOST_LINKS}")));
    }
    if links[0].is_ca() {
        return Err(unfit("is that of an authority: begin with the one of the key"));
    }
    for (at, pair) in links.windows(2).enumerate() {
        let (one, next) = (&pair[0], &pair[1]);
        let place = at + 1;
        if one.issuer().as_raw() != next.subject().as_raw() {
            return Err(unfit(format!(
                "has a chain that breaks off: number {place} is signed by \"{}\", and number {} is \"{}\"",
                one.issuer(),
                place + 1,
                next.subject()
            )));
        }
        if !next.is_ca() || one.verify_signature(Some(next.public_key())).is_err() {
            return Err(unfit(format!(
                "has a chain that does not hold: number {} did not sign number {place}",
                place + 1
            )));
        }
    }
    for (at, link) in links.iter().enumerate() {
        let (from, to) = period(link);
        if to <= now {
            return Err(unfit(format!("is no longer good: number {} of the chain expired at {to}", at + 1)));
        }
        if from > now {
            return Err(unfit(format!("is not good yet: number {} of the chain begins at {from}", at + 1)));
        }
    }
    if facts.names.is_empty() {
        return Err(unfit("names no host among its alternative names"));
    }
    Ok(facts)
}

fn pems(chain: &str) -> Result<Vec<Pem>> {
    let all: std::result::Result<Vec<_>, _> = Pem::iter_from_buffer(chain.as_bytes()).collect();
    let all = all.map_err(|_| unfit("is no PEM text: it begins with -----BEGIN CERTIFICATE-----"))?;
    if all.iter().any(|pem| pem.label.contains("PRIVATE KEY")) {
        return Err(unfit("has a private key beside it: give that on its own"));
    }
    Ok(all.into_iter().filter(|pem| pem.label == "CERTIFICATE").collect())
}

fn parsed(pem: &Pem, number: usize) -> Result<X509Certificate<'_>> {
    pem.parse_x509().map_err(|_| unfit(format!("cannot be read: number {number} of the chain is damaged")))
}

fn facts(certificate: &X509Certificate<'_>) -> Result<Facts> {
    let alternative = certificate.subject_alternative_name().map_err(|_| unfit("has damaged alternative names"))?;
    let names = alternative.iter().flat_map(|extension| &extension.value.general_names);
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(text) => text.to_ascii_lowercase().parse().ok(),
        _ => None,
    };
    let (not_before, not_after) = period(certificate);
    Ok(Facts {
        names: names.filter_map(host).collect(),
        not_before,
        not_after,
        issuer: certificate.issuer().to_string(),
    })
}

fn period(certificate: &X509Certificate<'_>) -> (Timestamp, Timestamp) {
    let validity = certificate.validity();
    let at = |seconds: i64| Timestamp(seconds.saturating_mul(1000));
    (at(validity.not_before.timestamp()), at(validity.not_after.timestamp()))
}

fn unfit(text: impl Into<String>) -> CertError {
    CertError::Unfit(text.into())
}

#[cfg(test)]
mod tests {
    use super::super::{Authority, Issued};
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const DAY: i64 = 86_400_000;

    fn authority(called: &str) -> (Issued, Authority) {
        let made = Authority::make(called, NOW).expect("made");
        let open = Authority::open(&made.chain, &made.key).expect("opened");
        (made, open)
    }

    fn said(chain: &str, now: Timestamp) -> String {
        judge(chain, now).expect_err("unfit").to_string()
    }

    #[test]
    fn what_the_authority_signs_is_fit_for_its_name_and_time() {
        let (_, authority) = authority("Test");
        let issued = authority.issue("*.shop.example.com", NOW).expect("issued");
        let facts = judge(&issued.chain, NOW).expect("fit");
        let name = |text: &str| text.parse::<DomainName>().expect("a name");
        assert_eq!(facts.names, [name("*.shop.example.com")]);
        assert_eq!((facts.not_before, facts.not_after), (issued.not_before, issued.not_after));
        assert!(said(&issued.chain, issued.not_after).contains("expired"));
        assert!(said(&issued.chain, NOW.plus_millis(-3 * DAY)).contains("begins at"));
        assert!(!format!("{:?}", issued.key).contains("PRIVATE"));
    }

    #[test]
    fn what_cannot_serve_is_told_apart() {
        let ((made, one), (other, _)) = (authority("One"), authority("One"));
        let issued = one.issue("shop.example.com", NOW).expect("issued");
        let leaf = issued.chain.split_inclusive("-----END CERTIFICATE-----\n").next().expect("one").to_owned();
        assert!(judge(&leaf, NOW).is_ok(), "the chain may end anywhere");
        assert!(said(&format!("{leaf}{}", other.chain), NOW).contains("number 2 did not sign number 1"));
        assert!(said(&format!("{leaf}{leaf}"), NOW).contains("breaks off"));
        assert!(said(&made.chain, NOW).contains("that of an authority"));
        assert!(said(&format!("{leaf}{}", issued.key.reveal()), NOW).contains("private key beside it"));
        for text in
            ["", "-----BEGIN CERTIFICATE-----", "$(id)", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"]
        {
            assert!(said(text, NOW).contains("PEM") || said(text, NOW).contains("read"), "{text}: {}", said(text, NOW));
        }
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(said(damaged, NOW).contains("damaged"));
    }
}
