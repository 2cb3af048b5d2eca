//! Why a verb was not done, as text and as exit code. The one place that maps errors to codes.

use super::Io;
use crate::edges::client::ClientError;

/// The words were wrong (as clap has it).
pub(super) const USAGE: u8 = 2;
const FAILED: u8 = 1;
const NOT_FOUND: u8 = 3;
const NOT_ALLOWED: u8 = 4;
const CONFLICT: u8 = 5;
const UNAVAILABLE: u8 = 6;

pub(super) type Result<T> = std::result::Result<T, Failure>;

#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    /// What happened, then, on lines of their own, what to do.
    text: String,
}

impl Failure {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { code: FAILED, text: text.into() }
    }

    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self { code: USAGE, text: text.into() }
    }

    pub(super) fn unavailable(text: impl Into<String>) -> Self {
        Self { code: UNAVAILABLE, text: text.into() }
    }

    /// The exit code of what was run is the verb's own; `reason` says more, or nothing.
    pub(super) fn exit(code: i64, reason: impl Into<String>) -> Self {
        Self { code: u8::try_from(code & 0xff).ok().filter(|code| *code != 0).unwrap_or(FAILED), text: reason.into() }
    }

    pub(super) async fn tell(&self, io: &mut Io) -> u8 {
        for line in self.text.lines() {
            // Nobody is left to hear that nobody listens.
            let _ = io.say(&format!(" !     {line}")).await;
        }
        self.code
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(problem) => {
                let code = match problem.status {
                    400 | 422 => USAGE,
                    401 | 403 => NOT_ALLOWED,
                    404 => NOT_FOUND,
                    409 => CONFLICT,
                    429 | 503 => UNAVAILABLE,
                    _ => FAILED,
                };
                let mut text = problem.detail.clone();
                if problem.errors.len() > 1 {
                    let each = problem.errors.iter().flat_map(|(field, texts)| texts.iter().map(move |t| (field, t)));
                    text = each.map(|(field, t)| format!("{field}: {t}")).collect::<Vec<_>>().join("\n");
                }
                if problem.status == 401 {
                    text.push_str("\nlog in with: hythe login --url URL");
                }
                if problem.status >= 500 {
                    text.push_str(&format!("\nrequest {}", problem.request_id));
                }
                Self { code, text }
            }
            ClientError::Unreachable { ref source, .. } => {
                let mut cause: &dyn std::error::Error = source.as_ref();
                while let Some(deeper) = cause.source() {
                    cause = deeper;
                }
                let text = format!(
                    "{error} ({cause})\nis it running? is the address right? set it with HYTHE_URL or hythe login --url URL"
                );
                Self { code: UNAVAILABLE, text }
            }
            ClientError::Address(_) => Self::usage(error.to_string()),
            ClientError::Broken(ref cause) => Self { code: UNAVAILABLE, text: format!("{error}: {cause}") },
            ClientError::Strange(_) => {
                Self::new(format!("{error}\nis that the address of a Hythe server, of this version?"))
            }
        }
    }
}

/// An output that nobody reads any more: no text, and no success.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::new(""),
            _ => Self::new(error.to_string()),
        }
    }
}
