//! The list of tags.

use std::collections::BTreeSet;

use axum::Json;
use axum::http::header::LINK;
use axum::response::IntoResponse;
use serde_json::json;

use super::refusal::Refusal;
use super::{Answer, Asked, Registry};
use crate::product::images;

impl Registry {
    pub(super) async fn tags(&self, asked: Asked) -> Answer {
        let (actor, app) = self.open(&asked).await?;
        let n = asked.parameter("n").map(|n| n.parse::<usize>().map_err(|_| Refusal::PageInvalid)).transpose()?;
        let mut names: BTreeSet<String> =
            self.release_tags(&actor, &app).await?.into_iter().map(|(name, _)| name).collect();
        names.extend(images::all_tags(&self.ctx, &actor, &app).await?.into_iter().map(|tag| tag.name.to_string()));
        let last = asked.parameter("last");
        let mut names: Vec<_> = names.into_iter().filter(|name| last.as_ref().is_none_or(|last| name > last)).collect();
        let more = n.is_some_and(|n| n < names.len());
        names.truncate(n.unwrap_or(usize::MAX));
        let next = match (names.last(), n) {
            (Some(last), Some(n)) if more => {
                Some(format!("</v2/{}/tags/list?n={n}&last={last}>; rel=\"next\"", asked.name))
            }
            _ => None,
        };
        let body = Json(json!({ "name": asked.name, "tags": names }));
        Ok(match next {
            Some(link) => ([(LINK, link)], body).into_response(),
            None => body.into_response(),
        })
    }
}
