//! A client for fetches on a user's behalf. Every name is judged by where it leads, at each connection, and what was judged
//! is what is connected to; addresses as they stand are judged as well; redirects again; waits are bounded. How much is
//! read, and how long all of it may take, is for whoever reads.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, Url};

use super::{CONNECT, Dns, Guard, OutboundError, Result, SEND};

/// For the next bytes of an answer.
const SILENCE: Duration = Duration::from_secs(30);
const MOST_REDIRECTS: usize = 5;

/// Cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    client: Client,
    straight: Client,
    guard: Guard,
}

impl Fetcher {
    pub fn new(guard: Guard) -> Result<Self> {
        Self::asking(guard, None)
    }

    /// Names are asked of that DNS server and not of this machine.
    pub fn asking(guard: Guard, server: Option<SocketAddr>) -> Result<Self> {
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
        let client = |redirects: Policy| {
            Client::builder()
                .user_agent(concat!("hythe/", env!("CARGO_PKG_VERSION")))
                .dns_resolver(std::sync::Arc::new(Names { guard, server }))
                .redirect(redirects)
                // A proxy would look names up anew.
                .no_proxy()
                .connect_timeout(CONNECT)
                .read_timeout(SILENCE)
                .build()
                .map_err(|error| OutboundError::Send { host: "any host".into(), source: error.into() })
        };
        Ok(Self { client: client(redirects)?, straight: client(Policy::none())?, guard })
    }

    /// A small text, whole. An answer that is none of success is an error; one that is longer than `most` bytes too.
    pub async fn text(&self, url: &str, most: usize) -> Result<Fetched> {
        let url: Url = url.parse().map_err(|_| unsound(url))?;
        self.check(&url)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| OutboundError::Send { host: host.clone(), source };
        let fetching = async {
            let mut answer = self
                .client
                .get(url.clone())
                .send()
                .await
                .map_err(|e| refusal(&e).unwrap_or_else(|| failed(e.without_url().into())))?;
            if !answer.status().is_success() {
                return Err(OutboundError::Answer { host: host.clone(), status: answer.status().as_u16() });
            }
            let mut bytes = Vec::new();
            while let Some(more) = answer.chunk().await.map_err(|e| failed(e.without_url().into()))? {
                bytes.extend_from_slice(&more);
                if bytes.len() > most {
                    return Err(failed(format!("its answer is longer than {most} bytes").into()));
                }
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Ok(Fetched { host: answer.url().host_str().unwrap_or_default().to_owned(), text })
        };
        tokio::time::timeout(SEND, fetching).await.map_err(|late| failed(late.into()))?
    }

    /// For requests to addresses that `check` has let through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// An answer of success.
    pub async fn answer(&self, url: &Url, request: RequestBuilder) -> Result<Response> {
        self.check(url)?;
        let answer = request.send().await.map_err(|error| lost(url, error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        Err(OutboundError::Answer { host: host(url), status: status.as_u16() })
    }

    /// All of an answer that has at most `most` bytes.
    pub async fn document(&self, url: &Url, request: RequestBuilder, most: usize) -> Result<Vec<u8>> {
        let mut answer = self.answer(url, request).await?;
        let mut bytes = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| lost(url, error))? {
            bytes.extend_from_slice(&part);
            if bytes.len() > most {
                let cause = format!("it answers with more than {most} bytes");
                return Err(OutboundError::Fetch { host: host(url), cause });
            }
        }
        Ok(bytes)
    }

    /// As `client`, for requests whose headers are for their host alone: redirects are answers.
    pub fn straight(&self) -> &Client {
        &self.straight
    }

    /// An address that stands for itself is never looked up: it is judged here.
    pub fn check(&self, url: &Url) -> Result<()> {
        allowed(self.guard, url)
    }
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

fn lost(url: &Url, error: reqwest::Error) -> OutboundError {
    let error = error.without_url();
    let mut cause = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(deeper) = next {
        cause = format!("{cause}: {deeper}");
        next = deeper.source();
    }
    OutboundError::Fetch { host: host(url), cause }
}

fn allowed(guard: Guard, url: &Url) -> Result<()> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    if !matches!(url.scheme(), "http" | "https") || host.is_empty() {
        return Err(unsound(&host));
    }
    match host.parse::<IpAddr>() {
        Ok(address) if !guard.allows(address) => Err(OutboundError::Refused { host, address }),
        _ => Ok(()),
    }
}

/// The one of ours that is the cause of another's.
fn refusal(error: &reqwest::Error) -> Option<OutboundError> {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(OutboundError::Refused { host, address }) = cause.downcast_ref() {
            return Some(OutboundError::Refused { host: host.clone(), address: *address });
        }
        next = cause.source();
    }
    None
}

fn unsound(host: &str) -> OutboundError {
    let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "only http and https lead to hosts");
    OutboundError::Unresolved { host: host.to_owned(), source }
}

/// What came, and from where at last.
pub struct Fetched {
    pub host: String,
    pub text: String,
}

struct Names {
    guard: Guard,
    server: Option<SocketAddr>,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, server) = (self.guard, self.server);
        Box::pin(async move {
            // The port is the request's; this one is not used.
            let address = match server {
                None => guard.resolve(name.as_str(), 0).await?,
                Some(_) => {
                    let found = Dns::new(server)?.addresses(name.as_str()).await?;
                    guard.choose(name.as_str(), found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect())?
                }
            };
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
