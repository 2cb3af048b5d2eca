//! Deploying what lies elsewhere: an image of a registry, a branch of a git repository, an archive in a bucket. What can be
//! told from the request is judged here, before there is a job; the job fetches (`fetching.rs`, for images `image.rs`).
//!
//! Invariants: every address is judged where it is connected to (`outbound::Fetcher`), size and time of what is fetched are
//! bounded, and credentials are values of the app's variables, named by the request and kept nowhere else.

use reqwest::Url;

use super::fetched::{self, ImageSource, Login};
use super::fetching::{self, From};
use super::image;
use super::options::Manner;
use crate::base::access::{Action, Actor, Place};
use crate::base::error::{Error, Result};
use crate::base::model::{App, Build, Environment, VariableName};
use crate::machinery::outbound::Object;
use crate::product::Ctx;

const LONGEST: usize = 2000;

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
    pub manner: Manner,
}

/// Fetches, builds and deploys what lies there, by a job: the build goes on by itself.
pub async fn deploy_source(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    source: NewSource,
) -> Result<Build> {
    actor.may(Action::Deploy, &Place::from(app))?;
    let login = Login {
        user: named("user_variable", source.user_variable.as_deref())?,
        password: named("password_variable", source.password_variable.as_deref())?,
    };
    let from = match (&source.image, &source.git, &source.s3) {
        (Some(reference), None, None) => {
            let wanted = ImageSource { reference: reference.clone(), login };
            return image::deploy_reference(ctx, actor, app, environment, (wanted, source.manner)).await;
        }
        (None, Some(url), None) => {
            login.check()?;
            let url = address("git", url)?;
            may_be_asked(ctx, "git", &url)?;
            // The header can be read by whoever is on the way; in a network of the operator's own he answers for that.
            if login.password.is_some() && url.scheme() != "https" && !ctx.config.outbound.private {
                let text = "credentials go over https only; write https://HOST/OWNER/REPOSITORY.git";
                return Err(Error::invalid("git", text));
            }
            let branch = match &source.branch {
                Some(name) => name.parse().map_err(|e| Error::invalid("branch", format!("{e}")))?,
                None => environment.branch.clone(),
            };
            From::Git { url: url.as_str().trim_end_matches('/').to_owned(), branch }
        }
        (None, None, Some(at)) => {
            let object = object(at, &source)?;
            let field = if object.endpoint.is_some() { "endpoint" } else { "s3" };
            let url = object.address().map_err(|error| Error::invalid(field, error.to_string()))?;
            may_be_asked(ctx, field, &url)?;
            if login.user.is_some() != login.password.is_some() {
                let text = "name both: the variable with the key's id, and the one with the secret";
                return Err(Error::invalid("password_variable", text));
            }
            From::Bucket(object)
        }
        _ => return Err(Error::invalid("", "name one source: image, git or s3")),
    };
    fetching::enqueue(ctx, actor, (app, environment), from, (login, source.manner)).await
}

fn named(field: &'static str, text: Option<&str>) -> Result<Option<VariableName>> {
    text.map(|text| text.parse().map_err(|e| Error::invalid(field, format!("{e}")))).transpose()
}

/// An address that stands for itself needs no look-up to be refused; names are judged by the job.
fn may_be_asked(ctx: &Ctx, field: &'static str, url: &Url) -> Result<()> {
    fetched::fetcher(ctx)?.check(url).map_err(|error| Error::invalid(field, error.to_string()))
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
