//! Rust text as the checker sees it: tokens with their lines, comments gone, test code marked, and
//! every path resolved to the crate's own modules or to a foreign crate. Textual, so macros that
//! build paths from pieces are out of its sight.

use std::collections::{HashMap, HashSet};

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Word(String),
    Text(String),
    PathSep,
    Mark(char),
}

#[derive(Debug, Clone)]
pub struct Token {
    pub kind: Kind,
    pub line: usize,
}

impl Token {
    pub fn is(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(w) if w == word)
    }

    pub fn mark(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }

    pub fn word(&self) -> Option<&str> {
        if let Kind::Word(w) = &self.kind { Some(w) } else { None }
    }
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// Segments below `crate`.
    Own(Vec<String>),
    /// Segments, the foreign crate first.
    Foreign(Vec<String>),
}

#[derive(Debug, Clone)]
pub struct Reference {
    pub line: usize,
    pub target: Target,
    pub glob: bool,
}

pub struct Source {
    pub path: String,
    /// Without what stands below `#[cfg(test)]`.
    pub tokens: Vec<Token>,
    pub references: Vec<Reference>,
    /// Lines of production code, comments and blanks included.
    pub lines: usize,
    /// Modules declared below `#[cfg(test)]`, as the paths their files can have.
    pub test_modules: Vec<String>,
}

pub fn read(path: &str, text: &str) -> Source {
    let all = tokens(text);
    let (tokens, test_lines, test_words) = without_tests(all);
    let base = path.strip_suffix("/mod.rs").or_else(|| path.strip_suffix(".rs")).unwrap_or(path);
    let base = if matches!(base, "src/lib" | "src/main") { "src" } else { base };
    let test_modules =
        test_words.iter().flat_map(|m| [format!("{base}/{m}.rs"), format!("{base}/{m}/mod.rs")]).collect();
    let references = references(path, &tokens);
    let lines = text.lines().count().saturating_sub(test_lines);
    Source { path: path.into(), tokens, references, lines, test_modules }
}

pub fn tokens(text: &str) -> Vec<Token> {
    let c: Vec<char> = text.chars().collect();
    let (mut i, mut line, mut out) = (0, 1, Vec::new());
    let at = |i: usize| c.get(i).copied().unwrap_or('\0');
    while i < c.len() {
        let start = line;
        match c[i] {
            '\n' => {
                line += 1;
                i += 1;
            }
            '/' if at(i + 1) == '/' => {
                while i < c.len() && c[i] != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                while i < c.len() {
                    if at(i) == '/' && at(i + 1) == '*' {
                        depth += 1;
                        i += 2;
                    } else if at(i) == '*' && at(i + 1) == '/' {
                        depth -= 1;
                        i += 2;
                        if depth == 0 {
                            break;
                        }
                    } else {
                        line += usize::from(c[i] == '\n');
                        i += 1;
                    }
                }
            }
            '"' => {
                let (text, end) = quoted(&c, i + 1);
                line += c[i..end].iter().filter(|x| **x == '\n').count();
                out.push(Token { kind: Kind::Text(text), line: start });
                i = end;
            }
            // A quote opens a character unless what follows is a lifetime.
            '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => {
                i += if at(i + 1) == '\\' { 3 } else { 2 };
                while i < c.len() && c[i] != '\'' {
                    i += 1;
                }
                i += 1;
            }
            'r' | 'b' | 'c' if raw_start(&c, i).is_some() => {
                let (body, hashes) = raw_start(&c, i).unwrap_or_default();
                let mut end = body;
                let closes = |e: usize| at(e) == '"' && (1..=hashes).all(|k| at(e + k) == '#');
                while end < c.len() && !closes(end) {
                    end += 1;
                }
                out.push(Token { kind: Kind::Text(c[body..end.min(c.len())].iter().collect()), line: start });
                line += c[i..end.min(c.len())].iter().filter(|x| **x == '\n').count();
                i = end + 1 + hashes;
            }
            x if x.is_alphanumeric() || x == '_' => {
                let mut end = i;
                while at(end).is_alphanumeric() || at(end) == '_' {
                    end += 1;
                }
                out.push(Token { kind: Kind::Word(c[i..end].iter().collect()), line: start });
                i = end;
            }
            ':' if at(i + 1) == ':' => {
                out.push(Token { kind: Kind::PathSep, line: start });
                i += 2;
            }
            x if x.is_whitespace() => i += 1,
            x => {
                out.push(Token { kind: Kind::Mark(x), line: start });
                i += 1;
            }
        }
    }
    out
}

fn quoted(c: &[char], mut i: usize) -> (String, usize) {
    let mut text = String::new();
    while i < c.len() && c[i] != '"' {
        if c[i] == '\\' {
            i += 1;
        }
        text.extend(c.get(i));
        i += 1;
    }
    (text, i + 1)
}

/// Start of the body and number of hashes of a raw string (`r"`, `br#"`, …) that begins at `i`.
fn raw_start(c: &[char], i: usize) -> Option<(usize, usize)> {
    let mut j = i;
    if matches!(c[j], 'b' | 'c') {
        j += 1;
    }
    if c.get(j) != Some(&'r') {
        return None;
    }
    j += 1;
    let hashes = c[j..].iter().take_while(|x| **x == '#').count();
    (c.get(j + hashes) == Some(&'"')).then_some((j + hashes + 1, hashes))
}

/// Splits off every item below `#[cfg(test)]`: what is left, the lines taken, the modules named there.
fn without_tests(all: Vec<Token>) -> (Vec<Token>, usize, Vec<String>) {
    let (mut kept, mut lines, mut modules, mut i) = (Vec::new(), 0, Vec::new(), 0);
    while i < all.len() {
        let is_attribute = all[i].mark('#')
            && all.get(i + 1).is_some_and(|t| t.mark('['))
            && all.get(i + 2).is_some_and(|t| t.is("cfg"))
            && all.get(i + 4).is_some_and(|t| t.is("test"))
            && all.get(i + 6).is_some_and(|t| t.mark(']'));
        if !is_attribute {
            kept.push(all[i].clone());
            i += 1;
            continue;
        }
        let first = all[i].line;
        let end = item_end(&all, i + 7);
        for pair in all[i..end].windows(3) {
            if let (true, Some(name), true) = (pair[0].is("mod"), pair[1].word(), pair[2].mark(';')) {
                modules.push(name.to_owned());
            }
        }
        lines += all[end - 1].line - first + 1;
        i = end;
    }
    (kept, lines, modules)
}

/// One past the `;` or the closing brace that ends the item starting at `i`.
fn item_end(all: &[Token], mut i: usize) -> usize {
    let mut depth = 0;
    while i < all.len() {
        match all[i].kind {
            Kind::Mark('{' | '(' | '[') => depth += 1,
            Kind::Mark('}') if depth == 1 => return i + 1,
            Kind::Mark('}' | ')' | ']') => depth -= 1,
            Kind::Mark(';') if depth == 0 => return i + 1,
            _ => {}
        }
        i += 1;
    }
    all.len()
}

/// Segments of the module that the file at `path` is.
pub fn module_of(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    let inner = inner.strip_suffix("/mod.rs").or_else(|| inner.strip_suffix(".rs")).unwrap_or(inner);
    if matches!(inner, "lib" | "main") { Vec::new() } else { inner.split('/').map(str::to_owned).collect() }
}

struct Names {
    aliases: HashMap<String, Target>,
    modules: HashSet<String>,
}

fn references(path: &str, tokens: &[Token]) -> Vec<Reference> {
    let file = module_of(path);
    let mut names = Names { aliases: HashMap::new(), modules: HashSet::new() };
    for pair in tokens.windows(2) {
        if let (true, Some(name)) = (pair[0].is("mod"), pair[1].word()) {
            names.modules.insert(name.to_owned());
        }
    }
    let mut out = Vec::new();
    let mut inline = Vec::new();
    let mut in_use = vec![false; tokens.len()];
    let mut depth = 0usize;
    let mut rest = Vec::new();
    for i in 0..tokens.len() {
        match &tokens[i].kind {
            Kind::Mark('{') => {
                depth += 1;
                if i >= 2
                    && tokens[i - 2].is("mod")
                    && let Some(name) = tokens[i - 1].word()
                {
                    inline.push((name.to_owned(), depth));
                }
            }
            Kind::Mark('}') => {
                inline.retain(|(_, d)| *d != depth);
                depth = depth.saturating_sub(1);
            }
            // `use<..>` in a return type bounds captures and imports nothing.
            Kind::Word(w) if w == "use" && !tokens.get(i + 1).is_some_and(|t| t.mark('<')) => {
                let module = joined(&file, &inline);
                let mut leaves = Vec::new();
                let mut end = i + 1;
                use_tree(tokens, &mut end, Vec::new(), &mut leaves);
                in_use[i..end.min(tokens.len())].fill(true);
                for (segments, alias, line) in leaves {
                    let glob = segments.last().is_some_and(|s| s == "*");
                    let target = resolve(&segments, &module, &names);
                    if !glob && let Some(name) = alias.or_else(|| segments.last().cloned()) {
                        names.aliases.insert(name, target.clone());
                    }
                    out.push(Reference { line, target, glob });
                }
            }
            _ if !in_use[i] => rest.push((i, joined(&file, &inline))),
            _ => {}
        }
    }
    for (i, module) in rest {
        let starts = tokens[i].word().is_some()
            && tokens.get(i + 1).is_some_and(|t| t.kind == Kind::PathSep)
            && !(i > 0 && tokens[i - 1].mark('.'))
            && !(i > 0
                && tokens[i - 1].kind == Kind::PathSep
                && i > 1
                && (tokens[i - 2].word().is_some() || tokens[i - 2].mark('>')));
        if !starts {
            continue;
        }
        let mut segments = vec![tokens[i].word().unwrap_or_default().to_owned()];
        let mut j = i + 1;
        while tokens.get(j).is_some_and(|t| t.kind == Kind::PathSep)
            && let Some(word) = tokens.get(j + 1).and_then(Token::word)
        {
            segments.push(word.to_owned());
            j += 2;
        }
        out.push(Reference { line: tokens[i].line, target: resolve(&segments, &module, &names), glob: false });
    }
    out
}

fn joined(file: &[String], inline: &[(String, usize)]) -> Vec<String> {
    file.iter().cloned().chain(inline.iter().map(|(name, _)| name.clone())).collect()
}

type Leaf = (Vec<String>, Option<String>, usize);

/// Reads one branch of a `use` tree at `i`, leaving `i` behind it.
fn use_tree(tokens: &[Token], i: &mut usize, prefix: Vec<String>, leaves: &mut Vec<Leaf>) {
    let mut path = prefix;
    while let Some(token) = tokens.get(*i) {
        match &token.kind {
            Kind::PathSep => *i += 1,
            Kind::Word(w) if w == "as" => {
                let alias = tokens.get(*i + 1).and_then(Token::word).map(str::to_owned);
                leaves.push((path, alias, token.line));
                *i += 2;
                return;
            }
            Kind::Word(w) => {
                // `a::{self}` names `a` itself.
                if w != "self" || path.is_empty() {
                    path.push(w.clone());
                }
                *i += 1;
                let goes_on = tokens.get(*i).is_some_and(|t| t.kind == Kind::PathSep || t.is("as"));
                if !goes_on {
                    leaves.push((path, None, token.line));
                    return;
                }
            }
            Kind::Mark('*') => {
                path.push("*".into());
                leaves.push((path, None, token.line));
                *i += 1;
                return;
            }
            Kind::Mark('{') => {
                *i += 1;
                while let Some(next) = tokens.get(*i) {
                    if next.mark('}') {
                        *i += 1;
                        return;
                    }
                    if next.mark(',') {
                        *i += 1;
                    } else {
                        use_tree(tokens, i, path.clone(), leaves);
                    }
                }
            }
            _ => return,
        }
    }
}

fn resolve(segments: &[String], module: &[String], names: &Names) -> Target {
    let first = segments[0].as_str();
    match first {
        "crate" | "hythe" => Target::Own(segments[1..].to_vec()),
        "self" => Target::Own(module.iter().chain(&segments[1..]).cloned().collect()),
        "super" => {
            let ups = segments.iter().take_while(|s| *s == "super").count();
            let parent = &module[..module.len().saturating_sub(ups)];
            Target::Own(parent.iter().chain(&segments[ups..]).cloned().collect())
        }
        _ => match names.aliases.get(first) {
            Some(Target::Own(path)) => Target::Own(path.iter().chain(&segments[1..]).cloned().collect()),
            Some(Target::Foreign(path)) => Target::Foreign(path.iter().chain(&segments[1..]).cloned().collect()),
            None if names.modules.contains(first) => Target::Own(module.iter().chain(segments).cloned().collect()),
            None => Target::Foreign(segments.to_vec()),
        },
    }
}
