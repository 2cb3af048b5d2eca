//! When a schedule is due. Pure but for the table of time zones. Five fields (POSIX crontab, with names, steps, `L`, `#`)
//! or a word such as `@daily`; a minute is the finest.
//!
//! Where a zone's clocks jump: a fixed time that does not exist that day is due at the first moment after the gap; one
//! that exists twice is due once, the first time. Steps and stars follow the clock on the wall.

use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;

use crate::base::clock::Timestamp;

pub struct Schedule {
    pattern: croner::Cron,
    zone: TimeZone,
}

pub const UTC: &str = "UTC";

impl Schedule {
    /// The error completes the sentence "the schedule …" or "the time zone …".
    pub fn parse(schedule: &str, timezone: &str) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let pattern = parser.parse(schedule.trim()).map_err(|fault| {
            format!("the schedule \"{schedule}\" is not understood ({fault}); write five fields, such as 0 3 * * *, or @daily")
        })?;
        let zone = TimeZone::get(timezone)
            .map_err(|_| format!("the time zone \"{timezone}\" is not known; write one such as Europe/Zurich"))?;
        Ok(Self { pattern, zone })
    }

    /// The first time after `after`; none when there is none left.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_millisecond(after.0).ok()?.to_zoned(self.zone.clone());
        let next = self.pattern.find_next_occurrence(&after, false).ok()?;
        Some(Timestamp(next.timestamp().as_millisecond()))
    }

    /// The last time up to `now`.
    pub fn last(&self, now: Timestamp) -> Option<Timestamp> {
        let now = jiff::Timestamp::from_millisecond(now.0).ok()?.to_zoned(self.zone.clone());
        let last = self.pattern.find_previous_occurrence(&now, true).ok()?;
        Some(Timestamp(last.timestamp().as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().expect("a time").as_millisecond())
    }

    fn times(schedule: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(schedule, zone).expect("a schedule");
        let mut all = Vec::new();
        let mut now = at(from);
        for _ in 0..count {
            now = schedule.next(now).expect("a next time");
            all.push(now.to_string().trim_end_matches(":00.000Z").to_owned());
        }
        all
    }

    #[test]
    fn due_times_are_after_the_last_and_in_the_zone() {
        assert_eq!(times("0 3 * * *", UTC, "2026-01-01T03:00:00Z", 2), ["2026-01-02T03:00", "2026-01-03T03:00"]);
        assert_eq!(times("@hourly", UTC, "2026-01-01T03:59:59Z", 1), ["2026-01-01T04:00"]);
        assert_eq!(times("30 8 * * MON", "Asia/Kolkata", "2026-01-01T00:00:00Z", 1), ["2026-01-05T03:00"]);
        assert_eq!(times("0 0 29 2 *", UTC, "2026-01-01T00:00:00Z", 1), ["2028-02-29T00:00"]);
    }

    /// Zurich, 2026-03-29: 02:00 becomes 03:00, so 02:30 does not exist.
    #[test]
    fn a_time_that_does_not_exist_is_due_after_the_gap_and_once() {
        let found = times("30 2 * * *", "Europe/Zurich", "2026-03-28T00:00:00Z", 3);
        assert_eq!(found, ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]);
        let found = times("*/30 * * * *", "Europe/Zurich", "2026-03-29T00:29:00Z", 3);
        assert_eq!(found, ["2026-03-29T00:30", "2026-03-29T01:00", "2026-03-29T01:30"]);
    }

    /// Zurich, 2026-10-25: 03:00 becomes 02:00, so 02:30 exists twice (00:30 and 01:30 UTC).
    #[test]
    fn a_time_that_exists_twice_is_due_once() {
        let found = times("30 2 * * *", "Europe/Zurich", "2026-10-24T12:00:00Z", 2);
        assert_eq!(found, ["2026-10-25T00:30", "2026-10-26T01:30"]);
        let found = times("*/30 * * * *", "Europe/Zurich", "2026-10-25T00:00:00Z", 3);
        assert_eq!(found, ["2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:30"]);
    }

    #[test]
    fn what_is_no_schedule_is_told() {
        for bad in ["", "* * * *", "* * * * * *", "61 * * * *", "$(id)", "@fortnightly", "0 0 30 2 * 2026", "a b c d e"]
        {
            assert!(Schedule::parse(bad, UTC).is_err(), "{bad}");
        }
        for bad in ["", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe/Zurich\0"] {
            assert!(Schedule::parse("@daily", bad).is_err(), "{bad}");
        }
        let never = Schedule::parse("0 0 30 2 *", UTC).expect("well written");
        assert_eq!(never.next(at("2026-01-01T00:00:00Z")), None);
    }
}
