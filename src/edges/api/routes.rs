//! The table of contents: every operation, and the document made of them.

use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    ApiState, accounts, apps, bases, buildpacks, builds, certs, checks, commands, contents, crons, deployments, disk,
    domains, drains, environments, events, logs, metrics, platform, processes, releases, rollouts, scaling, sizes,
    sources, traffic, variables, volumes, webhooks, why,
};

#[derive(OpenApi)]
#[openapi(info(
    title = "Hythe",
    description = "Apps are pushed by git and run here. Send `Authorization: Bearer TOKEN`. Where a path names an app, its name, \
        `ORGANIZATION/NAME` (with the slash escaped as `%2F`) and its id are accepted; an environment is named by its name or its id. \
        A refusal is `application/problem+json`; what the caller may not see is answered like what does not exist.",
    license(name = "Apache-2.0", identifier = "Apache-2.0")
))]
struct Document;

pub(super) fn table() -> OpenApiRouter<ApiState> {
    let mut document = Document::openapi();
    let mut components = document.components.take().unwrap_or_default();
    components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    document.components = Some(components);
    document.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    OpenApiRouter::with_openapi(document)
        .routes(routes!(platform::healthz))
        .routes(routes!(platform::status))
        .routes(routes!(platform::openapi))
        .routes(routes!(accounts::setup))
        .routes(routes!(accounts::whoami))
        .routes(routes!(accounts::keys, accounts::add_key))
        .routes(routes!(accounts::remove_key))
        .routes(routes!(accounts::tokens, accounts::create_token))
        .routes(routes!(accounts::remove_token))
        .routes(routes!(apps::list, apps::create))
        .routes(routes!(apps::show, apps::rename, apps::destroy))
        .routes(routes!(environments::list, environments::create))
        .routes(routes!(environments::show, environments::change, environments::destroy))
        .routes(routes!(buildpacks::show, buildpacks::change))
        .routes(routes!(traffic::show, traffic::change))
        .routes(routes!(checks::list, checks::change))
        .routes(routes!(logs::show))
        .routes(routes!(why::show))
        .routes(routes!(domains::list, domains::add))
        .routes(routes!(domains::verify))
        .routes(routes!(domains::remove))
        .routes(routes!(certs::list, certs::add))
        .routes(routes!(certs::remove))
        .routes(routes!(certs::names))
        .routes(routes!(certs::auto))
        .routes(routes!(certs::authority))
        .routes(routes!(drains::list, drains::add))
        .routes(routes!(drains::remove))
        .routes(routes!(webhooks::list, webhooks::add))
        .routes(routes!(webhooks::remove))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::replay))
        .routes(routes!(metrics::show))
        .routes(routes!(metrics::host))
        .routes(routes!(metrics::prometheus))
        .routes(routes!(events::all))
        .routes(routes!(events::of_app))
        .routes(routes!(variables::show, variables::change))
        .routes(routes!(processes::list, processes::scale))
        .routes(routes!(processes::restart))
        .routes(routes!(scaling::set, scaling::unset))
        .routes(routes!(sizes::list))
        .routes(routes!(sizes::change))
        .routes(routes!(volumes::destroyed))
        .routes(routes!(volumes::list, volumes::create))
        .routes(routes!(volumes::show, volumes::destroy))
        .routes(routes!(volumes::restore))
        .routes(routes!(volumes::unmount_all))
        .routes(routes!(volumes::mount, volumes::unmount))
        .routes(routes!(commands::list, commands::start))
        .routes(routes!(commands::open))
        .routes(routes!(commands::show, commands::stop))
        .routes(routes!(commands::output))
        .routes(routes!(crons::list, crons::add))
        .routes(routes!(crons::show, crons::remove))
        .routes(routes!(crons::run))
        .routes(routes!(releases::list))
        .routes(routes!(releases::show))
        .routes(routes!(releases::diff))
        .routes(routes!(contents::show))
        .routes(routes!(contents::of_build))
        .routes(routes!(contents::find))
        .routes(routes!(releases::promote))
        .routes(routes!(releases::rollback))
        .routes(routes!(bases::rebase))
        .routes(routes!(bases::of_app))
        .routes(routes!(bases::list))
        .routes(routes!(bases::show))
        .routes(routes!(bases::update))
        .routes(routes!(builds::create))
        .routes(routes!(sources::create))
        .routes(routes!(rollouts::proceed))
        .routes(routes!(rollouts::abort))
        .routes(routes!(deployments::list))
        .routes(routes!(deployments::show))
        .routes(routes!(deployments::output))
        .routes(routes!(disk::show))
        .routes(routes!(disk::clean))
        .routes(routes!(disk::clear_cache))
        .routes(routes!(builds::list))
        .routes(routes!(builds::show))
        .routes(routes!(builds::output))
        .routes(routes!(builds::cancel))
}

/// OpenAPI 3.1 as JSON.
pub fn document() -> String {
    table().to_openapi().to_pretty_json().unwrap_or_default()
}
