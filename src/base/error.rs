//! The one error that crosses rooms. `public` is for people, `source` is for the log and has no
//! way to reach a caller: edges log it once with the request id and show `public`.

use std::collections::BTreeMap;
use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong, as far as a caller can act on it. Each edge maps it once to its own codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Absent, or not visible to this caller: the two are never told apart.
    NotFound,
    Exists,
    /// Field name to the texts that say what is wrong with it; `""` is the request as a whole.
    Invalid(BTreeMap<String, Vec<String>>),
    Unauthenticated,
    Forbidden,
    /// The state moved under the caller, or forbids the step now.
    Conflict,
    LimitReached,
    /// A part Hythe depends on does not answer; trying later can help.
    Unavailable,
    Internal,
}

#[derive(Debug)]
pub struct Error {
    pub kind: Kind,
    pub public: String,
    pub source: Option<Source>,
}

impl Error {
    pub fn new(kind: Kind, public: impl Into<String>) -> Self {
        Self { kind, public: public.into(), source: None }
    }

    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(Kind::NotFound, format!("{what} not found"))
    }

    pub fn exists(what: impl fmt::Display) -> Self {
        Self::new(Kind::Exists, format!("{what} already exists"))
    }

    pub fn forbidden(public: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, public)
    }

    pub fn unauthenticated() -> Self {
        Self::new(Kind::Unauthenticated, "authentication required")
    }

    pub fn conflict(public: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, public)
    }

    pub fn limit(public: impl Into<String>) -> Self {
        Self::new(Kind::LimitReached, public)
    }

    /// One wrong field. `text` completes the sentence "`field` …".
    pub fn invalid(field: &str, text: impl Into<String>) -> Self {
        let text = text.into();
        let public = if field.is_empty() { text.clone() } else { format!("{field}: {text}") };
        Self::new(Kind::Invalid(BTreeMap::from([(field.to_owned(), vec![text])])), public)
    }

    pub fn unavailable(public: impl Into<String>, source: impl Into<Source>) -> Self {
        Self::new(Kind::Unavailable, public).because(source)
    }

    pub fn internal(source: impl Into<Source>) -> Self {
        Self::new(Kind::Internal, "internal error; the log of the server has the cause").because(source)
    }

    #[must_use]
    pub fn because(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same fault with another text for people.
    #[must_use]
    pub fn said(mut self, public: impl Into<String>) -> Self {
        self.public = public.into();
        self
    }

    pub fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound
    }

    /// The whole chain of causes in one line, for the log only.
    pub fn for_log(&self) -> String {
        let mut text = self.public.clone();
        let mut next: Option<&dyn std::error::Error> = self.source.as_deref().map(|s| s as _);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.public)
    }
}

impl std::error::Error for Error {}
