//! An acme-dns server: it answers for one record, which `_acme-challenge` of the name is an alias (CNAME) of, and changes it
//! for who has the record's key. It keeps the last two texts, so nothing is removed.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::Client;
use reqwest::redirect::Policy;

use super::DnsChanger;
use crate::base::clock::Timestamp;
use crate::base::secret::Secret;

const CONNECT: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(20);

pub struct AcmeDns {
    pub api: String,
    pub name: String,
    pub subdomain: String,
    pub user: String,
    pub key: Secret<String>,
}

#[async_trait]
impl DnsChanger for AcmeDns {
    fn keeps(&self, name: &str) -> bool {
        name == self.name
    }

    async fn add(&self, _: &str, text: &str, _: Timestamp) -> Result<(), String> {
        let builder = Client::builder().redirect(Policy::none()).connect_timeout(CONNECT).timeout(WHOLE);
        let client = builder.build().map_err(|error| error.to_string())?;
        let body = serde_json::json!({"subdomain": self.subdomain, "txt": text});
        let request = client
            .post(format!("{}/update", self.api.trim_end_matches('/')))
            .header("X-Api-User", &self.user)
            .header("X-Api-Key", self.key.reveal())
            .json(&body);
        let sent = request.send().await;
        let answer = sent.map_err(|error| format!("{} cannot be reached: {}", self.api, error.without_url()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("{} answered {status}", self.api)),
        }
    }

    async fn remove(&self, _: &str, _: &str, _: Timestamp) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// One request, and what it was.
    async fn asked(status: &'static str) -> (Result<(), String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let api = format!("http://{}/", listener.local_addr().expect("its address"));
        let (subdomain, user) = ("8e57".to_owned(), "hythe".to_owned());
        let dns = AcmeDns { api, name: "a.example".into(), subdomain, user, key: Secret::new("sesame".into()) };
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut text = Vec::new();
            while !text.ends_with(b"}") {
                assert!(stream.read_buf(&mut text).await.expect("reads") > 0);
            }
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}");
            stream.write_all(answer.as_bytes()).await.expect("writes");
            String::from_utf8(text).expect("text")
        };
        tokio::join!(dns.add("_acme-challenge.a.example", "proof", Timestamp(0)), serve)
    }

    #[tokio::test]
    async fn the_record_is_set_by_its_key_and_a_refusal_is_told_without_it() {
        let (done, request) = asked("200 OK").await;
        assert_eq!(done, Ok(()));
        assert!(request.starts_with("POST /update HTTP/1.1"), "{request}");
        for part in ["x-api-user: hythe", "x-api-key: sesame", r#""subdomain":"8e57""#, r#""txt":"proof""#] {
            assert!(request.contains(part), "{part}: {request}");
        }
        let (refused, _) = asked("401 Unauthorized").await;
        let text = refused.expect_err("refused");
        assert!(text.contains("401") && !text.contains("sesame"), "{text}");
    }
}
