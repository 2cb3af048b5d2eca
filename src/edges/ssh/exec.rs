//! The line of an exec request: git's two services, or the words of a verb.

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// `git-receive-pack 'path'`.
    Push {
        path: String,
    },
    /// `git-upload-pack 'path'`.
    Fetch {
        path: String,
    },
    Verb(Vec<String>),
}

const LONGEST: usize = 16 << 10;

/// Why a line was not understood, for people.
pub fn parse(line: &[u8]) -> Result<Request, &'static str> {
    if line.len() > LONGEST {
        return Err("the command is too long");
    }
    let text = std::str::from_utf8(line).map_err(|_| "the command is not UTF-8")?;
    if text.contains('\0') {
        return Err("the command contains a NUL byte");
    }
    let words = shlex::split(text).ok_or("the command's quotes are not closed")?;
    let mut words = words.into_iter();
    let Some(first) = words.next() else { return Err("the command is empty") };
    // `git receive-pack` is what some clients send instead of `git-receive-pack`.
    let service = match (first.as_str(), words.as_slice().first().map(String::as_str)) {
        ("git", Some("receive-pack" | "upload-pack" | "upload-archive")) => words.next().map(|w| format!("git-{w}")),
        _ => None,
    };
    match service.as_deref().unwrap_or(&first) {
        name @ ("git-receive-pack" | "git-upload-pack") => match (words.next(), words.next()) {
            (Some(path), None) if name == "git-receive-pack" => Ok(Request::Push { path }),
            (Some(path), None) => Ok(Request::Fetch { path }),
            _ => Err("git's command must name one repository"),
        },
        "git-upload-archive" => Err("git archive is not served; clone instead"),
        _ => Ok(Request::Verb(std::iter::once(first).chain(words).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_and_verbs_are_told_apart() {
        let push = Request::Push { path: "/shop.git".into() };
        assert_eq!(parse(b"git-receive-pack '/shop.git'").as_ref(), Ok(&push));
        assert_eq!(parse(b"git receive-pack '/shop.git'").as_ref(), Ok(&push));
        assert_eq!(parse(b"git-upload-pack 'a'"), Ok(Request::Fetch { path: "a".into() }));
        assert_eq!(parse(b"apps:info shop"), Ok(Request::Verb(vec!["apps:info".into(), "shop".into()])));
    }

    #[test]
    fn hostile_lines_stay_words() {
        let Ok(Request::Verb(words)) = parse(b"apps $(id) `id` ; id | id") else { panic!("a verb") };
        assert_eq!(words, ["apps", "$(id)", "`id`", ";", "id", "|", "id"]);
        assert_eq!(parse(b"git-receive-pack '$(id)'"), Ok(Request::Push { path: "$(id)".into() }));
        for line in [&b"git-receive-pack"[..], b"git-receive-pack a b", b"x '", b"", b"a\0b", b"\xff", &[b'a'; 20_000]]
        {
            assert!(parse(line).is_err());
        }
    }
}
