//! What stands between one SQL text and two databases: the macro that runs a query on either, the
//! conditions that keep a row within a caller's scope, and the shapes that columns have.
//!
//! Every text binds `$1`, which both understand. Enumerations are stored as their serde names,
//! documents as JSON, ids and names as what they print; reading parses them again, so that a row
//! which does not hold its grammar is an internal error and never a value.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::access::Scope;
use crate::base::error::{Error, Result};
use crate::base::model::{Id, NameError};

/// Runs one query on the database of `$tx`: `on!(tx, c => sqlx::query_as(SQL).bind(id).fetch_optional(c))`.
macro_rules! on {
    ($tx:expr, $c:ident => $query:expr) => {
        match $tx {
            $crate::state::store::Tx::Sqlite(t) => {
                let $c = &mut **t;
                $query.await.map_err($crate::state::store::faults::translate)
            }
            $crate::state::store::Tx::Postgres(t) => {
                let $c = &mut **t;
                $query.await.map_err($crate::state::store::faults::translate)
            }
        }
    };
}

/// As `on!` for a statement: the number of rows that it touched.
macro_rules! touched {
    ($tx:expr, $c:ident => $query:expr) => {
        match $tx {
            $crate::state::store::Tx::Sqlite(t) => {
                let $c = &mut **t;
                $query.await.map(|done| done.rows_affected()).map_err($crate::state::store::faults::translate)
            }
            $crate::state::store::Tx::Postgres(t) => {
                let $c = &mut **t;
                $query.await.map(|done| done.rows_affected()).map_err($crate::state::store::faults::translate)
            }
        }
    };
}

/// True when the user bound as `$user` has a membership at the app `$app`, its space or its
/// organization. NULL is the platform, which sees everything; an app's id sees that app: no user has one.
macro_rules! sees_app {
    ($user:literal, $app:literal) => {
        concat!(
            "(",
            $user,
            " IS NULL OR ",
            $app,
            ".id = ",
            $user,
            " OR EXISTS (SELECT 1 FROM memberships m WHERE m.user_id = ",
            $user,
            " AND (m.app_id = ",
            $app,
            ".id OR m.space_id = ",
            $app,
            ".space_id",
            " OR m.organization_id = ",
            $app,
            ".organization_id)))"
        )
    };
}

/// As `sees_app!` for a space: also those see it who have a membership at an app in it.
macro_rules! sees_space {
    ($user:literal, $space:literal) => {
        concat!(
            "(",
            $user,
            " IS NULL OR EXISTS (SELECT 1 FROM apps one WHERE one.id = ",
            $user,
            " AND one.space_id = ",
            $space,
            ".id) OR EXISTS (SELECT 1 FROM memberships m LEFT JOIN apps below ON below.id = m.app_id",
            " WHERE m.user_id = ",
            $user,
            " AND (m.organization_id = ",
            $space,
            ".organization_id",
            " OR m.space_id = ",
            $space,
            ".id OR below.space_id = ",
            $space,
            ".id)))"
        )
    };
}

/// As `sees_app!` for an organization: also those see it who have a membership anywhere in it.
macro_rules! sees_organization {
    ($user:literal, $organization:literal) => {
        concat!(
            "(",
            $user,
            " IS NULL OR EXISTS (SELECT 1 FROM apps one WHERE one.id = ",
            $user,
            " AND one.organization_id = ",
            $organization,
            ".id) OR EXISTS (SELECT 1 FROM memberships m",
            " LEFT JOIN spaces within ON within.id = m.space_id LEFT JOIN apps below ON below.id = m.app_id",
            " WHERE m.user_id = ",
            $user,
            " AND (m.organization_id = ",
            $organization,
            ".id",
            " OR within.organization_id = ",
            $organization,
            ".id",
            " OR below.organization_id = ",
            $organization,
            ".id)))"
        )
    };
}

pub(super) use {on, sees_app, sees_organization, sees_space, touched};

/// What the conditions above bind.
pub(super) fn viewer(scope: &Scope) -> Option<&str> {
    match scope {
        Scope::Platform => None,
        Scope::User(id) => Some(id.as_str()),
        Scope::App(id) => Some(id.as_str()),
    }
}

/// A free text as both databases take it: PostgreSQL refuses NUL in text.
pub(super) fn text(free: &str) -> Cow<'_, str> {
    if free.contains('\0') { Cow::Owned(free.replace('\0', "")) } else { Cow::Borrowed(free) }
}

pub(super) fn parse<T: FromStr<Err = NameError>>(text: &str) -> Result<T> {
    text.parse().map_err(|fault| unreadable(std::any::type_name::<T>(), text, fault))
}

pub(super) fn parse_some<T: FromStr<Err = NameError>>(text: Option<&str>) -> Result<Option<T>> {
    text.map(parse).transpose()
}

pub(super) fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(Error::internal)
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|fault| unreadable(std::any::type_name::<T>(), "a document", fault))
}

/// The serde name of a unit variant, without quotes.
pub(super) fn word<T: Serialize>(value: &T) -> Result<String> {
    match serde_json::to_value(value).map_err(Error::internal)? {
        serde_json::Value::String(word) => Ok(word),
        other => Err(Error::internal(format!("{other} is not a single word"))),
    }
}

pub(super) fn from_word<T: DeserializeOwned>(word: &str) -> Result<T> {
    serde_json::from_value(serde_json::Value::String(word.to_owned()))
        .map_err(|fault| unreadable(std::any::type_name::<T>(), word, fault))
}

pub(super) fn one<R, T: TryFrom<R, Error = Error>>(row: Option<R>) -> Result<Option<T>> {
    row.map(T::try_from).transpose()
}

pub(super) fn many<R, T: TryFrom<R, Error = Error>>(rows: Vec<R>) -> Result<Vec<T>> {
    rows.into_iter().map(T::try_from).collect()
}

fn unreadable(kind: &str, text: &str, fault: impl fmt::Display) -> Error {
    Error::internal(format!("the database holds {text:?}, which is no {kind}: {fault}"))
}
