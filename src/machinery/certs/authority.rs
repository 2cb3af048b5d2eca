//! An authority of the platform's own, for development: its certificate is made once and trusted by hand, and it signs
//! one for each host.

use async_trait::async_trait;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use super::issuer::{Desk, IssueError, Issuer as Signs, Wish};
use super::{CertError, Issued, Result};
use crate::base::clock::Timestamp;
use crate::base::secret::Secret;

const DAY_MILLIS: i64 = 86_400_000;
const AUTHORITY_DAYS: i64 = 3650;
/// Browsers refuse server certificates that are good for longer than 398 days.
const HOST_DAYS: i64 = 90;

pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one; `called` is what people see in the lists of their machines.
    pub fn make(called: &str, now: Timestamp) -> Result<Issued> {
        let key = KeyPair::generate().map_err(CertError::Make)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, called);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let (not_before, not_after) = period(&mut params, now, AUTHORITY_DAYS);
        let certificate = params.self_signed(&key).map_err(CertError::Make)?;
        Ok(Issued { chain: certificate.pem(), key: Secret::new(key.serialize_pem()), not_before, not_after })
    }

    pub fn open(certificate: &str, key: &Secret<String>) -> Result<Self> {
        let key = KeyPair::from_pem(key.reveal()).map_err(CertError::Open)?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key).map_err(CertError::Open)?;
        Ok(Self { certificate: certificate.to_owned(), issuer })
    }

    /// For a host, or `*.` and one.
    pub fn issue(&self, name: &str, now: Timestamp) -> Result<Issued> {
        let key = KeyPair::generate().map_err(CertError::Make)?;
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(CertError::Make)?;
        // The name is among the alternative ones; here it could be too long (64 characters).
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (not_before, not_after) = period(&mut params, now, HOST_DAYS);
        let certificate = params.signed_by(&key, &self.issuer).map_err(CertError::Make)?;
        let chain = format!("{}{}", certificate.pem(), self.certificate);
        Ok(Issued { chain, key: Secret::new(key.serialize_pem()), not_before, not_after })
    }
}

#[async_trait]
impl Signs for Authority {
    async fn issue(&self, wanted: &Wish<'_>, _: &dyn Desk) -> Result<Issued, IssueError> {
        Ok(Self::issue(self, wanted.name.as_str(), wanted.now)?)
    }
}

/// Whole days in UTC, from the one before `now`: clocks differ.
fn period(params: &mut CertificateParams, now: Timestamp, days: i64) -> (Timestamp, Timestamp) {
    let first = Timestamp((now.0.div_euclid(DAY_MILLIS) - 1) * DAY_MILLIS);
    let last = first.plus_millis((days + 1) * DAY_MILLIS);
    let date = |at: Timestamp| {
        let day = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC).date();
        date_time_ymd(day.year().into(), day.month().unsigned_abs(), day.day().unsigned_abs())
    };
    (params.not_before, params.not_after) = (date(first), date(last));
    (first, last)
}
