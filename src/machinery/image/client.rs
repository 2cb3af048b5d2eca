//! Requests to one repository of a registry, with the token or password it asks for.

use std::sync::Arc;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use super::reference::{Reference, is_safe};
use super::{Digest, ImageError, Login, Result, Route};

/// Bytes of a manifest or config, and of a token's answer.
const DOCUMENT_LIMIT: usize = 4 << 20;
const PRIVATE: &str =
    "its registry is not on the public internet; an administrator can allow private addresses (outbound.private)";

pub(super) struct Client {
    http: reqwest::Client,
    reference: Reference,
    /// As it was written, for messages.
    text: String,
    login: Option<Login>,
    authorization: Option<HeaderValue>,
    allows: Arc<dyn Fn(&Url) -> bool + Send + Sync>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(alias = "access_token")]
    token: String,
}

impl Client {
    pub(super) fn by(text: &str, login: Option<Login>, route: Route) -> Result<Self> {
        let reference = Reference::parse(text)?;
        let Route { http, allows, .. } = route;
        let client = Self { http, allows, reference, text: text.to_owned(), login, authorization: None };
        let address = client.reference.address("").parse::<Url>().ok();
        match address.is_some_and(|url| client.may(&url)) {
            true => Ok(client),
            false => Err(client.failed(PRIVATE, false)),
        }
    }

    fn may(&self, url: &Url) -> bool {
        is_safe(url) && (self.allows)(url)
    }

    pub(super) fn reference(&self) -> &Reference {
        &self.reference
    }

    /// A manifest, config or index; with `digest`, only if it has that one.
    pub(super) async fn document(
        &mut self,
        path: &str,
        accept: &'static str,
        digest: Option<&Digest>,
    ) -> Result<Vec<u8>> {
        let response = self.get(path, accept).await?;
        let bytes = self.body(response, path).await?;
        match digest {
            Some(digest) if Digest::of(&bytes) != *digest => {
                Err(self.failed(format!("{path} has another digest than {digest}"), false))
            }
            _ => Ok(bytes),
        }
    }

    /// An answer of success; asks for a token when it is wanted.
    pub(super) async fn get(&mut self, path: &str, accept: &'static str) -> Result<Response> {
        let mut response = self.send(path, accept).await?;
        if response.status() == StatusCode::UNAUTHORIZED && self.authorization.is_none() {
            let challenges = response.headers().get_all(WWW_AUTHENTICATE).iter();
            let challenges: Vec<String> = challenges.filter_map(|c| Some(c.to_str().ok()?.to_owned())).collect();
            self.authorization = Some(self.authorize(&challenges).await?);
            response = self.send(path, accept).await?;
        }
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let temporary = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        let reason = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "the registry refuses these credentials".to_owned(),
            StatusCode::NOT_FOUND => format!("the registry has no {path}"),
            _ => format!("{path}: the registry answers {status}"),
        };
        Err(self.failed(reason, temporary))
    }

    pub(super) fn failed(&self, reason: impl Into<String>, temporary: bool) -> ImageError {
        ImageError::Registry { reference: self.text.clone(), reason: reason.into(), temporary }
    }

    async fn send(&self, path: &str, accept: &'static str) -> Result<Response> {
        let mut request = self.http.get(self.reference.address(path)).header(ACCEPT, accept);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request.send().await.map_err(|error| self.unreachable(error))
    }

    /// The header that answers a challenge (RFC 7235; token flow of the distribution specification).
    async fn authorize(&self, challenges: &[String]) -> Result<HeaderValue> {
        for challenge in challenges {
            let Some((scheme, parameters)) = challenge.split_once(' ') else { continue };
            if scheme.eq_ignore_ascii_case("bearer") {
                let token = self.token(parameters).await?;
                return self.header(format!("Bearer {token}"));
            }
            if let (true, Some(login)) = (scheme.eq_ignore_ascii_case("basic"), &self.login) {
                return self.header(format!("Basic {}", basic(login)));
            }
        }
        Err(self.failed("the registry wants a user and a password", false))
    }

    async fn token(&self, parameters: &str) -> Result<String> {
        let realm = parameter(parameters, "realm").and_then(|realm| realm.parse::<Url>().ok());
        let realm = realm
            .filter(|url| self.may(url))
            .ok_or_else(|| self.failed("the registry names no usable place for tokens", false))?;
        let scope = format!("repository:{}:pull", self.reference.name);
        let mut query = vec![("scope", scope.as_str())];
        query.extend(parameter(parameters, "service").map(|service| ("service", service)));
        let mut request = self.http.get(realm).query(&query);
        if let Some(login) = &self.login {
            request = request.header(AUTHORIZATION, self.header(format!("Basic {}", basic(login)))?);
        }
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        if !status.is_success() {
            let temporary = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            return Err(self.failed(format!("the registry gives no token: {status}"), temporary));
        }
        let bytes = self.body(response, "a token").await?;
        let token: Token =
            serde_json::from_slice(&bytes).map_err(|_| self.failed("the token cannot be read", false))?;
        Ok(token.token)
    }

    fn header(&self, value: String) -> Result<HeaderValue> {
        let header = HeaderValue::try_from(value);
        let mut header =
            header.map_err(|_| self.failed("the credentials hold characters that no header may", false))?;
        header.set_sensitive(true);
        Ok(header)
    }

    async fn body(&self, mut response: Response, what: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| self.unreachable(error))? {
            bytes.extend_from_slice(&part);
            if bytes.len() > DOCUMENT_LIMIT {
                return Err(self.failed(format!("{what} is longer than {DOCUMENT_LIMIT} bytes"), false));
            }
        }
        Ok(bytes)
    }

    fn unreachable(&self, error: reqwest::Error) -> ImageError {
        // an address may carry a signature; its host is told by the reference
        let error = error.without_url();
        let mut reason = error.to_string();
        let mut next = std::error::Error::source(&error);
        while let Some(cause) = next {
            reason = format!("{reason}: {cause}");
            next = cause.source();
        }
        self.failed(reason, true)
    }
}

fn basic(login: &Login) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", login.user, login.secret.reveal()))
}

/// One `key="value"` of a challenge; values of the keys we ask for hold no escaped quotes.
fn parameter<'a>(parameters: &'a str, key: &str) -> Option<&'a str> {
    let mut rest = parameters;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        if name.trim().eq_ignore_ascii_case(key) {
            return Some(value);
        }
        rest = after.trim_start().trim_start_matches(',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_among_others() {
        let text = r#"realm="https://x.example/token?a=b",service=plain , scope="repository:a/b:pull,push",error="x""#;
        assert_eq!(parameter(text, "realm"), Some("https://x.example/token?a=b"));
        assert_eq!(parameter(text, "Service").map(str::trim), Some("plain"));
        assert_eq!(parameter(text, "scope"), Some("repository:a/b:pull,push"));
        assert_eq!(parameter(text, "pull,push"), None);
        assert_eq!(parameter("", "realm"), None);
    }
}
