//! Docker Engine over its unix socket.

/// One Docker Engine, as seen by one platform: `prefix` starts every name and stands in every label.
#[derive(Clone)]
pub struct Docker;

impl Docker {
    /// Connects at first use, so that the platform can start before its engine. `prefix`: a-z, 0-9 and -, starting and
    /// ending with a letter or digit.
    pub fn connect(_socket: &str, _prefix: &str) -> super::Result<Self> {
        todo!()
    }
}
