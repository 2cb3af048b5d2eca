//! Events of apps, looked back at or followed.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use crate::base::access::{Action, Actor, Scope};
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::{App, Environment, Event, EventId};
use crate::product::Ctx;
use crate::state::store::events::{self as rows, Of};

pub type EventStream = BoxStream<'static, Event>;

/// The net under the signal, for events of other processes and of verbs that do not signal.
const TIMER: Duration = Duration::from_secs(1);
/// An event may become visible later than a later one, by no more than this.
const OVERLAP_MILLIS: i64 = 10_000;
const AT_ONCE: i64 = 200;

/// Newest first, of all apps that the actor sees, or of one; `before` is the last one of the page before.
pub async fn events(
    ctx: &Ctx,
    actor: &Actor,
    place: Option<(&App, Option<&Environment>)>,
    before: Option<&EventId>,
    limit: i64,
) -> Result<Vec<Event>> {
    let of = asked(actor, place)?;
    rows::newest(&mut ctx.store.read().await?, &actor.scope(), &of, before, limit).await
}

/// Oldest first: those later than `after` (without it the newest `tail`), then those to come, until the follower goes.
pub async fn follow_events(
    ctx: &Ctx,
    actor: &Actor,
    place: Option<(&App, Option<&Environment>)>,
    after: Option<EventId>,
    tail: i64,
) -> Result<EventStream> {
    let of = asked(actor, place)?;
    let (ctx, scope) = (ctx.clone(), actor.scope());
    let news = ctx.insight.news();
    let mut follower =
        Follower { ctx, scope, of, news, shown: VecDeque::new(), ids: HashSet::new(), after, ready: VecDeque::new() };
    if follower.after.is_none() {
        let mut tx = follower.ctx.store.read().await?;
        let mut last = rows::newest(&mut tx, &follower.scope, &follower.of, None, tail.max(1)).await?;
        drop(tx);
        last.reverse();
        // Where to go on from is known by the newest, shown or not.
        let skip = last.len().saturating_sub(usize::try_from(tail).unwrap_or(0));
        for (place, event) in last.into_iter().enumerate() {
            follower.note(&event);
            if place >= skip {
                follower.ready.push_back(event);
            }
        }
    }
    Ok(stream::unfold(follower, |mut follower| async move { Some((follower.next().await?, follower)) }).boxed())
}

fn asked(actor: &Actor, place: Option<(&App, Option<&Environment>)>) -> Result<Of> {
    match place {
        Some((app, environment)) => {
            actor.may(Action::ViewApp, &app.into())?;
            Ok(Of { app: Some(app.id.clone()), environment: environment.map(|e| e.id.clone()) })
        }
        None => {
            actor.may_act()?;
            Ok(Of::default())
        }
    }
}

struct Follower {
    ctx: Ctx,
    scope: Scope,
    of: Of,
    news: watch::Receiver<()>,
    /// Shown lately: what is read again is known by it.
    shown: VecDeque<(Timestamp, EventId)>,
    ids: HashSet<EventId>,
    after: Option<EventId>,
    ready: VecDeque<Event>,
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            self.news.mark_unchanged();
            match self.look().await {
                Ok(more) if more => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(error = error.for_log(), "events cannot be followed now"),
            }
            let _ = tokio::time::timeout(TIMER, self.news.changed()).await;
        }
    }

    async fn look(&mut self) -> Result<bool> {
        let mut found = Vec::new();
        {
            let mut tx = self.ctx.store.read().await?;
            loop {
                let page = rows::since(&mut tx, &self.scope, &self.of, self.after.as_ref(), AT_ONCE).await?;
                let full = page.len() as i64 == AT_ONCE;
                let last = page.last().map(|event| event.id.clone());
                found.extend(page.into_iter().filter(|event| !self.ids.contains(&event.id)));
                if !full || !found.is_empty() {
                    break;
                }
                // A page of nothing new: the window is fuller than a page.
                self.after = last;
            }
        }
        for event in found {
            self.note(&event);
            self.ready.push_back(event);
        }
        Ok(!self.ready.is_empty())
    }

    /// Moves the window on, never beyond what may still become visible.
    fn note(&mut self, event: &Event) {
        self.ids.insert(event.id.clone());
        self.shown.push_back((event.at, event.id.clone()));
        let now = self.ctx.now();
        while let Some((at, id)) = self.shown.front() {
            if self.shown.len() < 2 || now.since(*at) <= OVERLAP_MILLIS {
                break;
            }
            self.ids.remove(id);
            self.after = Some(id.clone());
            self.shown.pop_front();
        }
        if self.after.is_none()
            && self.shown.len() == 1
            && let Some((_, id)) = self.shown.front()
        {
            self.after = Some(id.clone());
        }
    }
}
