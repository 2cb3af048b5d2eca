//! The registry of typed ids. Each is prefixed text such as `app_0198c6…`, made from a UUID v7, so
//! that ids sort by age; one kind can never stand where another is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::NameError;

/// What every typed id can do.
pub trait Id: Sized + FromStr<Err = NameError> + fmt::Display {
    const PREFIX: &'static str;
    fn as_str(&self) -> &str;
    fn fresh() -> Self;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl Id for $name {
            const PREFIX: &'static str = $prefix;
            fn as_str(&self) -> &str { &self.0 }
            fn fresh() -> Self { Self(format!("{}_{}", $prefix, uuid::Uuid::now_v7().simple())) }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let tail = text.strip_prefix(concat!($prefix, "_"));
                match tail {
                    Some(t) if t.len() == 32 && t.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()) =>
                        Ok(Self(text.to_owned())),
                    _ => Err(NameError::new(concat!("must be an id such as ", $prefix, "_ followed by 32 hexadecimal digits"))),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> { text.parse() }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String { id.0 }
        }
    )*};
}

ids! {
    CustomerId = "cus";
    OrganizationId = "org";
    SpaceId = "spc";
    UserId = "usr";
    MembershipId = "mem";
    SshKeyId = "key";
    TokenId = "tok";
    AppId = "app";
    EnvironmentId = "env";
    RouteId = "rte";
    BuildId = "bld";
    ReleaseId = "rel";
    DeploymentId = "dep";
    JobId = "job";
    CommandId = "cmd";
    CronId = "crn";
    EventId = "evt";
    DrainId = "drn";
    DomainId = "dom";
    CertificateId = "crt";
    OrderId = "ord";
    VolumeId = "vol";
    WebhookId = "whk";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_one_kind_is_not_an_id_of_another() {
        let app = AppId::fresh();
        assert_eq!(app.to_string().parse::<AppId>().as_ref(), Ok(&app));
        assert!(app.to_string().parse::<UserId>().is_err());
        assert!("app_../../etc".parse::<AppId>().is_err());
    }
}
