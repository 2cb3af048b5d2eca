//! Releases on their way to be live.

use super::Session;
use super::args::AtWord;
use super::failure::Result;
use super::text::time;
use crate::edges::api::types::HeldView;

pub(super) async fn proceed(s: &mut Session, at: &AtWord) -> Result<()> {
    let environment = s.client.proceed(&s.app_word(&at.app)?, &at.environment.environment).await?;
    if s.json {
        return Ok(s.io.json(&environment).await?);
    }
    Ok(s.io.say("going on, as soon as the replicas of the next step are ready; see it with: hythe ps").await?)
}

pub(super) async fn abort(s: &mut Session, at: &AtWord) -> Result<()> {
    let environment = s.client.abort(&s.app_word(&at.app)?, &at.environment.environment).await?;
    if s.json {
        return Ok(s.io.json(&environment).await?);
    }
    Ok(s.io.say("going back: all requests go to the release before").await?)
}

/// `held: 10 % of the requests go to v2 since …`
pub(super) fn text(held: &HeldView, release: Option<i64>) -> String {
    let release = release.map_or_else(|| "the wanted release".to_owned(), |number| format!("v{number}"));
    let mut text = format!(
        "{} % of the requests go to {release} since {} (step {} of {})",
        held.percent,
        time(&held.since),
        held.step,
        held.steps
    );
    if held.waits {
        let then = if held.goes_on { "goes on" } else { "goes back" };
        text = format!(
            "held: {text}; hythe releases:continue, or hythe releases:abort; by itself it {then} {}",
            time(&held.until)
        );
    }
    text
}
