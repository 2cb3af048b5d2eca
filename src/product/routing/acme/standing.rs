//! How each name stands: what was said of it, what authorities can be asked for, what there is already.

use std::collections::BTreeMap;

use super::super::keeper::{Wanted, best, is_due};
use super::plan::{Name, Standing};
use super::work::means;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::model::{DomainName, EnvironmentId};
use crate::machinery::certs::Means;
use crate::product::Ctx;
use crate::state::store::certificates::Kept;
use crate::state::store::{Tx, orders as rows};

pub(super) struct Rules {
    means: Means,
    /// All hosts of the base domain have this one, where its DNS is the platform's to change.
    pub(super) shared: Option<DomainName>,
    choices: BTreeMap<(EnvironmentId, Option<DomainName>), bool>,
}

impl Rules {
    pub(super) async fn read(ctx: &Ctx, tx: &mut Tx) -> Result<Self> {
        let means = means(ctx)?;
        let wildcard: Option<DomainName> = format!("*.{}", ctx.config.http.base_domain).parse().ok();
        let shared = wildcard.filter(|name| is_public(name) && means.fault(name).is_none());
        let choices = rows::choices(tx).await?.into_iter();
        let choices = choices.map(|choice| ((choice.environment, choice.name), choice.ordered)).collect();
        Ok(Self { means, shared, choices })
    }

    /// With the one that many share.
    pub(super) fn names(
        &self,
        wanted: &[Wanted],
        kept: &[Kept],
        routed: impl Fn(&DomainName) -> bool,
        now: Timestamp,
    ) -> Vec<Name> {
        let own = self.shared.iter().map(|name| Wanted { name: name.clone(), environment: None });
        let own: Vec<_> = own.collect();
        let standing = |want: &Wanted| Name {
            name: want.name.clone(),
            environment: want.environment.clone(),
            standing: self.standing(want, kept, &routed, now),
        };
        own.iter().chain(wanted).map(standing).collect()
    }

    pub(super) fn standing(
        &self,
        want: &Wanted,
        kept: &[Kept],
        routed: impl Fn(&DomainName) -> bool,
        now: Timestamp,
    ) -> Standing {
        let is_shared = self.shared.as_ref() == Some(&want.name);
        if self.is_off(want) {
            return Standing::Off;
        }
        if !is_public(&want.name) {
            return Standing::Unfit(format!("{} is no name of the public DNS; no authority knows it", want.name));
        }
        if !is_shared && self.shared.as_ref().is_some_and(|shared| shared.covers(want.name.as_str())) {
            return Standing::Served;
        }
        if let Some(fault) = self.means.fault(&want.name) {
            return Standing::Unfit(fault);
        }
        // One of the own authority stands in until there is another.
        let trusted = best(want, kept, now).map(|best| &best.certificate);
        let trusted = trusted.filter(|one| one.origin != crate::base::model::CertificateOrigin::SelfSigned);
        if trusted.is_some_and(|one| !is_due(one, now)) {
            return Standing::Served;
        }
        // The platform's own host is always served.
        if want.environment.is_some() && !routed(&want.name) {
            return Standing::Unrouted;
        }
        Standing::Lacking
    }

    fn is_off(&self, want: &Wanted) -> bool {
        let Some(environment) = &want.environment else { return false };
        let said = |name: Option<&DomainName>| self.choices.get(&(environment.clone(), name.cloned()));
        said(Some(&want.name)).or_else(|| said(None)).is_some_and(|ordered| !ordered)
    }
}

fn is_public(name: &DomainName) -> bool {
    DomainName::written(name.as_str()).is_ok()
}
