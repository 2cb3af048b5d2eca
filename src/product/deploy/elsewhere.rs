//! Deploying what lies elsewhere: an image of a registry, a branch of a git repository, an archive in a bucket. An image is
//! fetched by its job; the other two become a quarantine before the answer, as an upload does, and then go the way of a push.
//!
//! Invariants: every address is judged where it is connected to (`outbound::Fetcher`), size and time of what is fetched are
//! bounded, and credentials are values of the app's variables, named by the request and kept nowhere else.

use std::io::BufReader;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode, Url};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::fetched::{self, ImageSource};
use super::intake::{self, Origin};
use super::sources::{begin_upload, deploy_upload, discard, not_taken};
use super::{guide, image};
use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Kind, Result};
use crate::base::model::{App, BranchName, Build, CommitId, Environment, Id, JobId, VariableName};
use crate::machinery::git::{self, GitError, Limits, Quarantine};
use crate::machinery::outbound::{Fetcher, Keys, Object};
use crate::product::Ctx;

/// Bytes of an answer that is no pack.
const DOCUMENT: usize = 1 << 20;
const LONGEST: usize = 2000;
/// What people of the field call them.
const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION: &str = "AWS_SESSION_TOKEN";

/// What to fetch. A request names one of `image`, `git` and `s3`.
#[derive(Debug, Clone, Default)]
pub struct NewSource {
    pub image: Option<String>,
    pub git: Option<String>,
    /// None: the environment's own.
    pub branch: Option<String>,
    pub s3: Option<String>,
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// Variables of the app with the credentials.
    pub user_variable: Option<String>,
    pub password_variable: Option<String>,
}

/// Builds and deploys what lies there. The build goes on by itself.
pub async fn deploy_source(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    source: NewSource,
) -> Result<Build> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let named = |field: &'static str, text: &Option<String>| match text {
        Some(text) => text.parse::<VariableName>().map(Some).map_err(|e| Error::invalid(field, format!("{e}"))),
        None => Ok(None),
    };
    let user = named("user_variable", &source.user_variable)?;
    let password = named("password_variable", &source.password_variable)?;
    let within = Duration::from_secs(ctx.config.build.timeout_seconds);
    let too_long =
        |_| Error::new(Kind::LimitReached, format!("it was not fetched within {} seconds", within.as_secs()));
    match (&source.image, &source.git, &source.s3) {
        (Some(reference), None, None) => {
            let wanted = ImageSource { reference: reference.clone(), user, password };
            image::deploy_reference(ctx, actor, app, environment, wanted).await
        }
        (None, Some(url), None) => {
            let url = address("git", url)?;
            let branch = match &source.branch {
                Some(name) => name.parse().map_err(|e| Error::invalid("branch", format!("{e}")))?,
                None => environment.branch.clone(),
            };
            let work = from_git(ctx, actor, (app, environment), (url, branch), (user, password));
            tokio::time::timeout(within, work).await.map_err(too_long)?
        }
        (None, None, Some(at)) => {
            let object = object(at, &source)?;
            let work = from_bucket(ctx, actor, (app, environment), object, (user, password));
            tokio::time::timeout(within, work).await.map_err(too_long)?
        }
        _ => Err(Error::invalid("", "name one source: image, git or s3")),
    }
}

/// Without credentials in it: they would stand in records.
fn address(field: &'static str, text: &str) -> Result<Url> {
    let wrong = |cause: &str| Error::invalid(field, format!("{cause}; write https://HOST/OWNER/REPOSITORY.git"));
    if text.len() > LONGEST || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrong("is no address"));
    }
    let url: Url = text.parse().map_err(|_| wrong("is no address"))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(wrong("is reached by https or http only"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must have no credentials in it: keep them in a variable and name that (password_variable)"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must end with its path"));
    }
    Ok(url)
}

fn object(at: &str, source: &NewSource) -> Result<Object> {
    let wrong = |cause: &str| Error::invalid("s3", format!("{cause}; write s3://BUCKET/KEY.tar.gz"));
    let rest = at.strip_prefix("s3://").ok_or_else(|| wrong("is no such address"))?;
    let (bucket, key) = rest.split_once('/').ok_or_else(|| wrong("names no key"))?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let edges = |text: &str| !text.starts_with(['.', '-']) && !text.ends_with(['.', '-']) && !text.contains("..");
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(plain) || !edges(bucket) {
        return Err(wrong("names no bucket"));
    }
    let parts = key.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if key.len() > 1024 || !parts || key.chars().any(char::is_control) {
        return Err(wrong("names no key"));
    }
    let region = source.region.clone().unwrap_or_else(|| "us-east-1".into());
    if region.is_empty() || region.len() > 40 || !region.bytes().all(|b| plain(b) && b != b'.') {
        return Err(Error::invalid("region", "must be the name of a region, such as eu-central-1"));
    }
    let endpoint = match &source.endpoint {
        None => None,
        Some(text) => Some(address("endpoint", text)?.as_str().to_owned()),
    };
    Ok(Object { bucket: bucket.into(), key: key.into(), region, endpoint })
}

async fn from_bucket(
    ctx: &Ctx,
    actor: &Actor,
    (app, environment): (&App, &Environment),
    object: Object,
    (user, password): (Option<VariableName>, Option<VariableName>),
) -> Result<Build> {
    let mut upload = begin_upload(ctx, actor, app).await?;
    let keys = keys(ctx, app, environment, (user, password)).await?;
    let field = if object.endpoint.is_some() { "endpoint" } else { "s3" };
    let url = object.address().map_err(|error| Error::invalid(field, error.to_string()))?;
    let fetcher = fetched::fetcher(ctx)?;
    let headers = match &keys {
        Some(keys) => object.signed(&url, keys, ctx.now()).map_err(|error| Error::invalid(field, error.to_string()))?,
        None => HeaderMap::new(),
    };
    let mut answer = get(&fetcher, field, url, headers).await?;
    while let Some(part) = answer.chunk().await.map_err(|error| lost(field, error))? {
        upload.write(&part).await?;
    }
    deploy_upload(ctx, actor, app, environment, upload).await
}

/// Those that the request names, else those of the usual names where the app has them; without any the object must be public.
async fn keys(
    ctx: &Ctx,
    app: &App,
    environment: &Environment,
    (user, password): (Option<VariableName>, Option<VariableName>),
) -> Result<Option<Keys>> {
    let all = fetched::variables(ctx, &app.id, &environment.id).await?;
    let usual = |name: &str| name.parse::<VariableName>().ok().filter(|name| all.contains_key(name));
    let asked = user.is_some() || password.is_some();
    let (id, secret) = (user.or_else(|| usual(KEY_ID)), password.or_else(|| usual(SECRET_KEY)));
    match (id, secret) {
        (Some(id), Some(secret)) => {
            let value = |name: &VariableName| all.get(name).cloned().ok_or_else(|| fetched::no_variable(name));
            let session = usual(SESSION).and_then(|name| all.get(&name).cloned());
            Ok(Some(Keys { id: value(&id)?.reveal().clone(), secret: value(&secret)?, session }))
        }
        _ if asked => Err(Error::invalid(
            "password_variable",
            "name both: the variable with the key's id, and the one with the secret",
        )),
        _ => Ok(None),
    }
}

async fn from_git(
    ctx: &Ctx,
    actor: &Actor,
    (app, environment): (&App, &Environment),
    (url, branch): (Url, BranchName),
    (user, password): (Option<VariableName>, Option<VariableName>),
) -> Result<Build> {
    {
        let mut tx = ctx.store.read().await?;
        guide::nothing_held(&mut tx, app).await?;
    }
    if let Some(text) = ctx.disk.too_full(ctx).await {
        return Err(Error::new(Kind::Unavailable, text));
    }
    let wanted = ImageSource { reference: String::new(), user, password };
    let login = fetched::login(ctx, &app.id, &environment.id, &wanted).await?;
    // The header can be read by whoever is on the way; in a network of the operator's own he answers for that.
    if login.is_some() && url.scheme() != "https" && !ctx.config.outbound.private {
        return Err(Error::invalid("git", "credentials go over https only; write https://HOST/OWNER/REPOSITORY.git"));
    }
    let fetcher = fetched::fetcher(ctx)?;
    let remote = Remote { fetcher, base: url.as_str().trim_end_matches('/').to_owned(), login };

    let greeting = remote.get("/info/refs?service=git-upload-pack").await?;
    git::read_greeting(&mut greeting.as_slice()).map_err(not_git)?;
    let refs = document("git", remote.post(git::ask_branch(branch.as_str())).await?).await?;
    let tip = git::read_branch(&mut refs.as_slice(), branch.as_str()).map_err(not_git)?;
    let tip = tip.ok_or_else(|| Error::invalid("branch", format!("the repository has no branch {branch}")))?;

    let answer = remote.post(git::ask_pack(&tip)).await?;
    let body = answer.bytes_stream().map_err(|error| std::io::Error::other(error.without_url()));
    // Who gave up waiting leaves no thread behind that reads on.
    let body = body.take_until(tokio::time::sleep(Duration::from_secs(ctx.config.build.timeout_seconds)));
    let body = SyncIoBridge::new(StreamReader::new(Box::pin(body)));
    let (repositories, owner, bounds) = (ctx.sources.repositories(), app.id.to_string(), ctx.config.git.clone());
    let received = tokio::task::spawn_blocking(move || -> Result<_, GitError> {
        let repository = repositories.create(&owner)?;
        let key = JobId::fresh().to_string();
        let limits = Limits {
            pack_bytes: bounds.max_pack_bytes,
            objects: bounds.max_objects,
            object_bytes: bounds.max_object_bytes,
        };
        let mut pack = git::read_pack(BufReader::with_capacity(64 << 10, body))?;
        let quarantine = Quarantine::receive(&repository, &key, &mut pack, &limits, &mut |_| {})?;
        quarantine.check(&[tip])?;
        Ok((repository, key, quarantine))
    });
    let (repository, key, mut quarantine) = received.await.map_err(Error::internal)?.map_err(not_taken)?;
    // Not before: where nobody waits any more, it goes with its last owner.
    quarantine.keep();
    let tip: CommitId = tip.to_string().parse().map_err(|e| Error::internal(std::io::Error::other(format!("{e}"))))?;
    match intake::accept_from(ctx, actor, app, environment, (Origin::Archive, tip), &key).await {
        Ok((_, build)) => Ok(build),
        Err(error) => {
            discard(repository, key).await;
            Err(error)
        }
    }
}

struct Remote {
    fetcher: Fetcher,
    base: String,
    login: Option<crate::machinery::image::Login>,
}

impl Remote {
    async fn get(&self, rest: &str) -> Result<Vec<u8>> {
        document("git", self.send(self.fetcher.client().get(self.checked(rest)?)).await?).await
    }

    async fn post(&self, body: Vec<u8>) -> Result<Response> {
        let request = self.fetcher.client().post(self.checked("/git-upload-pack")?).body(body);
        self.send(request.header("content-type", "application/x-git-upload-pack-request")).await
    }

    fn checked(&self, rest: &str) -> Result<Url> {
        let url: Url = format!("{}{rest}", self.base).parse().map_err(|_| Error::invalid("git", "is no address"))?;
        self.fetcher.check(&url).map_err(|error| Error::invalid("git", error.to_string()))?;
        Ok(url)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response> {
        let mut request = request.header("git-protocol", "version=2");
        if let Some(login) = &self.login {
            request = request.basic_auth(&login.user, Some(login.secret.reveal()));
        }
        well("git", request.send().await.map_err(|error| lost("git", error))?)
    }
}

async fn get(fetcher: &Fetcher, field: &'static str, url: Url, headers: HeaderMap) -> Result<Response> {
    fetcher.check(&url).map_err(|error| Error::invalid(field, error.to_string()))?;
    let answer = fetcher.client().get(url).headers(headers).send().await.map_err(|error| lost(field, error))?;
    well(field, answer)
}

fn well(field: &'static str, answer: Response) -> Result<Response> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    Err(Error::invalid(
        field,
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!(
                    "the server refuses ({status}): name the variables that hold its credentials, or correct their values"
                )
            }
            StatusCode::NOT_FOUND => {
                format!("the server does not have it, or shows it to nobody without credentials ({status})")
            }
            _ => format!("the server answers {status}"),
        },
    ))
}

async fn document(field: &'static str, mut answer: Response) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| lost(field, error))? {
        bytes.extend_from_slice(&part);
        if bytes.len() > DOCUMENT {
            return Err(Error::invalid(field, format!("the server answers with more than {DOCUMENT} bytes")));
        }
    }
    Ok(bytes)
}

/// With its causes and without the address, which a redirect may have given a signature.
fn lost(field: &'static str, error: reqwest::Error) -> Error {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    Error::invalid(field, text)
}

fn not_git(error: GitError) -> Error {
    match error.public() {
        Some(text) => Error::invalid("git", text),
        None => Error::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_none_are_refused_by_their_field() {
        for bad in [
            "ext::sh -c id",
            "file:///etc/passwd",
            "--upload-pack=id",
            "ssh://git@host/x",
            "https://user:token@host/x.git",
            "https://host/x.git?a=b",
            "https://host/x y",
            "git@host:x/y.git",
            "",
        ] {
            assert!(address("git", bad).is_err(), "{bad}");
        }
        assert!(address("git", "https://host/owner/repo.git").is_ok());
        let source = NewSource::default();
        for bad in [
            "s3://",
            "s3://b/x",
            "s3://bucket",
            "s3://bucket/",
            "s3://bucket/../x",
            "https://x/y",
            "s3://B_c/x",
            "s3://a..b/x",
        ] {
            assert!(object(bad, &source).is_err(), "{bad}");
        }
        assert!(object("s3://my-bucket/a/b.tar.gz", &source).is_ok());
        let evil = NewSource { region: Some("x.evil.example/".into()), ..NewSource::default() };
        assert!(object("s3://my-bucket/a", &evil).is_err());
    }
}
