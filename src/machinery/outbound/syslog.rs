//! Syslog: RFC 5424 messages, each counted (RFC 6587 §3.4.1, RFC 5425 §4.3), on TCP or inside TLS.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{CONNECT, Guard, OutboundError, Parcel, Result, SEND};
use crate::base::model::{OutboundUrl, Scheme};

/// Facility local0 (16); severities error and informational.
const ERROR: u8 = 16 * 8 + 3;
const INFORMATIONAL: u8 = 16 * 8 + 6;

pub struct Connection {
    host: String,
    stream: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Connection {
    pub(super) async fn open(url: &OutboundUrl, guard: Guard) -> Result<Self> {
        let (host, port) = (url.host.clone(), url.port);
        let address = guard.resolve(&host, port).await?;
        let failed = |source| OutboundError::Connect { host: host.clone(), port, source };
        let stream = timeout(CONNECT, TcpStream::connect(address)).await.map_err(|e| failed(e.into()))?;
        let stream = stream.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let stream: Box<dyn AsyncWrite + Send + Unpin> = match url.scheme {
            Scheme::SyslogTls => Box::new(encrypted(&host, stream).await?),
            _ => Box::new(stream),
        };
        Ok(Self { host, stream })
    }

    pub(super) async fn send(&mut self, parcels: &[Parcel]) -> Result<()> {
        let mut frames = Vec::new();
        parcels.iter().for_each(|parcel| frame(parcel, &mut frames));
        let sent = async {
            self.stream.write_all(&frames).await?;
            self.stream.flush().await
        };
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| OutboundError::Send { host: self.host.clone(), source };
        timeout(SEND, sent).await.map_err(|e| failed(e.into()))?.map_err(|e| failed(e.into()))
    }
}

async fn encrypted(host: &str, stream: TcpStream) -> Result<impl AsyncWrite + Send + Unpin + use<>> {
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| OutboundError::Tls { host: host.to_owned(), source };
    let config = ClientConfig::builder().with_platform_verifier().map_err(|e| failed(e.into()))?.with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|e| failed(e.into()))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream);
    timeout(CONNECT, connected).await.map_err(|e| failed(e.into()))?.map_err(|e| failed(e.into()))
}

/// `LENGTH <PRI>1 TIME HOST APP PROCESS - - TEXT`: the host is the app, the app the source, the process the replica.
fn frame(parcel: &Parcel, out: &mut Vec<u8>) {
    let priority = if parcel.error { ERROR } else { INFORMATIONAL };
    let host = format!("{}.{}", parcel.app, parcel.environment);
    let message = format!(
        "<{priority}>1 {} {} {} {} - - {}",
        parcel.at,
        word(&host, 255),
        word(parcel.source, 48),
        word(&parcel.name, 128),
        parcel.text
    );
    out.extend_from_slice(format!("{} ", message.len()).as_bytes());
    out.extend_from_slice(message.as_bytes());
}

/// PRINTUSASCII of at most so many characters; `-` for nothing.
fn word(text: &str, longest: usize) -> String {
    let word: String = text.chars().filter(char::is_ascii_graphic).take(longest).collect();
    if word.is_empty() { "-".into() } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;

    #[test]
    fn a_frame_counts_its_bytes() {
        let parcel = Parcel {
            at: Timestamp(1_500),
            app: "shop".into(),
            environment: "production".into(),
            source: "app",
            name: "web.1".into(),
            error: true,
            text: "grüße 1 <2".into(),
        };
        let mut frames = Vec::new();
        frame(&parcel, &mut frames);
        frame(&Parcel { error: false, name: "w b".into(), ..parcel }, &mut frames);
        let first = "<131>1 1970-01-01T00:00:01.500Z shop.production app web.1 - - grüße 1 <2";
        let second = "<134>1 1970-01-01T00:00:01.500Z shop.production app wb - - grüße 1 <2";
        let expected = format!("{} {first}{} {second}", first.len(), second.len());
        assert_eq!(String::from_utf8(frames).expect("text"), expected);
    }
}
