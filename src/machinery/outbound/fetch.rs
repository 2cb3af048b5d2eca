//! A client for fetches on a user's behalf. Every name is judged by where it leads, at each connection, and what was judged
//! is what is connected to; addresses as they stand are judged as well; redirects again; waits are bounded. How much is
//! read, and how long all of it may take, is for whoever reads.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use super::{CONNECT, Guard, OutboundError, Result};

/// For the next bytes of an answer.
const SILENCE: Duration = Duration::from_secs(30);
const MOST_REDIRECTS: usize = 5;

/// Cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    client: Client,
    guard: Guard,
}

impl Fetcher {
    pub fn new(guard: Guard) -> Result<Self> {
        let redirects = Policy::custom(move |attempt| {
            let from_tls = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
            if attempt.previous().len() > MOST_REDIRECTS {
                attempt.error("it redirects too often")
            } else if let Err(error) = allowed(guard, attempt.url()) {
                attempt.error(error)
            } else if from_tls && attempt.url().scheme() != "https" {
                attempt.error("it redirects from https to http")
            } else {
                attempt.follow()
            }
        });
        let client = Client::builder()
            .user_agent(concat!("hythe/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(std::sync::Arc::new(Names(guard)))
            .redirect(redirects)
            // A proxy would look names up anew.
            .no_proxy()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .build()
            .map_err(|error| OutboundError::Send { host: "any host".into(), source: error.into() })?;
        Ok(Self { client, guard })
    }

    /// For requests to addresses that `check` has let through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// An address that stands for itself is never looked up: it is judged here.
    pub fn check(&self, url: &Url) -> Result<()> {
        allowed(self.guard, url)
    }
}

fn allowed(guard: Guard, url: &Url) -> Result<()> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    if !matches!(url.scheme(), "http" | "https") || host.is_empty() {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "only http and https lead to hosts");
        return Err(OutboundError::Unresolved { host, source });
    }
    match host.parse::<IpAddr>() {
        Ok(address) if !guard.allows(address) => Err(OutboundError::Refused { host, address }),
        _ => Ok(()),
    }
}

struct Names(Guard);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0;
        Box::pin(async move {
            // The port is the request's; this one is not used.
            let address = guard.resolve(name.as_str(), 0).await?;
            Ok(Box::new(std::iter::once(SocketAddr::new(address.ip(), 0))) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn answering(head: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let _serving = tokio_util::task::TaskTracker::new().spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(head.as_bytes()).await;
            }
        });
        port
    }

    fn chain(error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            text = format!("{text}: {cause}");
            next = cause.source();
        }
        text
    }

    #[tokio::test]
    async fn a_name_and_a_redirect_are_judged_by_where_they_lead() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let port =
            answering("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/x\r\nContent-Length: 0\r\n\r\n").await;
        let strict = Fetcher::new(Guard::default()).unwrap();
        let said = strict.client().get(format!("http://localhost:{port}/")).send().await.unwrap_err();
        assert!(chain(&said).contains("public internet"), "{}", chain(&said));
        for url in [
            "http://127.0.0.1/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://2130706433/",
            "https://169.254.169.254/",
        ] {
            assert!(strict.check(&url.parse().unwrap()).is_err(), "{url}");
        }
        assert!(strict.check(&"file:///etc/passwd".parse().unwrap()).is_err());
        let open = Fetcher::new(Guard { private: true }).unwrap();
        let said = open.client().get(format!("http://127.0.0.1:{port}/")).send().await.unwrap_err();
        assert!(chain(&said).contains("169.254.169.254"), "{}", chain(&said));
    }
}
