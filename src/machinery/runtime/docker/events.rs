//! A nudge whenever one of our replicas started or ended. What happened is for the next observation to say.

use std::collections::HashMap;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::super::Result;
use super::{Docker, QUICK, names};
use crate::base::clock::{Clock, SystemClock};

impl Docker {
    pub(super) async fn watch_replicas(&self) -> Result<BoxStream<'static, ()>> {
        // The engine replays from this moment, so nothing is lost before the first poll.
        let now = SystemClock.now().0;
        let since = format!("{}.{:03}", now.div_euclid(1000), now.rem_euclid(1000));
        self.call("reach", "engine", QUICK, |api| async move { api.ping().await }).await?;
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            ("event", ["start", "die", "destroy", "pause", "unpause"].map(str::to_owned).to_vec()),
            ("label", vec![format!("{}={}", names::PREFIX, self.0.prefix), names::ENVIRONMENT.to_owned()]),
        ]);
        let options = EventsOptionsBuilder::new().since(&since).filters(&filters).build();
        let events = self.api()?.events(Some(options));
        let docker = self.clone();
        let events = events.take_while(|event| std::future::ready(event.is_ok()));
        Ok(events.map(move |event| docker.note(event.ok().as_ref())).boxed())
    }

    /// The engine announces an end before its listings show it: what is known from here overrules them.
    fn note(&self, event: Option<&EventMessage>) {
        let id = event.and_then(|e| e.actor.as_ref()?.id.clone());
        let (Some(id), Some(action)) = (id, event.and_then(|e| e.action.as_deref())) else { return };
        let mut died = self.0.died.lock().unwrap_or_else(|e| e.into_inner());
        match action {
            "die" => drop(died.insert(id)),
            "start" | "destroy" => drop(died.remove(&id)),
            _ => {}
        }
    }
}
