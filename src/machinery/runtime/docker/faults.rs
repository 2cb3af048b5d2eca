//! The engine's texts and status codes → our errors. The texts are those of Docker 20.10 and later.

use bollard::errors::Error;

use super::super::EngineError;

/// What the engine said, without the layers of software it passed through.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Cause(pub(super) String);

pub(super) fn refused(operation: &'static str, subject: impl Into<String>, cause: impl Into<String>) -> EngineError {
    EngineError::Refused { operation, subject: subject.into(), source: Box::new(Cause(cause.into())) }
}

pub(super) fn translate(endpoint: &str, operation: &'static str, subject: &str, error: Error) -> EngineError {
    match error {
        Error::DockerResponseServerError { status_code: 404, .. } => {
            EngineError::NotFound { subject: subject.to_owned() }
        }
        Error::DockerResponseServerError { message, .. } | Error::DockerStreamError { error: message } => {
            if is_no_space(&message) { EngineError::NoSpace } else { refused(operation, subject, plain(&message)) }
        }
        Error::RequestTimeoutError
        | Error::IOError { .. }
        | Error::HyperResponseError { .. }
        | Error::HyperLegacyError { .. }
        | Error::SocketNotFoundError(_) => {
            EngineError::Unreachable { endpoint: endpoint.to_owned(), source: Box::new(error) }
        }
        other => EngineError::Refused { operation, subject: subject.to_owned(), source: Box::new(other) },
    }
}

fn is_no_space(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("no space left on device") || message.contains("disk quota exceeded")
}

/// Cuts what containerd and runc put around the cause:
/// `OCI runtime create failed: … unable to start container process: exec: "x": not found: unknown`.
fn plain(message: &str) -> String {
    let last = message.rsplit("container process: ").next().unwrap_or(message);
    last.trim().trim_end_matches(": unknown").to_owned()
}

/// The answer's status code, when there was an answer.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// The answer's text, when there was an answer.
pub(super) fn text(error: &Error) -> &str {
    match error {
        Error::DockerResponseServerError { message, .. } | Error::DockerStreamError { error: message } => message,
        _ => "",
    }
}

/// "Already gone", and "somebody else is removing it now", are success for whoever wants it gone.
pub(super) fn gone_is_fine(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if status(&error) == Some(404) => Ok(()),
        Err(error) if status(&error) == Some(409) && text(&error).contains("already in progress") => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status_code: u16, message: &str) -> EngineError {
        let error = Error::DockerResponseServerError { status_code, message: message.into() };
        translate("sock", "start", "web.1", error)
    }

    #[test]
    fn the_cause_is_told_without_its_wrapping() {
        let fault = answered(
            400,
            "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container \
             process: exec: \"nope\": executable file not found in $PATH: unknown",
        );
        let EngineError::Refused { source, .. } = &fault else { panic!("{fault:?}") };
        assert_eq!(source.to_string(), "exec: \"nope\": executable file not found in $PATH");
        assert_eq!(fault.to_string(), "start web.1");
        assert!(!fault.is_temporary());
    }

    #[test]
    fn a_full_disk_is_told_from_a_refusal() {
        assert!(matches!(answered(500, "mkdir /x: no space left on device"), EngineError::NoSpace));
        assert!(matches!(answered(404, "No such container: x"), EngineError::NotFound { .. }));
        assert!(translate("sock", "start", "web.1", Error::RequestTimeoutError).is_temporary());
    }
}
