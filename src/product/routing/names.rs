//! Names that no app can have: the platform's own, and those of somebody else.

use crate::base::config::Config;
use crate::base::error::Result;
use crate::base::model::{App, Domain, DomainName};
use crate::state::store::{Tx, domains};

/// The base domain and all below it, where the API answers and apps have their own hosts; where git is pushed to; and
/// wildcards that any of these would fall under.
pub(crate) fn is_platforms(config: &Config, name: &DomainName) -> bool {
    let (base, api) = (config.http.base_domain.as_str(), config.http.api_host());
    is_at_or_below(name.bare(), base) || [base, &api, &config.git.public_host].iter().any(|host| name.covers(host))
}

pub(super) fn is_at_or_below(host: &str, base: &str) -> bool {
    host.strip_suffix(base).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The proven domain of another app that stands in the way of this app's having `name`: the same name, or a wildcard
/// that the name falls under and that belongs to another organization.
pub(crate) async fn owner_elsewhere(tx: &mut Tx, app: &App, name: &DomainName) -> Result<Option<Domain>> {
    if let Some(same) = domains::owner(tx, name).await?.filter(|domain| domain.app_id != app.id) {
        return Ok(Some(same));
    }
    let above = name.bare().split_once('.').filter(|_| name.below().is_none());
    let Some(Ok(above)) = above.map(|(_, above)| format!("*.{above}").parse::<DomainName>()) else { return Ok(None) };
    let Some(wildcard) = domains::owner(tx, &above).await? else { return Ok(None) };
    let foreign = domains::organization(tx, &wildcard.id).await?.is_none_or(|owner| owner != app.organization_id);
    Ok(Some(wildcard).filter(|_| foreign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_s_names_are_nobody_else_s() {
        let mut config = Config::default();
        config.http.base_domain = "apps.example.com".parse().expect("a host");
        config.git.public_host = "git.example.com".into();
        let is = |text: &str| is_platforms(&config, &text.parse().expect("a name"));
        for text in [
            "apps.example.com",
            "hythe.apps.example.com",
            "shop.apps.example.com",
            "a.b.apps.example.com",
            "*.apps.example.com",
            "*.x.apps.example.com",
            "*.example.com",
            "git.example.com",
        ] {
            assert!(is(text), "{text}");
        }
        for text in ["example.com", "shop.example.com", "myapps.example.com", "*.git.example.com", "*.shop.example.com"]
        {
            assert!(!is(text), "{text}");
        }
    }
}
