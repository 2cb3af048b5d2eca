//! What is in images: software bills of materials, and who runs a package.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::caller::Caller;
use super::environments::place;
use super::input::{Paging, Path, Query, name};
use super::problem::Answer;
use super::releases::number;
use super::types::{BuildBomView, ContentsView, FoundView, PackageView, Page, ProblemView};
use crate::base::error::Error;
use crate::product::apps;
use crate::product::deploy::{self, Condition, Subject};

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Packages,
    Cyclonedx,
    Spdx,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ContentsQuery {
    /// `packages`, `cyclonedx` (1.5) or `spdx` (2.3).
    #[serde(default)]
    #[param(inline)]
    format: Format,
    /// Number of a release, with or without its `v`; the live one when it is left out.
    #[serde(default)]
    release: Option<String>,
}

/// What is in the image of a release. The first question about an image reads it and may take some seconds.
#[utoipa::path(get, path = "/v1/apps/{app}/environments/{environment}/sbom", tag = "releases",
    params(("app" = String, Path), ("environment" = String, Path), ContentsQuery),
    responses((status = 200, body = ContentsView), (status = "default", body = ProblemView)))]
pub(super) async fn show(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(path): Path<(String, String)>,
    Query(query): Query<ContentsQuery>,
) -> Answer<Response> {
    let (app, environment) = place(&state.ctx, &actor, &path).await?;
    let number = query.release.as_deref().map(number);
    let contents = deploy::contents(&state.ctx, &actor, &app, &environment, number).await?;
    let release = &contents.release;
    let (image, created) = (release.image.to_string(), release.created_at.to_string());
    let subject = Subject { app: app.name.as_str(), release: release.number, image: &image, created: created.as_str() };
    Ok(match query.format {
        Format::Packages => {
            let packages = contents.packages.iter().map(PackageView::from).collect();
            Json(ContentsView { release: release.number, image, packages }).into_response()
        }
        Format::Cyclonedx => {
            document("application/vnd.cyclonedx+json; version=1.5", &deploy::cyclonedx(&subject, &contents.packages))
        }
        Format::Spdx => document("application/spdx+json", &deploy::spdx(&subject, &contents.packages)),
    })
}

/// What the app's last build was made with, as far as its buildpacks said so; none of it is in the image.
#[utoipa::path(get, path = "/v1/apps/{app}/build-sbom", tag = "releases", params(("app" = String, Path)),
    responses((status = 200, body = Page<BuildBomView>), (status = "default", body = ProblemView)))]
pub(super) async fn of_build(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Path(app): Path<String>,
) -> Answer<Json<Page<BuildBomView>>> {
    let app = apps::resolve(&state.ctx, &actor, &app).await?;
    let found = deploy::build_boms(&state.ctx, &actor, &app).await?;
    Ok(Json(Page { items: found.into_iter().map(BuildBomView::from).collect(), next: None }))
}

fn document(kind: &'static str, document: &serde_json::Value) -> Response {
    ([(CONTENT_TYPE, kind)], document.to_string()).into_response()
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FindQuery {
    /// A name, or a name with `<`, `<=`, `=`, `>=` or `>` and a version: `openssl<3.0.11`. Of Debian's packages the name of
    /// the source will do.
    package: String,
    /// Apps that are looked at, 1 to 200; 50 when it is left out. A page may have more items than that, or fewer.
    #[serde(default)]
    limit: Option<i64>,
    /// `next` of the page before.
    #[serde(default)]
    after: Option<String>,
}

/// Where a package is live, in all that the caller can see.
#[utoipa::path(get, path = "/v1/packages", tag = "releases", params(FindQuery),
    responses((status = 200, body = Page<FoundView>), (status = "default", body = ProblemView)))]
pub(super) async fn find(
    State(state): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<FindQuery>,
) -> Answer<Json<Page<FoundView>>> {
    let condition: Condition = query.package.parse().map_err(|fault| Error::invalid("package", fault))?;
    let limit = Paging::of(query.limit).limit()?;
    let after = query.after.as_deref().map(|n| name("after", n)).transpose()?;
    let looked_at = apps::list(&state.ctx, &actor, after.as_ref(), limit).await?;
    let found = deploy::find_package(&state.ctx, &actor, &condition, &looked_at).await?;
    let next = apps::next(&looked_at, limit).map(ToString::to_string);
    Ok(Json(Page { items: found.iter().map(FoundView::from).collect(), next }))
}
