//! Patterns of a `.gitignore` as regular expressions of POSIX (ERE), which the driver gives to `grep`; pure. They are held
//! against paths of files without a leading slash; whoever matches a directory matches all below it.

/// A pattern that takes files, or gives back what those before it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    pub expression: String,
    pub gives_back: bool,
}

/// None for blank lines and comments.
pub(super) fn pattern(line: &str) -> Option<Pattern> {
    let line = if line.ends_with("\\ ") { line } else { line.trim_end() };
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (gives_back, text) = line.strip_prefix('!').map_or((false, line), |text| (true, text));
    let (directory, text) = text.strip_suffix('/').map_or((false, text), |text| (true, text));
    let anchored = text.contains('/');
    let text = text.strip_prefix('/').unwrap_or(text);
    if text.is_empty() {
        return None;
    }
    let start = if anchored { "^" } else { "^(.*/)?" };
    let end = if directory { "/.*$" } else { "(/.*)?$" };
    Some(Pattern { expression: format!("{start}{}{end}", body(text)), gives_back })
}

fn body(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**/").filter(|_| out.is_empty() || out.ends_with('/')) {
            out.push_str("(.*/)?");
            rest = after;
            continue;
        }
        if rest == "**" && (out.is_empty() || out.ends_with('/')) {
            out.push_str(".*");
            break;
        }
        if let Some((set, after)) = bracket(rest) {
            out.push_str(&set);
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '*' => {
                rest = rest.trim_start_matches('*');
                out.push_str("[^/]*");
            }
            '?' => out.push_str("[^/]"),
            '\\' => {
                let next = rest.chars().next().unwrap_or('\\');
                rest = rest.strip_prefix(next).unwrap_or(rest);
                literal(&mut out, next);
            }
            other => literal(&mut out, other),
        }
    }
    out
}

fn literal(out: &mut String, c: char) {
    if ".[]{}()*+?^$|\\".contains(c) {
        out.push('\\');
    }
    out.push(c);
}

/// `[…]` at the start, as ERE has it, and what follows.
fn bracket(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('[')?;
    let (negated, inner) = match inner.strip_prefix(['!', '^']) {
        Some(rest) => (true, rest),
        None => (false, inner),
    };
    // A closing bracket right at the start is meant.
    let skip = usize::from(inner.starts_with(']'));
    let end = inner[skip..].find(']')? + skip;
    let set = &inner[..end];
    if set.is_empty() || set.contains(['[', '\\', '/']) {
        return None;
    }
    Some((format!("[{}{set}]", if negated { "^/" } else { "" }), &inner[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_has_its_expression() {
        for (line, expression) in [
            ("spec/", "^(.*/)?spec/.*$"),
            ("*.go", "^(.*/)?[^/]*\\.go(/.*)?$"),
            ("/top", "^top(/.*)?$"),
            ("cmd/web", "^cmd/web(/.*)?$"),
            ("**/x", "^(.*/)?x(/.*)?$"),
            ("a/**/b", "^a/(.*/)?b(/.*)?$"),
            ("a/**", "^a/.*(/.*)?$"),
            ("f?o[0-9]", "^(.*/)?f[^/]o[0-9](/.*)?$"),
            ("[!a]b", "^(.*/)?[^/a]b(/.*)?$"),
            ("a[b", "^(.*/)?a\\[b(/.*)?$"),
            ("\\#x$(id)", "^(.*/)?#x\\$\\(id\\)(/.*)?$"),
        ] {
            assert_eq!(pattern(line).unwrap(), Pattern { expression: expression.into(), gives_back: false }, "{line}");
        }
        assert!(pattern("!keep").unwrap().gives_back);
        for nothing in ["", "  ", "# comment", "/", "!"] {
            assert_eq!(pattern(nothing), None, "{nothing}");
        }
    }
}
