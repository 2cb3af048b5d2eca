//! What a line is: text without controls, of bounded length, ended by a line feed in its file.
//!
//! Escape sequences (ECMA-48) go as a whole, so that a coloured word stays a word; of a progress bar
//! that returns to the start of its line, the last state stays.

/// Longest line in bytes.
pub(super) const LONGEST: usize = 16 << 10;

/// A line that no text can make stands for the end of the log: END OF TRANSMISSION.
pub(super) const END: &[u8] = b"\x04\n";

const ESCAPE: char = '\u{1b}';
/// CONTROL SEQUENCE INTRODUCER in one character.
const CSI: char = '\u{9b}';
const STRING_TERMINATOR: char = '\u{9c}';
const BELL: char = '\u{7}';
const CLIPPED: char = '…';
/// A line that is longer may not have room for its next character and the mark.
const ROOM: usize = LONGEST - 4 - CLIPPED.len_utf8();

/// The lines of `text` as they go into the file.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 1);
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        let shown = line.rsplit('\r').find(|state| !state.is_empty()).unwrap_or_default();
        push(shown, &mut out);
        out.push('\n');
    }
    out
}

/// The lines of a whole file, marks left out.
pub(super) fn split(bytes: &[u8]) -> Vec<String> {
    let ended = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if ended.is_empty() && bytes.is_empty() {
        return Vec::new();
    }
    ended.split(|&b| b == b'\n').filter(|line| !is_end(line)).map(|l| String::from_utf8_lossy(l).into_owned()).collect()
}

/// `line` without its line feed.
pub(super) fn is_end(line: &[u8]) -> bool {
    line == &END[..END.len() - 1]
}

fn push(line: &str, out: &mut String) {
    let start = out.len();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            ESCAPE => escaped(after),
            CSI => sequence(after),
            '\t' => shown(c, out, after),
            _ if c.is_control() => after,
            _ => shown(c, out, after),
        };
        if out.len() - start > ROOM && !rest.is_empty() {
            out.push(CLIPPED);
            return;
        }
    }
}

fn shown<'a>(c: char, out: &mut String, after: &'a str) -> &'a str {
    out.push(c);
    after
}

/// What follows the sequence that an escape character began.
fn escaped(text: &str) -> &str {
    match text.chars().next() {
        Some('[') => sequence(&text[1..]),
        // Strings for the terminal (title, hyperlink, device control). Unterminated ones stay as text.
        Some(']' | 'P' | 'X' | '^' | '_') => match terminator(text) {
            Some(end) => &text[end..],
            None => text,
        },
        Some(_) => {
            let rest = text.trim_start_matches(|c| matches!(c, ' '..='/'));
            match rest.chars().next() {
                Some('0'..='~') => &rest[1..],
                _ => rest,
            }
        }
        None => text,
    }
}

/// What follows the parameters and the final byte of a control sequence.
fn sequence(text: &str) -> &str {
    let rest = text.trim_start_matches(|c| matches!(c, ' '..='?'));
    match rest.chars().next() {
        Some('@'..='~') => &rest[1..],
        _ => rest,
    }
}

/// Where the text after the terminator begins.
fn terminator(text: &str) -> Option<usize> {
    text.char_indices().find_map(|(at, c)| match c {
        BELL | STRING_TERMINATOR => Some(at + c.len_utf8()),
        ESCAPE if text[at + 1..].starts_with('\\') => Some(at + 2),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_go_as_a_whole() {
        for (text, kept) in [
            ("\u{1b}[1;31mred\u{1b}[0m text", "red text"),
            ("\u{1b}]0;owned\u{7}title", "title"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{9b}2Jcleared", "cleared"),
            ("\u{1b}(Bcharset", "charset"),
            ("\u{1b}]0;never ends", "]0;never ends"),
            ("a\u{8}b\u{0}c\u{7f}d\u{85}e", "abcde"),
            ("tab\tstays", "tab\tstays"),
            ("10%\r50%\r100%\r", "100%"),
            ("windows\r\nunix\n", "windows\nunix"),
            ("", ""),
            ("a\n\nb", "a\n\nb"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
        ] {
            assert_eq!(clean(text), format!("{kept}\n"), "{text:?}");
        }
    }

    #[test]
    fn a_long_line_is_clipped() {
        let cleaned = clean(&"é".repeat(LONGEST));
        assert!(cleaned.len() <= LONGEST + 1, "{}", cleaned.len());
        assert!(cleaned.ends_with("é…\n"));
        let whole = "x".repeat(ROOM + 1);
        assert_eq!(clean(&whole), format!("{whole}\n"));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_control_or_an_end(text in "(?s)(\\PC|[\u{0}-\u{1f}\u{7f}-\u{9f}\\[\\]m;0-9]){0,60}") {
            let cleaned = clean(&text);
            prop_assert!(!cleaned.chars().any(|c| c.is_control() && c != '\t' && c != '\n'), "{cleaned:?}");
            prop_assert!(cleaned.ends_with('\n'));
            let lines = text.strip_suffix('\n').unwrap_or(&text).split('\n').count();
            prop_assert_eq!(split(cleaned.as_bytes()).len(), lines);
        }

        #[test]
        fn plain_text_is_kept(text in "\\PC{0,200}") {
            prop_assert_eq!(clean(&text), format!("{text}\n"));
        }
    }
}
