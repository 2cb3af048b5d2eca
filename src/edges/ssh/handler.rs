//! russh's events of one connection, translated.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use russh::keys::HashAlg;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelWriteHalf};
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::exec::{self, Request};
use super::{Shared, git, session};
use crate::base::access::Actor;
use crate::base::model::Window;
use crate::product::accounts;

/// Channels of one connection that are open at once.
const MAX_CHANNELS: usize = 16;

pub struct Connection {
    shared: Arc<Shared>,
    address: SocketAddr,
    logged_in: CancellationToken,
    /// Who proved to hold a key. An offered key identifies nobody.
    actor: Option<Actor>,
    channels: HashMap<ChannelId, Opened>,
    places: Arc<Semaphore>,
}

struct Opened {
    channel: Channel<Msg>,
    /// Value of `GIT_PROTOCOL`.
    protocol: String,
    /// Value of `TERM` and size, once it was asked for.
    terminal: Option<(String, Window)>,
    /// Kept until what the channel asked for has ended.
    place: OwnedSemaphorePermit,
}

impl Connection {
    pub fn new(shared: Arc<Shared>, address: SocketAddr, logged_in: CancellationToken) -> Self {
        Self {
            shared,
            address,
            logged_in,
            actor: None,
            channels: HashMap::new(),
            places: Arc::new(Semaphore::new(MAX_CHANNELS)),
        }
    }

    async fn actor_of(&self, key: &russh::keys::PublicKey) -> Option<Actor> {
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        match accounts::actor_by_fingerprint(&self.shared.ctx, &fingerprint).await {
            Ok(actor) => actor,
            Err(error) => {
                tracing::error!(error = error.for_log(), "a key could not be looked up");
                None
            }
        }
    }

    fn start(&mut self, id: ChannelId, line: &[u8]) -> Option<()> {
        let opened = self.channels.remove(&id)?;
        let actor = self.actor.clone()?;
        let shared = Arc::clone(&self.shared);
        let request = exec::parse(line);
        let Opened { channel, protocol, terminal, place } = opened;
        let (reader, writer) = channel.split();
        let address = self.address;
        self.shared.tasks.spawn(async move {
            let user = actor.user.name.to_string();
            let code = match request {
                Ok(Request::Push { path }) => {
                    tracing::info!(user.name = user, client.address = %address, "push");
                    git::push(shared, actor, (path, protocol), reader, &writer).await
                }
                Ok(Request::Fetch { path }) => git::fetch(shared, actor, (path, protocol), reader, &writer).await,
                Ok(Request::Verb(words)) => session::verb(&shared, actor, words, terminal, reader, &writer).await,
                Err(fault) => say(&writer, &format!("{fault}\n")).await,
            };
            let _ = writer.exit_status(code).await;
            let _ = writer.eof().await;
            let _ = writer.close().await;
            drop(place);
        });
        Some(())
    }

    /// Answers a request for something that is not served, with a hint.
    fn decline(&mut self, id: ChannelId, hint: &'static str) {
        if let Some(opened) = self.channels.remove(&id) {
            let (_, writer) = opened.channel.split();
            self.shared.tasks.spawn(async move {
                let code = say(&writer, hint).await;
                let _ = writer.exit_status(code).await;
                let _ = writer.eof().await;
                let _ = writer.close().await;
            });
        }
    }
}

/// Writes to the client's standard error; returns the exit code of a refusal.
pub async fn say(writer: &ChannelWriteHalf<Msg>, text: &str) -> u32 {
    let mut err = std::pin::pin!(writer.make_writer_ext(Some(1)));
    let _ = err.write_all(text.as_bytes()).await;
    let _ = err.flush().await;
    1
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, _user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(if self.actor_of(offer.public_key).await.is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        self.actor = self.actor_of(key.public_key).await;
        Ok(if self.actor.is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), Self::Error> {
        self.logged_in.cancel();
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        // Dropping the reply refuses the channel.
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            self.channels.insert(channel.id(), Opened { channel, protocol: String::new(), terminal: None, place });
            reply.accept().await;
        }
        Ok(())
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.channels.get_mut(&id).filter(|_| name == "GIT_PROTOCOL" && value.len() <= 200) {
            Some(opened) => {
                value.clone_into(&mut opened.protocol);
                session.channel_success(id)
            }
            None => session.channel_failure(id),
        }
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        name: &str,
        columns: u32,
        rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let sane = name.len() <= 40 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b));
        match (self.channels.get_mut(&id), session::window(columns, rows)) {
            (Some(opened), Some(window)) if sane => {
                opened.terminal = Some((name.to_owned(), window));
                session.channel_success(id)
            }
            _ => session.channel_failure(id),
        }
    }

    async fn exec_request(&mut self, id: ChannelId, line: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        // The answer goes out before the task can write.
        if self.actor.is_some() && self.channels.contains_key(&id) {
            session.channel_success(id)?;
            self.start(id, line);
            Ok(())
        } else {
            session.channel_failure(id)
        }
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        session.channel_success(id)?;
        let name = self.actor.as_ref().map_or("", |a| a.user.name.as_str()).to_owned();
        tracing::debug!(user.name = name, "shell declined");
        self.decline(id, "Welcome to Hythe. There is no shell here; try: ssh git@HOST apps, or git push.\r\n");
        Ok(())
    }

    async fn subsystem_request(&mut self, id: ChannelId, name: &str, session: &mut Session) -> Result<(), Self::Error> {
        tracing::debug!(name, "subsystem declined");
        session.channel_failure(id)
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.channels.remove(&id);
        Ok(())
    }
}
