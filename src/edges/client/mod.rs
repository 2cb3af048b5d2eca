//! The API as typed calls, over HTTP or inside this process; the words are those of `api::types`.

mod bases;
mod buildpacks;
mod calls;
mod commands;
mod contents;
mod disk;
mod domains;
mod http;
mod lines;
mod seen;
mod sources;
mod traffic;
mod volumes;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::secret::Secret;
use crate::edges::api::types::frames::PROTOCOL;
use crate::edges::api::types::{Local, LocalRequest, ProblemView};

pub use commands::Duplex;
pub use http::Http;
pub use seen::Logs;

/// Bytes of an answer that must fit into memory.
const LARGEST_ANSWER: usize = 32 << 20;
/// Bytes on their way through a pipe inside the process.
const PIPE: usize = 256 << 10;
/// RFC 9110 §15.2.2.
const SWITCHED: u16 = 101;

#[derive(Clone)]
pub enum Transport {
    Http(Http),
    InProcess(Local),
}

impl Transport {
    /// `base` is such as `http://127.0.0.1:8081`.
    pub fn http(base: &str, token: Option<Secret<String>>) -> Result<Self, ClientError> {
        Http::new(base, token).map(Self::Http)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{0} is no address of a server: give it as http://HOST:PORT")]
    Address(String),
    #[error("the server at {base} does not answer")]
    Unreachable {
        base: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server answered, and refused.
    #[error("{}", .0.detail)]
    Refused(Box<ProblemView>),
    /// Something answered that is not Hythe's API, or another version of it.
    #[error("the server gave an answer that is not understood ({0})")]
    Strange(String),
    #[error("the connection broke off")]
    Broken(#[source] std::io::Error),
}

pub type Result<T, E = ClientError> = std::result::Result<T, E>;

pub type Bytestream = BoxStream<'static, std::io::Result<Bytes>>;

/// An answer whose body is still to come.
struct Answer {
    status: u16,
    body: Bytestream,
}

#[derive(Clone)]
pub struct Client {
    transport: Transport,
}

impl Client {
    pub fn new(transport: Transport) -> Self {
        Self { transport }
    }

    async fn send<B: Serialize + Sync>(&self, method: &'static str, path: String, body: Option<&B>) -> Result<Answer> {
        let body = body.map(serde_json::to_vec).transpose().map_err(|e| ClientError::Strange(e.to_string()))?;
        let answer = match &self.transport {
            Transport::Http(http) => http.send(method, &path, body).await?,
            Transport::InProcess(local) => {
                let answer = local(LocalRequest { method, path, body, upload: None, stream: None }).await;
                Answer { status: answer.status, body: answer.body }
            }
        };
        accepted(answer).await
    }

    /// Sends bytes as they come.
    async fn upload<T: DeserializeOwned>(&self, path: String, bytes: Bytestream) -> Result<T> {
        let answer = match &self.transport {
            Transport::Http(http) => http.upload(&path, bytes).await?,
            Transport::InProcess(local) => {
                let request = LocalRequest { method: "POST", path, body: None, upload: Some(bytes), stream: None };
                let answer = local(request).await;
                Answer { status: answer.status, body: answer.body }
            }
        };
        let text = whole(accepted(answer).await?.body).await?;
        serde_json::from_slice(&text).map_err(|e| ClientError::Strange(e.to_string()))
    }

    /// The connection itself, once the server has switched it over.
    async fn upgrade(&self, path: String) -> Result<Box<dyn Duplex>> {
        match &self.transport {
            Transport::Http(http) => match http.upgrade(&path, PROTOCOL).await? {
                Ok(stream) => Ok(stream),
                Err(answer) => refused(answer).await,
            },
            Transport::InProcess(local) => {
                let (near, far) = tokio::io::duplex(PIPE);
                let request = LocalRequest { method: "POST", path, body: None, upload: None, stream: Some(far) };
                let answer = local(request).await;
                match answer.status {
                    SWITCHED => Ok(Box::new(near)),
                    status => refused(Answer { status, body: answer.body }).await,
                }
            }
        }
    }

    async fn call<T: DeserializeOwned, B: Serialize + Sync>(
        &self,
        method: &'static str,
        path: String,
        body: Option<&B>,
    ) -> Result<T> {
        let answer = self.send(method, path, body).await?;
        let text = whole(answer.body).await?;
        serde_json::from_slice(&text).map_err(|e| ClientError::Strange(e.to_string()))
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T> {
        self.call("GET", path, None::<&()>).await
    }
}

async fn accepted(answer: Answer) -> Result<Answer> {
    if (200..300).contains(&answer.status) { Ok(answer) } else { refused(answer).await }
}

async fn refused<T>(answer: Answer) -> Result<T> {
    let status = answer.status;
    let text = whole(answer.body).await?;
    match serde_json::from_slice::<ProblemView>(&text) {
        Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
        Err(_) => Err(ClientError::Strange(format!("status {status}, no problem document"))),
    }
}

async fn whole(mut body: BoxStream<'static, std::io::Result<Bytes>>) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(part) = body.next().await {
        all.extend_from_slice(&part.map_err(ClientError::Broken)?);
        if all.len() > LARGEST_ANSWER {
            return Err(ClientError::Strange(format!("more than {LARGEST_ANSWER} bytes")));
        }
    }
    Ok(all)
}

/// One segment of a path, or one value of a query (RFC 3986 §2.3: all but unreserved characters are escaped).
fn escaped(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            all.push_str(&format!("%{byte:02X}"));
        }
    }
    // Dots alone would be a step in the path.
    if all.chars().all(|c| c == '.') { all.replace('.', "%2E") } else { all }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_whatever_is_in_it() {
        assert_eq!(escaped("acme/shop"), "acme%2Fshop");
        assert_eq!(escaped(".."), "%2E%2E");
        assert_eq!(escaped("a b?c#d\r\n"), "a%20b%3Fc%23d%0D%0A");
    }
}
