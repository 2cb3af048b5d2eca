//! The API as typed calls, over HTTP or inside this process; the words are those of `api::types`.

use crate::base::secret::Secret;
use crate::edges::api::types::Local;

#[derive(Clone)]
pub enum Transport {
    Http {
        /// Without a slash at its end.
        base: String,
        token: Option<Secret<String>>,
    },
    InProcess(Local),
}
