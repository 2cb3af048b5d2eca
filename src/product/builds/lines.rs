//! From the bytes that a build prints to the lines that the pusher reads: no colour codes, no control characters, bounded
//! in length and number. A heading waits for what follows it, so that it can end with the time its work took: a line of
//! one unit separator (U+001F) says that the work is done. Output that comes before does not wait; then the time is
//! told after it.

use std::time::{Duration, Instant};

use super::BuildLog;

const HEADING: &str = "-----> ";
const BODY: &str = "       ";
const DONE: u8 = 0x1f;
/// Characters of one line.
const LONGEST: usize = 1000;
/// Lines of one phase.
const MOST: usize = 5000;
/// A heading that waited so long is shown without its time.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Below it a time is not worth its place.
const WORTH_SHOWING: Duration = Duration::from_millis(500);

pub(super) struct Lines<'a> {
    log: &'a dyn BuildLog,
    partial: Vec<u8>,
    /// The heading and when its work began; the text is taken once it is shown.
    heading: Option<(Option<String>, Instant)>,
    shown: usize,
}

impl<'a> Lines<'a> {
    pub fn new(log: &'a dyn BuildLog) -> Self {
        Self { log, partial: Vec::new(), heading: None, shown: 0 }
    }

    pub fn push(&mut self, bytes: &[u8], now: Instant) {
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.partial);
                    if line == [DONE] {
                        self.settle(now);
                        continue;
                    }
                    self.line(&clean(&line), now);
                }
                // Whatever redraws its line has a newer state of it to tell.
                b'\r' => {}
                _ if self.partial.len() < LONGEST * 4 => self.partial.push(byte),
                _ => {}
            }
        }
    }

    /// When `tick` should be called, if nothing else happens.
    pub fn due(&self) -> Option<Instant> {
        self.heading.as_ref().filter(|(text, _)| text.is_some()).map(|(_, since)| *since + PATIENCE)
    }

    /// Shows a heading that has waited long enough.
    pub fn tick(&mut self, now: Instant) {
        if let Some((text, since)) = &mut self.heading
            && now.duration_since(*since) >= PATIENCE
            && let Some(text) = text.take()
        {
            let text = format!("{text} …");
            self.show(&text);
        }
    }

    /// The phase is over.
    pub fn finish(&mut self, now: Instant) {
        if !self.partial.is_empty() {
            self.push(b"\n", now);
        }
        self.settle(now);
    }

    fn line(&mut self, text: &str, now: Instant) {
        if let Some(heading) = text.strip_prefix(HEADING) {
            self.settle(now);
            self.heading = Some((Some(format!("{HEADING}{heading}")), now));
            return;
        }
        if text.trim().is_empty() {
            return;
        }
        if let Some(heading) = self.heading.as_mut().and_then(|(text, _)| text.take()) {
            self.show(&heading);
        }
        let text = format!("{BODY}{}", text.strip_prefix(BODY).unwrap_or(text));
        self.show(&text);
    }

    /// The work of the last heading is done.
    fn settle(&mut self, now: Instant) {
        let Some((text, since)) = self.heading.take() else { return };
        let took = now.duration_since(since);
        match text {
            Some(text) if took >= WORTH_SHOWING => self.show(&format!("{text} … {}", seconds(took))),
            Some(text) => self.show(&text),
            None if took >= WORTH_SHOWING => self.show(&format!("{BODY}took {}", seconds(took))),
            None => {}
        }
    }

    fn show(&mut self, text: &str) {
        self.shown += 1;
        match self.shown {
            n if n < MOST => self.log.line(text),
            MOST => self.log.line(&format!("{BODY}… the rest of the output is left out, after {MOST} lines")),
            _ => {}
        }
    }
}

pub(super) fn seconds(took: Duration) -> String {
    format!("{:.1}s", took.as_secs_f64())
}

/// Text without escape sequences (ECMA-48) and control characters, of bounded length.
pub(super) fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    let mut length = 0;
    while let Some(c) = characters.next() {
        if c == '\u{1b}' {
            match characters.next() {
                Some('[') => while characters.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                Some(']') => while characters.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}') {},
                _ => {}
            }
            continue;
        }
        let shown = match c {
            '\t' => ' ',
            c if c.is_control() => continue,
            // Marks that reorder what people read.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => continue,
            c => c,
        };
        if length == LONGEST {
            out.push('…');
            break;
        }
        length += 1;
        out.push(shown);
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl BuildLog for Kept {
        fn line(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }

    /// Pieces of output, each with the milliseconds since the start.
    fn shown(pieces: &[(u64, &str)]) -> Vec<String> {
        let kept = Kept::default();
        let start = Instant::now();
        let mut lines = Lines::new(&kept);
        let mut last = start;
        for (millis, text) in pieces {
            last = start + Duration::from_millis(*millis);
            lines.tick(last);
            lines.push(text.as_bytes(), last);
        }
        lines.finish(last);
        kept.0.into_inner().unwrap()
    }

    #[test]
    fn a_heading_ends_with_its_time() {
        assert_eq!(
            shown(&[
                (0, "-----> Installing\n"),
                (2100, "\u{1f}\nadded 3 packages\n"),
                (2110, "-----> Next\n"),
                (2200, "")
            ]),
            ["-----> Installing … 2.1s", "       added 3 packages", "-----> Next"]
        );
    }

    #[test]
    fn output_does_not_wait_for_the_time() {
        assert_eq!(
            shown(&[(0, "-----> Building\n"), (10, "a\n"), (1500, "b\n"), (1600, "")]),
            ["-----> Building", "       a", "       b", "       took 1.6s"]
        );
    }

    #[test]
    fn a_long_wait_is_announced_and_closed() {
        assert_eq!(
            shown(&[(0, "-----> Installing\n"), (4000, ""), (9000, "\u{1f}\nadded\n"), (9100, "")]),
            ["-----> Installing …", "       took 9.0s", "       added"]
        );
    }

    #[test]
    fn what_an_app_prints_is_shown_inertly() {
        assert_eq!(
            shown(&[(0, "\u{1b}[31mred\u{1b}[0m\r\n\u{1b}]0;title\u{7}x\u{202e}y\0\n  in\n\n"), (1, "last")]),
            ["       red", "       xy", "         in", "       last"]
        );
        let long = "x".repeat(5000);
        assert_eq!(shown(&[(0, &long)])[0].chars().count(), 7 + LONGEST + 1);
    }

    #[test]
    fn the_number_of_lines_is_bounded() {
        let many = "x\n".repeat(MOST * 2);
        let lines = shown(&[(0, &many)]);
        assert_eq!(lines.len(), MOST);
        assert!(lines[MOST - 1].contains("left out"));
    }
}
