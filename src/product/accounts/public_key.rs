//! One line of an `authorized_keys` or `.pub` file (OpenSSH, PROTOCOL and sshd(8)): type, base64 of
//! the wire blob (RFC 4253 §6.6), comment. Only what identifies the key is read; proving that its
//! private half is there is for the SSH edge.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use crate::base::error::{Error, Result};

const KINDS: [&str; 7] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];
const LEAST_RSA_BITS: usize = 2048;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// `SHA256:` and unpadded base64, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// Type and blob, without the comment.
    pub line: String,
    pub comment: String,
}

impl PublicKey {
    pub fn parse(text: &str) -> Result<Self> {
        let fault = |text: &str| Error::invalid("public_key", text);
        let text = text.trim();
        if text.contains("PRIVATE KEY") {
            return Err(fault("is a private key: keep it to yourself and give the file that ends in .pub"));
        }
        if text.len() > 16_384 || text.contains(['\n', '\r', '\0']) {
            return Err(fault("must be one line such as \"ssh-ed25519 AAAA… you@laptop\""));
        }
        let mut words = text.splitn(3, [' ', '\t']);
        let (kind, blob) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let comment = words.next().unwrap_or_default().trim().to_owned();
        if kind == "ssh-dss" {
            return Err(fault("is a DSA key, which is not safe any more; make one with: ssh-keygen -t ed25519"));
        }
        if !KINDS.contains(&kind) {
            return Err(fault("must start with a key type such as ssh-ed25519, followed by the key"));
        }
        let wire = STANDARD.decode(blob).map_err(|_| fault("is cut off or damaged: its second word is not base64"))?;
        let mut rest = wire.as_slice();
        if take(&mut rest) != Some(kind.as_bytes()) {
            return Err(fault("is damaged: the key inside is not of the type it says"));
        }
        check(kind, &mut rest).map_err(fault)?;
        let fingerprint = format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&wire)));
        Ok(Self { fingerprint, line: format!("{kind} {}", STANDARD.encode(&wire)), comment })
    }
}

/// The fields after the type, to the last byte.
fn check(kind: &str, rest: &mut &[u8]) -> std::result::Result<(), &'static str> {
    const DAMAGED: &str = "is cut off or damaged";
    let first = take(rest).ok_or(DAMAGED)?;
    match kind {
        "ssh-ed25519" | "sk-ssh-ed25519@openssh.com" if first.len() != 32 => return Err(DAMAGED),
        "ssh-rsa" => {
            let modulus = take(rest).ok_or(DAMAGED)?;
            let significant = modulus.iter().position(|b| *b != 0).map_or(&[][..], |at| &modulus[at..]);
            let bits = significant.len() * 8 - significant.first().map_or(0, |b| b.leading_zeros() as usize);
            if bits < LEAST_RSA_BITS {
                return Err("is an RSA key of fewer than 2048 bits; make one with: ssh-keygen -t ed25519");
            }
        }
        _ if kind.contains("ecdsa") => {
            let curve = kind.split("sha2-").nth(1).and_then(|c| c.split('@').next()).unwrap_or_default();
            let point = take(rest).ok_or(DAMAGED)?;
            if first != curve.as_bytes() || point.first() != Some(&4) {
                return Err(DAMAGED);
            }
        }
        _ => {}
    }
    // Security keys name their application last.
    if kind.starts_with("sk-") && take(rest).is_none() {
        return Err(DAMAGED);
    }
    if rest.is_empty() { Ok(()) } else { Err(DAMAGED) }
}

/// A string of RFC 4251 §5: four bytes of length, then that many bytes.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let (value, tail) = tail.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = tail;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF1oe7lSaMlIzRbfu0folvdFfZkiw5EUXqZtb2xzMchg ann@laptop";

    #[test]
    fn a_key_has_the_fingerprint_that_ssh_keygen_prints() {
        let key = PublicKey::parse(ED25519).expect("a good key");
        assert_eq!(key.fingerprint, "SHA256:7W5N+KFjAh+oPrT7MZDe2hcpHrdJbn4aWTpGuLXWQ60");
        assert_eq!(key.comment, "ann@laptop");
        assert!(!key.line.contains("ann"));
    }

    #[test]
    fn damaged_foreign_and_weak_keys_are_refused_with_a_reason() {
        let short_rsa = {
            let mut wire = Vec::new();
            for field in [&b"ssh-rsa"[..], &[1, 0, 1], &[0x7f; 128]] {
                wire.extend_from_slice(&u32::try_from(field.len()).expect("short").to_be_bytes());
                wire.extend_from_slice(field);
            }
            format!("ssh-rsa {}", STANDARD.encode(wire))
        };
        for (text, expected) in [
            ("", "must start with a key type"),
            ("$(id)", "must start with a key type"),
            ("ssh-ed25519", "damaged"),
            ("ssh-ed25519 AAAA", "damaged"),
            ("ssh-ed25519 !!!!", "not base64"),
            ("ssh-dss AAAAB3NzaC1kc3MAAACBA", "DSA"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn", "private key"),
            (&format!("{ED25519}\n{ED25519}"), "one line"),
            (&ED25519.replace("ssh-ed25519 ", "ssh-rsa "), "not of the type"),
            (&format!("ssh-ed25519 {}", &ED25519[12..72]), "damaged"),
            (&short_rsa, "fewer than 2048 bits"),
            (&"x".repeat(20_000), "one line"),
        ] {
            let error = PublicKey::parse(text).expect_err(text);
            assert!(error.public.contains(expected), "{text:?}: {}", error.public);
        }
    }
}
