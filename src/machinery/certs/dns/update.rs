//! Dynamic updates (RFC 2136) over TCP, signed by TSIG with HMAC-SHA256 (RFC 8945). The server's own signature is not
//! looked at: whether the record is there is for the authority to see.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::DnsChanger;
use crate::base::clock::Timestamp;
use crate::base::secret::Secret;

const WHOLE: Duration = Duration::from_secs(15);
const TTL_SECONDS: u32 = 30;
/// By so much the two clocks may differ.
const FUDGE_SECONDS: u16 = 300;
const ALGORITHM: &str = "hmac-sha256";

const SOA: u16 = 6;
const TXT: u16 = 16;
const TSIG: u16 = 250;
const IN: u16 = 1;
const NONE: u16 = 254;
const ANY: u16 = 255;

/// One zone and the server that takes updates of it.
pub struct Updates {
    server: SocketAddr,
    zone: String,
    key_name: String,
    key: Secret<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Add,
    Remove,
}

impl Updates {
    /// `key` in base64; None: it is not.
    pub fn new(server: SocketAddr, zone: &str, key_name: &str, key: &Secret<String>) -> Option<Self> {
        let key = Secret::new(BASE64_STANDARD.decode(key.reveal().trim()).ok()?);
        let key_name = key_name.trim_end_matches('.').to_ascii_lowercase();
        Some(Self { server, zone: zone.to_owned(), key_name, key })
    }

    async fn send(&self, change: Change, record: &str, text: &str, now: Timestamp) -> Result<(), String> {
        let id = u16::try_from(now.0.rem_euclid(65_536)).unwrap_or_default();
        let message = self.message(id, change, record, text, now).ok_or_else(|| "the name is too long".to_owned())?;
        let asked = tokio::time::timeout(WHOLE, exchange(self.server, &message)).await;
        let answer = asked.map_err(|_| format!("{} does not answer", self.server))?;
        let answer = answer.map_err(|error| format!("{}: {error}", self.server))?;
        judge(id, &answer).map_err(|fault| format!("{} {fault}", self.server))
    }

    fn message(&self, id: u16, change: Change, record: &str, text: &str, now: Timestamp) -> Option<Vec<u8>> {
        let mut message = id.to_be_bytes().to_vec();
        // Operation 5, update; one zone, no prerequisite, one change, nothing further as yet.
        message.extend([0x28, 0, 0, 1, 0, 0, 0, 1, 0, 0]);
        message.extend(wire(&self.zone)?);
        message.extend(words(&[SOA, IN]));
        message.extend(wire(record)?);
        let (class, ttl) = if change == Change::Add { (IN, TTL_SECONDS) } else { (NONE, 0) };
        message.extend(words(&[TXT, class]));
        message.extend(ttl.to_be_bytes());
        let length = u8::try_from(text.len()).ok()?;
        message.extend(words(&[u16::from(length) + 1]));
        message.push(length);
        message.extend(text.as_bytes());
        self.sign(&mut message, id, now)?;
        Some(message)
    }

    fn sign(&self, message: &mut Vec<u8>, id: u16, now: Timestamp) -> Option<()> {
        let (name, algorithm) = (wire(&self.key_name)?, wire(ALGORITHM)?);
        // 48 bits.
        let signed = (now.0 / 1000).to_be_bytes()[2..].to_vec();
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.reveal()).ok()?;
        mac.update(message);
        for part in [&name, &words(&[ANY]), &vec![0; 4], &algorithm, &signed, &words(&[FUDGE_SECONDS, 0, 0])] {
            mac.update(part);
        }
        let mac = mac.finalize().into_bytes();
        let length = u16::try_from(mac.len()).ok()?;
        let data = [&algorithm[..], &signed, &words(&[FUDGE_SECONDS, length]), &mac, &words(&[id, 0, 0])].concat();
        message.extend(name);
        message.extend(words(&[TSIG, ANY, 0, 0, u16::try_from(data.len()).ok()?]));
        message.extend(data);
        // One further record.
        message[11] = 1;
        Some(())
    }
}

#[async_trait]
impl DnsChanger for Updates {
    fn keeps(&self, name: &str) -> bool {
        name.strip_suffix(self.zone.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    async fn add(&self, record: &str, text: &str, now: Timestamp) -> Result<(), String> {
        self.send(Change::Add, record, text, now).await
    }

    async fn remove(&self, record: &str, text: &str, now: Timestamp) -> Result<(), String> {
        self.send(Change::Remove, record, text, now).await
    }
}

async fn exchange(server: SocketAddr, message: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(message.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// RFC 2136 §2.2, RFC 8945 §3.
fn judge(id: u16, answer: &[u8]) -> Result<(), String> {
    let is_ours = answer.len() >= 12 && answer[..2] == id.to_be_bytes() && answer[2] & 0xf8 == 0xa8;
    if !is_ours {
        return Err("sends what is no answer to an update".into());
    }
    Err(match answer[3] & 0x0f {
        0 => return Ok(()),
        1 => "does not understand the update (FORMERR)".into(),
        2 => "has a fault of its own (SERVFAIL)".into(),
        4 => "takes no updates (NOTIMP)".into(),
        5 => "refuses the update (REFUSED): this key may not change the record".into(),
        9 => "does not take the key, or has no such zone (NOTAUTH); the clocks may differ too".into(),
        10 => "does not find the record in the zone (NOTZONE)".into(),
        code => format!("answers with code {code}"),
    })
}

/// None: no name of the DNS.
fn wire(name: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        out.push(length);
        out.extend(label.to_ascii_lowercase().as_bytes());
    }
    out.push(0);
    (out.len() <= 255).then_some(out)
}

fn words(all: &[u16]) -> Vec<u8> {
    all.iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updates() -> Updates {
        let key = Secret::new("AAECAwQFBgc=".to_owned());
        Updates::new(([127, 0, 0, 1], 53).into(), "apps.example", "Hythe.", &key).expect("a key")
    }

    #[test]
    fn a_zone_keeps_itself_and_all_below() {
        for (name, keeps) in
            [("apps.example", true), ("a.b.apps.example", true), ("myapps.example", false), ("example", false)]
        {
            assert_eq!(updates().keeps(name), keeps, "{name}");
        }
        let no = Updates::new(([127, 0, 0, 1], 53).into(), "a.example", "k", &Secret::new("not base64!".into()));
        assert!(no.is_none());
    }

    #[test]
    fn an_update_has_the_shape_of_the_standard_and_its_signature_is_of_all_of_it() {
        let now = Timestamp(1_800_000_000_000);
        let of = |change, text: &str| updates().message(7, change, "_acme-challenge.apps.example", text, now);
        let add = of(Change::Add, "abc").expect("a message");
        assert_eq!(add[..12], [0, 7, 0x28, 0, 0, 1, 0, 0, 0, 1, 0, 1]);
        assert_eq!(add[12..30], [&wire("apps.example").expect("a name")[..], &[0, 6, 0, 1]].concat()[..]);
        let record = [&wire("_acme-challenge.apps.example").expect("a name")[..], &[0, 16, 0, 1, 0, 0, 0, 30, 0, 4, 3]];
        assert!(add[30..].starts_with(&record.concat()));
        let (remove, other) = (of(Change::Remove, "abc").expect("a message"), of(Change::Add, "abd").expect("one"));
        let mac = |message: &[u8]| message[message.len() - 38..message.len() - 6].to_vec();
        assert!(mac(&add) != mac(&remove) && mac(&add) != mac(&other));
        assert!(of(Change::Add, &"x".repeat(256)).is_none());
        assert!(updates().message(7, Change::Add, &"x".repeat(64), "a", now).is_none());
    }

    #[test]
    fn an_answer_is_of_the_same_id_and_its_code_is_told_in_words() {
        let answer = |code: u8| [0, 7, 0xa8, code, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(judge(7, &answer(0)), Ok(()));
        assert!(judge(8, &answer(0)).is_err() && judge(7, &[]).is_err());
        assert!(judge(7, &answer(5)).expect_err("refused").contains("REFUSED"));
        assert!(judge(7, &answer(9)).expect_err("refused").contains("NOTAUTH"));
    }
}
