//! A Dockerfile's text → its instructions, each with the line where it begins (Dockerfile reference, "Format").

use std::collections::BTreeMap;

use super::Fault;

/// Bytes of one Dockerfile.
pub const LARGEST: u64 = 256 << 10;
/// Stages and instructions are looked through more than once.
const MOST: usize = 2000;
/// Bytes of one instruction: the builder reads no longer line.
const LONGEST: usize = 60_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Of the first line; the first one of the file is 1.
    pub line: usize,
    /// Upper case.
    pub name: String,
    pub flags: Vec<String>,
    /// What follows the flags, in one line.
    pub rest: String,
    /// `ONBUILD` stood before it.
    pub on_build: bool,
    /// What its `<<NAME` stand for, in their order.
    pub heredocs: Vec<Heredoc>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    /// Its lines, without leading tabs where `<<-` says so.
    pub text: String,
    /// As a shell reads it: the lines as they stand, and the one that ends them.
    pub raw: String,
    /// `<<"NAME"`: nothing in it is put in.
    pub quoted: bool,
}

impl Instruction {
    /// In one line, so that no builder sees other instructions in it than were seen here.
    pub fn text(&self) -> String {
        let trigger = if self.on_build { "ONBUILD " } else { "" };
        let flags: String = self.flags.iter().flat_map(|flag| [flag.as_str(), " "]).collect();
        format!("{trigger}{} {flags}{}", self.name, self.rest)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// Continues a line at its end: `\`, or a backtick by directive.
    pub escape: char,
    pub instructions: Vec<Instruction>,
    /// Named by a `# syntax=` directive: a builder of its own, which is not used.
    pub syntax: Option<String>,
}

const KNOWN: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

pub fn parse(bytes: &[u8]) -> Result<Parsed, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::at(1, "is no UTF-8 text"))?;
    let text = text.trim_start_matches('\u{feff}');
    if text.contains('\0') {
        return Err(Fault::at(1, "holds a NUL character"));
    }
    let (escape, syntax) = directives(text)?;
    let mut instructions = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, first)) = lines.next() {
        let line = at + 1;
        let mut part = first;
        if is_blank_or_comment(part) {
            continue;
        }
        let mut joined = String::new();
        loop {
            let trimmed = part.trim_end();
            let Some(start) = trimmed.strip_suffix(escape) else {
                joined.push_str(trimmed);
                break;
            };
            joined.push_str(start);
            // Comments and empty lines between the lines of one instruction are left out.
            match lines.by_ref().map(|(_, line)| line).find(|line| !is_blank_or_comment(line)) {
                Some(next) => part = next,
                None => break,
            }
        }
        let joined = joined.trim();
        if joined.ends_with(escape) {
            return Err(Fault::at(line, "the file ends within this instruction"));
        }
        if joined.len() > LONGEST {
            return Err(Fault::at(line, format!("has more than {LONGEST} bytes in one instruction")));
        }
        let mut read = instruction(line, joined, false)?;
        for heredoc in &mut read.heredocs {
            fill(heredoc, line, lines.by_ref().map(|(_, line)| line))?;
        }
        instructions.push(read);
        if instructions.len() > MOST {
            return Err(Fault::at(line, format!("is too long: more than {MOST} instructions")));
        }
    }
    Ok(Parsed { escape, instructions, syntax })
}

/// One instruction of a base image's, which stands in one line.
pub fn on_build(text: &str) -> Result<Instruction, Fault> {
    instruction(0, text.trim(), true)
}

fn instruction(line: usize, text: &str, on_build: bool) -> Result<Instruction, Fault> {
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let name = name.to_ascii_uppercase();
    if !KNOWN.contains(&name.as_str()) {
        return Err(Fault::at(line, format!("unknown instruction {name:?}")));
    }
    let mut rest = rest.trim_start();
    if name == "ONBUILD" {
        let inner = instruction(line, rest, true)?;
        if on_build || matches!(inner.name.as_str(), "FROM" | "MAINTAINER" | "ONBUILD") {
            return Err(Fault::at(line, format!("ONBUILD {} is not allowed", inner.name)));
        }
        return Ok(inner);
    }
    let mut flags = Vec::new();
    while rest.starts_with("--") {
        let (flag, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        flags.push(flag.to_owned());
        rest = after.trim_start();
    }
    if rest.is_empty() && !(name == "CMD" || name == "ENTRYPOINT") {
        return Err(Fault::at(line, format!("{name} says nothing")));
    }
    let mut heredocs = Vec::new();
    if matches!(name.as_str(), "RUN" | "COPY" | "ADD") && !rest.starts_with('[') {
        heredocs.extend(rest.split_whitespace().filter_map(heredoc));
    }
    if on_build && !heredocs.is_empty() {
        return Err(Fault::at(line, format!("ONBUILD {name} with << (a here-document) is refused")));
    }
    Ok(Instruction { line, name, flags, rest: rest.to_owned(), on_build, heredocs })
}

/// `<<EOF`, `<<-EOF`, `<<"EOF"`; not `<<<` and not a shift within `$((…))`.
pub fn heredoc(word: &str) -> Option<Heredoc> {
    let after = word.strip_prefix("<<")?;
    let (tabs, after) = match after.strip_prefix('-') {
        Some(after) => (true, after),
        None => (false, after),
    };
    let name = after.trim_matches(['"', '\'']);
    let well = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    // Until it is filled, the text says whether tabs are taken away.
    let text = if tabs { "\t" } else { "" }.to_owned();
    (starts && name.bytes().all(well)).then(|| Heredoc {
        name: name.to_owned(),
        text,
        raw: String::new(),
        quoted: name.len() != after.len(),
    })
}

fn fill<'a>(heredoc: &mut Heredoc, line: usize, lines: impl Iterator<Item = &'a str>) -> Result<(), Fault> {
    let tabs = !std::mem::take(&mut heredoc.text).is_empty();
    for raw in lines {
        let text = if tabs { raw.trim_start_matches('\t') } else { raw };
        heredoc.raw.push_str(raw);
        heredoc.raw.push('\n');
        if text == heredoc.name {
            return Ok(());
        }
        heredoc.text.push_str(text);
        heredoc.text.push('\n');
        if heredoc.text.len() > LONGEST {
            return Err(Fault::at(line, format!("has more than {LONGEST} bytes in one here-document")));
        }
    }
    Err(Fault::at(line, format!("the here-document has no end: no line is {} alone", heredoc.name)))
}

fn is_blank_or_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// Directives stand before all else, one a line: `# escape=X`, `# syntax=IMAGE`.
fn directives(text: &str) -> Result<(char, Option<String>), Fault> {
    let (mut escape, mut syntax) = ('\\', None);
    for (at, line) in text.lines().enumerate() {
        let Some((key, value)) = line.trim().strip_prefix('#').and_then(|comment| comment.split_once('=')) else {
            break;
        };
        match (key.trim().to_ascii_lowercase().as_str(), value.trim()) {
            ("escape", "\\") => {}
            ("escape", "`") => escape = '`',
            ("escape", _) => return Err(Fault::at(at + 1, "the directive escape may be \\ or ` only")),
            ("syntax", image) => syntax = Some(image.to_owned()),
            ("check", _) => {}
            _ => break,
        }
    }
    Ok((escape, syntax))
}

/// `$NAME`, `${NAME}`, `${NAME:-word}` and `${NAME:+word}` by these values; others are empty, as the builder has it.
pub fn expand(text: &str, values: &BTreeMap<String, String>, escape: char) -> String {
    put_in(text, values, escape, false)
}

/// The same in the lines of a file: quotes stay, and so does an escape that stands before anything but `$`.
pub fn fill_in(text: &str, values: &BTreeMap<String, String>, escape: char) -> String {
    put_in(text, values, escape, true)
}

fn put_in(text: &str, values: &BTreeMap<String, String>, escape: char, raw: bool) -> String {
    let mut out = String::new();
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if c == escape {
            if raw && characters.peek() != Some(&'$') {
                out.push(c);
            }
            out.extend(characters.next());
            continue;
        }
        if !raw && (c == '"' || c == '\'') {
            continue;
        }
        if c != '$' {
            out.push(c);
            continue;
        }
        if characters.next_if_eq(&'{').is_some() {
            let inner: String = characters.by_ref().take_while(|c| *c != '}').collect();
            let value = |name: &str| values.get(name).map_or("", String::as_str);
            out.push_str(match inner.split_once(':') {
                Some((name, word)) if word.starts_with('-') && value(name).is_empty() => &word[1..],
                Some((name, word)) if word.starts_with('+') && value(name).is_empty() => "",
                Some((_, word)) if word.starts_with('+') => &word[1..],
                Some((name, _)) => value(name),
                None => value(&inner),
            });
            continue;
        }
        let mut name = String::new();
        while let Some(c) = characters.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        out.push_str(values.get(&name).map_or("", String::as_str));
    }
    out
}

/// Words separated by spaces outside of quotes, the quotes and escapes taken away.
pub fn words(text: &str, escape: char) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, open) if c == escape && open != Some('\'') => word.get_or_insert_default().extend(characters.next()),
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_know_their_lines() {
        let text = "# escape=\\\n# hello\nFROM a AS b\n\nrun --mount=type=cache,target=/x one && \\\n # why\n\n   two\nONBUILD COPY . /\nCMD [\"a\"]";
        let parsed = parse(text.as_bytes()).unwrap();
        let told: Vec<_> = parsed.instructions.iter().map(|i| (i.line, i.name.as_str(), i.rest.as_str())).collect();
        assert_eq!(
            told,
            [(3, "FROM", "a AS b"), (5, "RUN", "one &&    two"), (9, "COPY", ". /"), (10, "CMD", "[\"a\"]")]
        );
        assert_eq!(parsed.instructions[1].flags, ["--mount=type=cache,target=/x"]);
        assert!(parsed.instructions[2].on_build);
    }

    #[test]
    fn faults_name_their_line() {
        for (text, line, cause) in [
            ("FROM a\nRUNN x", 2, "unknown instruction \"RUNN\""),
            ("FROM a\n\nRUN <<EOF\nx\nEOF \n", 3, "no line is EOF alone"),
            ("FROM a\nONBUILD RUN <<EOF\nx\nEOF", 2, "here-document"),
            ("FROM a\nCOPY", 2, "says nothing"),
            ("# escape=x\nFROM a", 1, "escape"),
            ("FROM a\nONBUILD FROM b", 2, "ONBUILD FROM"),
        ] {
            let fault = parse(text.as_bytes()).unwrap_err();
            assert_eq!(fault.line, line, "{text}");
            assert!(fault.cause.contains(cause), "{text}: {fault:?}");
        }
        assert!(parse(b"FROM a\nRUN echo $((1 << 2)) && cat <<< x").is_ok());
    }

    #[test]
    fn here_documents_are_read_to_their_end() {
        let text = "FROM a\nRUN python3 <<EOF && cat <<-'B' >/x\nFROM b\n# no comment\nEOF\n\tx $Y\n\tB\nUSER 1\n";
        let parsed = parse(text.as_bytes()).unwrap();
        let [_, run, user] = parsed.instructions.as_slice() else { panic!("{parsed:?}") };
        assert_eq!((user.line, user.name.as_str()), (8, "USER"));
        assert_eq!(run.rest, "python3 <<EOF && cat <<-'B' >/x");
        let told: Vec<_> = run.heredocs.iter().map(|h| (h.name.as_str(), h.text.as_str(), h.quoted)).collect();
        assert_eq!(told, [("EOF", "FROM b\n# no comment\n", false), ("B", "x $Y\n", true)]);
        assert_eq!(run.heredocs[1].raw, "\tx $Y\n\tB\n");
        assert!(heredoc("<<../x").is_none() && heredoc("<<<x").is_none() && heredoc("<<").is_none());
    }

    #[test]
    fn values_are_put_in_as_the_builder_does() {
        let values = BTreeMap::from([("A".to_owned(), "x".to_owned())]);
        let read = |text: &str| expand(text, &values, '\\');
        assert_eq!(read("$A/${A}:${B:-12}${A:+y}${B:+n}$B"), "x/x:12y");
        assert_eq!(fill_in("a=\"$A\" \\$A \\n'${A}'\n", &values, '\\'), "a=\"x\" $A \\n'x'\n");
        assert_eq!(words(r#"a "b c"=d e\ f 'g"h'"#, '\\'), ["a", "b c=d", "e f", "g\"h"]);
    }
}
