//! Shapes for people.

/// Rows in columns, as wide as they need; the last column has no end.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    std::iter::once(line(&head)).chain(rows.iter().map(|row| line(row))).collect()
}

/// `2026-01-31T12:00:00.000Z` as `2026-01-31 12:00:00`, UTC.
pub(super) fn time(text: &str) -> String {
    text.get(..19).map_or_else(|| text.to_owned(), |t| t.replace('T', " "))
}

pub(super) fn age(days: i64) -> String {
    match days {
        ..=0 => "less than a day old".into(),
        1 => "1 day old".into(),
        _ => format!("{days} days old"),
    }
}

/// `1.5 GB`
pub(super) fn bytes(count: u64) -> String {
    match count {
        n @ 0..1_000 => format!("{n} B"),
        n @ 1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        n @ 1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        n => format!("{:.1} GB", n as f64 / 1e9),
    }
}

/// Without what would move the cursor, change the title, or worse. Colours (ECMA-48 SGR) stay: programs write them.
pub(super) fn inert(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = colour(rest) {
            all.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        let turns_text = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (!c.is_control() || c == '\t' || c == '\n') && !turns_text {
            all.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    all
}

/// Length of the colour sequence that `text` starts with.
fn colour(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("\u{1b}[")?;
    let digits = inner.bytes().take_while(|b| b.is_ascii_digit() || *b == b';').count();
    (digits < 30 && inner.as_bytes().get(digits) == Some(&b'm')).then_some(2 + digits + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_nothing_to_obey_but_colours() {
        assert_eq!(inert("\u{1b}[31mred\u{1b}[0m"), "\u{1b}[31mred\u{1b}[0m");
        assert_eq!(inert("\u{1b}]0;title\u{7}x"), "]0;titlex");
        assert_eq!(inert("\u{1b}[2Jx\ry\u{202e}z"), "[2Jxyz");
        assert_eq!(inert("a\tü\n"), "a\tü\n");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "2".to_owned()]];
        assert_eq!(table(&["N", "V"], &rows), ["N     V", "a     1", "long  2"]);
    }
}
