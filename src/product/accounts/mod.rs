//! Who people are and how they prove it: the first administrator, SSH keys, API tokens, the
//! tenancy that appears when first asked for. Every proof is looked up by a digest; nothing that
//! could be replayed is stored.

mod keys;
mod public_key;
mod setup;
mod tenancy;
mod tokens;

pub use keys::{NewKey, add_key, keys, remove_key};
pub use public_key::PublicKey;
pub use setup::{NewOperator, ensure_setup_token, is_set_up, setup};
pub use tenancy::{default_organization, default_space};
pub use tokens::{NewToken, actor_by_fingerprint, actor_by_token, create_token, remove_token, tokens};

use crate::base::error::{Error, Result};

/// A short text of a person's choosing that is only ever shown: a key's or a token's name.
pub(crate) fn label(field: &str, text: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || " ._@+-".contains(c);
    if text.is_empty() || text.trim() != text || text.len() > 60 || !text.chars().all(plain) {
        return Err(Error::invalid(field, "must be 1 to 60 letters, digits, spaces (not at its ends) or . _ @ + -"));
    }
    Ok(text.to_owned())
}
