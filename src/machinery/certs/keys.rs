//! Keys, requests for certificates (PKCS #10), and the certificate that TLS-ALPN-01 shows.

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, RsaKeySize};

use super::{CertError, Result};
use crate::base::secret::Secret;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    EcdsaP256,
    Rsa2048,
}

/// PEM.
pub(super) fn fresh(kind: KeyKind) -> Result<Secret<String>> {
    let made = match kind {
        KeyKind::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
    };
    Ok(Secret::new(made.map_err(CertError::Make)?.serialize_pem()))
}

/// DER, for the name and no subject: that could be too long, and nobody reads it.
pub(super) fn request(name: &str, key: &Secret<String>) -> Result<Vec<u8>> {
    let key = KeyPair::from_pem(key.reveal()).map_err(CertError::Open)?;
    let request = params(name)?.serialize_request(&key).map_err(CertError::Make)?;
    Ok(request.der().to_vec())
}

/// RFC 8737 §3: self-signed, with the digest of the key authorization. PEM.
pub(super) fn challenge(name: &str, digest: &[u8]) -> Result<(String, Secret<String>)> {
    let key = KeyPair::generate().map_err(CertError::Make)?;
    let mut params = params(name)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).map_err(CertError::Make)?;
    Ok((certificate.pem(), Secret::new(key.serialize_pem())))
}

fn params(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(CertError::Make)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_for_one_name_and_challenges_hold_the_digest_as_a_critical_extension() {
        for kind in [KeyKind::EcdsaP256, KeyKind::Rsa2048] {
            let key = fresh(kind).expect("a key");
            let request = request("*.shop.example.com", &key).expect("a request");
            assert!(request.windows(18).any(|w| w == b"*.shop.example.com"), "{kind:?}");
            assert!(!format!("{key:?}").contains("PRIVATE"));
        }
        let (chain, _) = challenge("shop.example.com", &[7; 32]).expect("made");
        let (_, pem) = x509_parser::pem::parse_x509_pem(chain.as_bytes()).expect("PEM");
        let certificate = pem.parse_x509().expect("a certificate");
        let found = certificate.extensions().iter().find(|e| e.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
        let found = found.expect("the extension");
        assert!(found.critical);
        assert_eq!(found.value, [&[4, 32][..], &[7; 32]].concat());
    }
}
