//! What replicas are spoken to in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NameError;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1 without TLS.
    #[default]
    Http1,
    /// HTTP/2 without TLS, by prior knowledge (RFC 9113 §3.3).
    H2c,
    /// TLS; the replica chooses between HTTP/2 and HTTP/1.1 (ALPN). Its certificate is taken as it is.
    Https,
}

impl Protocol {
    pub const ALL: [Self; 3] = [Self::Http1, Self::H2c, Self::Https];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::H2c => "h2c",
            Self::Https => "https",
        }
    }

    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let found = Self::ALL.into_iter().find(|protocol| protocol.as_str() == text);
        found.ok_or_else(|| NameError::new("must be http1, h2c or https"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_read_as_it_is_written_and_nothing_else_is() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
            assert_eq!(serde_json::to_string(&protocol).expect("json"), format!("\"{protocol}\""));
        }
        for text in ["", "h2", "HTTP1", "http/1.1", "h2c ", "tls"] {
            let said = text.parse::<Protocol>().expect_err(text).to_string();
            assert!(said.contains("http1, h2c or https"), "{said}");
        }
    }
}
