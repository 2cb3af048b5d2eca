//! A branch of a git repository elsewhere, asked for over http as git itself does, becomes a quarantine.

use std::io::BufReader;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use reqwest::{Response, Url};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::fetched;
use super::fetching::{Fault, FetchOrder, Progress, Taken, not_taken};
use super::from_bucket::{document, lost, well};
use crate::base::error::Error;
use crate::base::model::{BranchName, Id, JobId};
use crate::machinery::git::{self, GitError, Limits, Quarantine};
use crate::machinery::image::Login;
use crate::machinery::outbound::Fetcher;
use crate::product::Ctx;

pub(super) async fn fetch(
    ctx: &Ctx,
    order: &FetchOrder,
    (url, branch): (&str, &BranchName),
    progress: &Progress,
) -> Result<Taken, Fault> {
    let login = fetched::login(ctx, &order.app, &order.environment, &order.login).await?;
    let remote = Remote { fetcher: fetched::fetcher(ctx)?, base: url.to_owned(), login };

    let greeting = remote.get("/info/refs?service=git-upload-pack").await?;
    git::read_greeting(&mut greeting.as_slice()).map_err(not_taken)?;
    let refs = document(remote.post(git::ask_branch(branch.as_str())).await?).await?;
    let tip = git::read_branch(&mut refs.as_slice(), branch.as_str()).map_err(not_taken)?;
    let tip = tip.ok_or_else(|| Fault::Final(format!("the repository has no branch {branch}")))?;

    let answer = remote.post(git::ask_pack(&tip)).await?;
    let told = progress.clone();
    let body = answer.bytes_stream().inspect_ok(move |part| told.add(part.len()));
    let body = body.map_err(|error| std::io::Error::other(error.without_url()));
    // Who gave up waiting leaves no thread behind that reads on.
    let body = body.take_until(progress.given_up.clone().cancelled_owned());
    let body = SyncIoBridge::new(StreamReader::new(Box::pin(body)));
    let (repositories, owner, bounds) = (ctx.sources.repositories(), order.app.to_string(), ctx.config.git.clone());
    let received = tokio::task::spawn_blocking(move || -> Result<_, GitError> {
        let repository = Arc::clone(&repositories).create(&owner)?;
        let key = JobId::fresh().to_string();
        let limits = Limits {
            pack_bytes: bounds.max_pack_bytes,
            objects: bounds.max_objects,
            object_bytes: bounds.max_object_bytes,
        };
        let mut pack = git::read_pack(BufReader::with_capacity(64 << 10, body))?;
        let quarantine = Quarantine::receive(&repository, &key, &mut pack, &limits, &mut |_| {})?;
        quarantine.check(&[tip])?;
        Ok(Taken { quarantine, key, tip })
    });
    received.await.map_err(Error::internal)?.map_err(not_taken)
}

struct Remote {
    fetcher: Fetcher,
    base: String,
    login: Option<Login>,
}

impl Remote {
    async fn get(&self, rest: &str) -> Result<Vec<u8>, Fault> {
        document(self.send(self.fetcher.client().get(self.checked(rest)?)).await?).await
    }

    async fn post(&self, body: Vec<u8>) -> Result<Response, Fault> {
        let request = self.fetcher.client().post(self.checked("/git-upload-pack")?).body(body);
        self.send(request.header("content-type", "application/x-git-upload-pack-request")).await
    }

    fn checked(&self, rest: &str) -> Result<Url, Fault> {
        let url: Url = format!("{}{rest}", self.base).parse().map_err(Error::internal)?;
        self.fetcher.check(&url).map_err(|error| Fault::Final(error.to_string()))?;
        Ok(url)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Fault> {
        let mut request = request.header("git-protocol", "version=2");
        if let Some(login) = &self.login {
            request = request.basic_auth(&login.user, Some(login.secret.reveal()));
        }
        well(request.send().await.map_err(lost)?)
    }
}
