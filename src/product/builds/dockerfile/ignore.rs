//! `.dockerignore`: which files of the tree are not sent (Docker reference, ".dockerignore files"). A later pattern decides
//! against an earlier one; `!` brings back; `**` stands for any number of directories.

/// Bytes of one file of patterns.
pub const LARGEST: u64 = 64 << 10;
const MOST: usize = 1000;

#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<(bool, Vec<String>)>,
}

impl Ignore {
    pub fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let text = text.trim_start_matches('\u{feff}');
        let mut patterns = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')).map(str::trim).take(MOST) {
            let (brings_back, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let parts: Vec<String> =
                pattern.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect();
            if !parts.is_empty() {
                patterns.push((brings_back, parts));
            }
        }
        Self { patterns }
    }

    /// `path` is relative, with `/` between its parts.
    pub fn hides(&self, path: &[u8]) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        let path = String::from_utf8_lossy(path);
        let parts: Vec<&str> = path.split('/').collect();
        let mut hidden = false;
        for (brings_back, pattern) in &self.patterns {
            // What matches a directory holds for all that is below.
            if *brings_back == hidden && (1..=parts.len()).any(|depth| matches(pattern, &parts[..depth])) {
                hidden = !brings_back;
            }
        }
        hidden
    }
}

/// Row by row over the path, so that no pattern makes it try again and again.
fn matches(pattern: &[String], path: &[&str]) -> bool {
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for (at_part, part) in pattern.iter().enumerate() {
        let mut next = vec![false; path.len() + 1];
        if part == "**" && at_part + 1 == pattern.len() {
            // At the end it stands for something.
            let mut any = false;
            for at in 0..path.len() {
                any |= reached[at];
                next[at + 1] = any;
            }
        } else if part == "**" {
            let mut any = false;
            for at in 0..=path.len() {
                any |= reached[at];
                next[at] = any;
            }
        } else {
            let part: Vec<char> = part.chars().collect();
            for at in 0..path.len() {
                next[at + 1] = reached[at] && fits(&part, path[at]);
            }
        }
        reached = next;
    }
    reached[path.len()]
}

/// One part of a path: `*`, `?`, `[a-z]`, `\x` (Go's filepath.Match); `**` within a name is `*`.
fn fits(pattern: &[char], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    let mut at = 0;
    while at < pattern.len() {
        let mut next = vec![false; name.len() + 1];
        let step: Box<dyn Fn(char) -> bool> = match pattern[at] {
            '*' => {
                let mut any = false;
                for (i, slot) in next.iter_mut().enumerate() {
                    any |= reached[i];
                    *slot = any;
                }
                reached = next;
                at += 1;
                continue;
            }
            '?' => Box::new(|_| true),
            '[' => match class(pattern, at) {
                Some((set, end)) => {
                    at = end;
                    Box::new(set)
                }
                None => Box::new(|c| c == '['),
            },
            '\\' if at + 1 < pattern.len() => {
                at += 1;
                let escaped = pattern[at];
                Box::new(move |c| c == escaped)
            }
            plain => Box::new(move |c| c == plain),
        };
        for i in 0..name.len() {
            next[i + 1] = reached[i] && step(name[i]);
        }
        reached = next;
        at += 1;
    }
    reached[name.len()]
}

/// The set that begins at `[`, and where its `]` stands; none where it has no end.
fn class(pattern: &[char], at: usize) -> Option<(impl Fn(char) -> bool + 'static, usize)> {
    let mut from = at + 1;
    let negated = pattern.get(from) == Some(&'^');
    if negated {
        from += 1;
    }
    let end = from + 1 + pattern.get(from + 1..)?.iter().position(|c| *c == ']')?;
    let body: Vec<char> = pattern[from..end].to_vec();
    let set = move |c: char| {
        let mut found = false;
        let mut i = 0;
        while i < body.len() {
            if i + 2 < body.len() && body[i + 1] == '-' {
                found |= (body[i]..=body[i + 2]).contains(&c);
                i += 3;
            } else {
                found |= body[i] == c;
                i += 1;
            }
        }
        found != negated
    };
    Some((set, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_hide_as_docker_has_it() {
        let ignore = Ignore::parse(
            b"# comment\nnode_modules\n*.md\n!README.md\n**/*.log\ndocs/**\n/secret\nte?t/[a-c]*\n a/b/ \nx\\*y\n",
        );
        for hidden in [
            "node_modules",
            "node_modules/a/b.js",
            "CHANGES.md",
            "a.log",
            "deep/er/a.log",
            "docs/a",
            "docs/a/b",
            "secret",
            "test/b1",
            "a/b/c",
            "x*y",
        ] {
            assert!(ignore.hides(hidden.as_bytes()), "{hidden}");
        }
        for sent in ["README.md", "src/CHANGES.md", "src/node_modules", "sub/secret", "test/d1", "a/bc", "xzy", "docs"]
        {
            assert!(!ignore.hides(sent.as_bytes()), "{sent}");
        }
    }

    #[test]
    fn all_but_some_and_patterns_that_would_take_for_ever() {
        let ignore = Ignore::parse(b"*\n!src\nsrc/*.tmp\n");
        assert!(ignore.hides(b"Makefile") && ignore.hides(b"src/a.tmp"));
        assert!(!ignore.hides(b"src/a.c") && !ignore.hides(b"src/deep/a.tmp"));
        let stars = "*a".repeat(200);
        assert!(!Ignore::parse(stars.as_bytes()).hides("a".repeat(150).as_bytes()));
        assert!(Ignore::parse(b"[").hides(b"["));
        assert!(!Ignore::parse(b"").hides(b"a"));
    }
}
