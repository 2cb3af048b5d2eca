//! What is kept of an environment's lines, and what comes.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::base::access::{Action, Actor};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::model::{App, Environment, ProcessName};
use crate::product::Ctx;
use crate::state::logs::kept::Query;

const MOST_LINES: usize = 10_000;
const LONGEST_WORD: usize = 200;

/// As a person gives it; everything that is given must hold.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    pub tail: usize,
    pub follow: bool,
    /// `web` or `web.1`.
    pub process: Option<String>,
    /// `app`, `build`, `deploy`, `proxy` or `system`.
    pub source: Option<String>,
    /// A time (RFC 3339), or how long ago: `90s`, `15m`, `2h`, `3d`.
    pub since: Option<String>,
    pub until: Option<String>,
    pub word: Option<String>,
}

/// Lines as `TIME NAME: TEXT`, oldest first. Whoever may see the app may see what it writes.
pub async fn logs(
    ctx: &Ctx,
    actor: &Actor,
    app: &App,
    environment: &Environment,
    query: &LogQuery,
) -> Result<BoxStream<'static, String>> {
    actor.may(Action::ViewApp, &app.into())?;
    let asked = parse(query, ctx.now())?;
    if query.follow {
        return Ok(ctx.insight.logs.follow(&environment.id, &asked)?.map(|record| record.to_string()).boxed());
    }
    let found = ctx.insight.logs.search(&environment.id, &asked).await?;
    Ok(futures_util::stream::iter(found).map(|record| record.to_string()).boxed())
}

fn parse(query: &LogQuery, now: Timestamp) -> Result<Query> {
    if query.tail > MOST_LINES {
        return Err(Error::invalid("tail", format!("must be 0 to {MOST_LINES}")));
    }
    if query.word.as_ref().is_some_and(|word| word.len() > LONGEST_WORD) {
        return Err(Error::invalid("grep", format!("must be at most {LONGEST_WORD} bytes long")));
    }
    if let Some(process) = &query.process {
        let (name, ordinal) = process.split_once('.').map_or((process.as_str(), None), |(n, o)| (n, Some(o)));
        name.parse::<ProcessName>().map_err(|e| Error::invalid("process", format!("{e}")))?;
        if ordinal.is_some_and(|ordinal| ordinal.parse::<u32>().is_err()) {
            return Err(Error::invalid("process", "must be a process type such as web, or one of its replicas: web.1"));
        }
    }
    let time = |field: &str, text: &Option<String>| text.as_deref().map(|text| moment(field, text, now)).transpose();
    Ok(Query {
        tail: query.tail,
        source: query.source.as_deref().map(|s| s.parse().map_err(|e| Error::invalid("source", e))).transpose()?,
        process: query.process.clone(),
        since: time("since", &query.since)?,
        until: time("until", &query.until)?,
        word: query.word.clone().filter(|word| !word.is_empty()),
    })
}

/// A time, or so long before `now`.
pub(super) fn moment(field: &str, text: &str, now: Timestamp) -> Result<Timestamp> {
    let ago = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let millis = match unit {
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let number = number.parse::<u32>().ok()?;
        Some(now.plus_millis(-(i64::from(number).saturating_mul(millis))))
    };
    let at = || text.parse::<jiff::Timestamp>().ok().map(|time| Timestamp(time.as_millisecond()));
    ago().or_else(at).ok_or_else(|| {
        Error::invalid(field, "must be a time such as 2026-01-31T12:00:00Z, or how long ago: 90s, 15m, 2h, 3d")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_a_while_ago() {
        let now = Timestamp(1_000_000_000);
        for (text, at) in [
            ("90s", Some(999_910_000)),
            ("2h", Some(992_800_000)),
            ("1970-01-02T00:00:00Z", Some(86_400_000)),
            ("", None),
            ("h", None),
            ("-2h", None),
            ("2ü", None),
            ("yesterday", None),
            ("99999999999d", None),
        ] {
            assert_eq!(moment("since", text, now).ok().map(|t| t.0), at, "{text}");
        }
    }

    #[test]
    fn what_can_match_nothing_is_refused() {
        let refused = |query: LogQuery| parse(&query, Timestamp(0)).is_err();
        assert!(refused(LogQuery { tail: 10_001, ..LogQuery::default() }));
        assert!(refused(LogQuery { process: Some("web.one".into()), ..LogQuery::default() }));
        assert!(refused(LogQuery { process: Some("../web".into()), ..LogQuery::default() }));
        assert!(refused(LogQuery { source: Some("heroku".into()), ..LogQuery::default() }));
        assert!(!refused(LogQuery {
            process: Some("web.1".into()),
            source: Some("app".into()),
            ..LogQuery::default()
        }));
    }
}
