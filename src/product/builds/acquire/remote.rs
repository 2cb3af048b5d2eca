//! Fetches on a pusher's behalf: every address is judged where it is connected to (`outbound::Fetcher`), sizes and times are
//! bounded, and credentials are values of the app's variables, which a choice names and never holds.

use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use reqwest::Url;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::packed::{LIMITS, TREE};
use crate::base::model::{Address, ImageDigest, NamedLogin};
use crate::machinery::git::{self, GitError, ObjectId, Quarantine, Repositories};
use crate::machinery::image::{self, BlobStore, Digest, ImageError, Login, Route};
use crate::machinery::outbound::{Fetcher, Guard, OutboundError};
use crate::product::builds::builder::Builder;
use crate::product::builds::{BuildFailure, BuildRequest, Source, export, messages};

/// Bytes of an answer that is no pack.
const DOCUMENT: usize = 4 << 20;
/// Bytes of what is fetched, as it is sent.
const MOST: u64 = 1 << 30;

#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Told(String),
}

impl Fault {
    pub fn told(&self, reference: &str) -> BuildFailure {
        let full = match self {
            Self::Image(error) => error.is_disk_full(),
            Self::Io(error) => error.kind() == io::ErrorKind::StorageFull,
            _ => false,
        };
        match self {
            _ if full => messages::disk_full(),
            // What is the server's own goes to its log alone.
            Self::Git(error) => match error.public() {
                Some(text) => messages::unreached(reference, &text, error.is_temporary()),
                None => messages::platform("fetching a buildpack", &export::chain(error)),
            },
            Self::Outbound(OutboundError::Answer { status, .. }) => {
                messages::unreached(reference, &self.to_string(), *status >= 500 || *status == 429)
            }
            Self::Outbound(error) => messages::unreached(reference, &export::chain(error), error.is_temporary()),
            other => messages::unreached(reference, &export::chain(other), false),
        }
    }
}

impl Builder {
    /// The values of the variables that a choice names; `url` of where they go.
    pub(super) fn login(
        &self,
        request: &BuildRequest,
        reference: &str,
        named: Option<&NamedLogin>,
        url: &str,
    ) -> Result<Option<Login>, BuildFailure> {
        let Some(named) = named else { return Ok(None) };
        // The header can be read by whoever is on the way; in a network of the operator's own he answers for that.
        if url.starts_with("http:") && !self.guard.private {
            return Err(messages::unreached(reference, "credentials go over https only", false));
        }
        let value = |name: &str| {
            let value = request.variables.get(name).cloned();
            value.ok_or_else(|| messages::no_variable(reference, name))
        };
        let user = match &named.user {
            Some(user) => value(user.as_str())?.reveal().clone(),
            // Servers that take a token look at nothing else.
            None => "token".to_owned(),
        };
        Ok(Some(Login { user, secret: value(named.password.as_str())? }))
    }

    pub(super) async fn pulled(
        &self,
        name: &str,
        digest: &Digest,
        login: Option<Login>,
        route: Route,
    ) -> Result<ImageDigest, ImageError> {
        let reference = format!("{}@{digest}", name.split('@').next().unwrap_or(name));
        let saved = image::fetch(&self.blobs, &reference, login, route, MOST).await?;
        let blobs = self.blobs.clone();
        let made = tokio::task::spawn_blocking(move || {
            super::unpack(&blobs, &saved.contents, &saved.manifest, super::MOST_BYTES)
        });
        made.await.map_err(io::Error::other).map_err(ImageError::Stream).flatten()
    }
}

pub(super) async fn resolved(name: &str, login: Option<Login>, route: Route) -> Result<Digest, ImageError> {
    image::resolve(name, login, route).await
}

pub(super) fn route(guard: Guard, seconds: u64) -> Result<Route, Fault> {
    let fetcher = Fetcher::new(guard)?;
    let http = fetcher.client().clone();
    let within = Duration::from_secs(seconds);
    Ok(Route { http, allows: Arc::new(move |url| fetcher.check(url).is_ok()), within })
}

/// A repository behind http, asked by git's protocol.
pub(super) struct Repository {
    fetcher: Fetcher,
    base: String,
    login: Option<Login>,
}

impl Repository {
    pub async fn open(guard: Guard, at: &Address, login: Option<Login>) -> Result<Self, Fault> {
        let base = at.url.trim_end_matches('/').to_owned();
        let repository = Self { fetcher: Fetcher::new(guard)?, base, login };
        let url = repository.url("/info/refs?service=git-upload-pack")?;
        let asked = repository.signed(repository.fetcher.client().get(url.clone()));
        let greeting = repository.fetcher.document(&url, asked, DOCUMENT).await?;
        git::read_greeting(&mut greeting.as_slice())?;
        Ok(repository)
    }

    /// The commit of a branch, a tag, or of a commit's id; without one, what the repository shows.
    pub async fn find(&self, reference: Option<&str>) -> Result<ObjectId, Fault> {
        let is_id = |text: &&str| text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if let Some(id) = reference.filter(is_id).and_then(|text| text.parse().ok()) {
            return Ok(id);
        }
        let (url, asked) = self.post(git::ask_name(reference))?;
        let refs = self.fetcher.document(&url, asked, DOCUMENT).await?;
        let found = git::read_name(&mut refs.as_slice(), reference)?;
        found.ok_or_else(|| {
            Fault::Told(match reference {
                Some(name) => format!("the repository has neither a branch nor a tag {name}"),
                None => "the repository has no commit".to_owned(),
            })
        })
    }

    /// The tree of a commit, for as long as the source is held.
    pub async fn tree(&self, commit: ObjectId, scratch: &Path, seconds: u64) -> Result<Source, Fault> {
        let (url, asked) = self.post(git::ask_tree(&commit))?;
        let answer = self.fetcher.answer(&url, asked).await?;
        let body = answer.bytes_stream().map_err(|error| io::Error::other(error.without_url()));
        // Who gave up waiting leaves no thread behind that reads on.
        let body = body.take_until(tokio::time::sleep(Duration::from_secs(seconds)));
        let body = SyncIoBridge::new(StreamReader::new(Box::pin(body)));
        let scratch = scratch.to_owned();
        let received = tokio::task::spawn_blocking(move || -> Result<Source, Fault> {
            std::fs::create_dir_all(&scratch)?;
            let home = tempfile::tempdir_in(&scratch)?;
            let repository = Repositories::open(home.path())?.create("fetched")?;
            let mut pack = git::read_pack(BufReader::with_capacity(64 << 10, body))?;
            let quarantine = Quarantine::receive(&repository, "pack", &mut pack, &LIMITS, &mut |_| {})?;
            Ok(source(home, repository, quarantine, commit))
        });
        received.await.map_err(io::Error::other)?
    }

    fn url(&self, rest: &str) -> Result<Url, Fault> {
        format!("{}{rest}", self.base).parse().map_err(|_| Fault::Told("it is no address".to_owned()))
    }

    fn post(&self, body: Vec<u8>) -> Result<(Url, reqwest::RequestBuilder), Fault> {
        let url = self.url("/git-upload-pack")?;
        let asked = self.fetcher.client().post(url.clone()).body(body);
        Ok((url, self.signed(asked.header("content-type", "application/x-git-upload-pack-request"))))
    }

    fn signed(&self, asked: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let asked = asked.header("git-protocol", "version=2");
        match &self.login {
            Some(login) => asked.basic_auth(&login.user, Some(login.secret.reveal())),
            None => asked,
        }
    }
}

/// The tree of a commit in a repository that is removed with the source.
pub(super) fn source(
    home: tempfile::TempDir,
    repository: git::Repository,
    held: Quarantine,
    commit: ObjectId,
) -> Source {
    Arc::new(move |out: &mut dyn io::Write| {
        let _home = &home;
        let written = git::export_tree(&repository, Some(&held), &commit, &TREE, out);
        let told = |error: GitError| error.public().unwrap_or_else(|| export::chain(&error));
        written.map(drop).map_err(|error| io::Error::other(told(error)))
    })
}

/// A packed buildpack, as a blob.
pub(super) async fn archive(
    blobs: &BlobStore,
    guard: Guard,
    at: &Address,
    login: Option<Login>,
    seconds: u64,
) -> Result<Digest, Fault> {
    let fetcher = Fetcher::new(guard)?;
    let url: Url = at.url.parse().map_err(|_| Fault::Told("it is no address".to_owned()))?;
    let mut asked = fetcher.client().get(url.clone());
    if let Some(login) = &login {
        asked = asked.basic_auth(&login.user, Some(login.secret.reveal()));
    }
    let answer = fetcher.answer(&url, asked).await?;
    let body = answer.bytes_stream().map_err(|error| io::Error::other(error.without_url()));
    let body = body.take_until(tokio::time::sleep(Duration::from_secs(seconds)));
    let body = SyncIoBridge::new(StreamReader::new(Box::pin(body)));
    let mut out = blobs.writer()?;
    let written = tokio::task::spawn_blocking(move || -> Result<_, Fault> {
        let size = io::copy(&mut io::Read::take(body, MOST + 1), &mut out)?;
        if size > MOST {
            return Err(Fault::Told(format!("it has more than {MOST} bytes")));
        }
        Ok(out.finish()?.0)
    });
    written.await.map_err(io::Error::other)?
}
