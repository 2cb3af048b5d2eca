//! A request's way into a replica: at once, or, where an app's replicas are given only so many, when one of them has room.

use std::sync::Arc;

use tokio::time::Instant;

use super::balance::{Refused, Wish};
use super::pages::Fault;
use super::upstream::{Pass, Upstream};
use super::{Shared, Target, balance};

pub(super) struct Errand<'a> {
    pub(super) host: &'a str,
    /// A newer one after a wait.
    pub(super) target: Arc<Target>,
    pub(super) wish: Wish,
    /// It waits no longer, whatever is tried; none until it has to.
    pub(super) until: Option<Instant>,
}

impl Shared {
    /// None: nobody is left to ask.
    pub(super) async fn enter(&self, errand: &mut Errand<'_>, tried: &[Arc<Upstream>]) -> Result<Option<Pass>, Fault> {
        let meter = Arc::clone(&errand.target.meter);
        let bound = |target: &Target| target.rules.as_ref().and_then(|rules| rules.bound());
        let pick = |target: &Target, wish| match balance::pick(target, wish, bound(target).map(|b| b.each), tried) {
            Ok(pass) => Some(Some(pass)),
            Err(Refused::Nobody) => Some(None),
            Err(Refused::Full) => None,
        };
        let line = errand.wish.line(&errand.target);
        let bounds = bound(&errand.target);
        // Nobody is passed by who came first.
        let again = errand.until.is_some();
        if (bounds.is_none() || again || !meter.queue().has_line(line))
            && let Some(decided) = pick(&errand.target, errand.wish)
        {
            return Ok(decided);
        }
        let Some(bounds) = bounds else { return Ok(None) };
        let place = meter.queue().stand(line, bounds.waiting, again).ok_or(Fault::Busy)?;
        let until = *errand.until.get_or_insert_with(|| Instant::now() + bounds.longest);
        let mut sent = self.sent.clone();
        loop {
            let is_first = place.is_first();
            if is_first {
                let table = sent.borrow_and_update().clone();
                if let Some(target) = self.look(&table, errand.host)? {
                    if !Arc::ptr_eq(&target.meter, &meter) {
                        // The host is another app's now, whose rules nobody has asked.
                        return Err(Fault::NoReplica);
                    }
                    errand.target = target;
                    if let Some(decided) = pick(&errand.target, errand.wish) {
                        return Ok(decided);
                    }
                }
            }
            tokio::select! {
                () = place.told() => {}
                changed = sent.changed(), if is_first => changed.map_err(|_| Fault::Busy)?,
                () = tokio::time::sleep_until(until) => return Err(Fault::Busy),
            }
        }
    }
}
