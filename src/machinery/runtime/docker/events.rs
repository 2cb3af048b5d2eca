//! A nudge whenever one of our replicas started or ended. What happened is for the next observation to say.

use std::collections::HashMap;

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
            ("event", ["start", "die", "oom", "destroy"].map(str::to_owned).to_vec()),
            ("label", vec![format!("{}={}", names::PREFIX, self.0.prefix), names::ENVIRONMENT.to_owned()]),
        ]);
        let options = EventsOptionsBuilder::new().since(&since).filters(&filters).build();
        let events = self.api()?.events(Some(options));
        Ok(events.take_while(|event| std::future::ready(event.is_ok())).map(|_| ()).boxed())
    }
}
