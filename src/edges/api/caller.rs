//! Who calls: an actor that this process put beside the request, or the owner of a bearer token
//! (RFC 6750). A header can never become the former.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header;
use axum::http::request::Parts;

use super::ApiState;
use super::problem::Problem;
use crate::base::access::Actor;
use crate::base::error::{Error, Kind};
use crate::product::accounts;

pub(super) struct Caller(pub(super) Actor);

impl FromRequestParts<ApiState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        if let Some(actor) = parts.extensions.get::<Actor>() {
            return Ok(Self(actor.clone()));
        }
        let Some(token) = bearer(parts) else { return Err(Error::unauthenticated().into()) };
        match accounts::actor_by_token(&state.ctx, token).await {
            Err(error) if error.kind == Kind::Unauthenticated => Err(state.wrong_proof(&Address::of(parts), error)),
            other => Ok(Self(other?)),
        }
    }
}

fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Where a request came from.
pub(super) struct Address(IpAddr);

impl Address {
    /// The proxy on this machine adds who spoke to it at the end of `X-Forwarded-For`; nobody else is believed.
    fn of(parts: &Parts) -> Self {
        let Some(ConnectInfo(peer)) = parts.extensions.get::<ConnectInfo<SocketAddr>>() else {
            return Self(Ipv4Addr::UNSPECIFIED.into());
        };
        let forwarded = parts.headers.get_all("x-forwarded-for").iter().next_back();
        let last = forwarded.and_then(|v| v.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        Self(last.filter(|_| peer.ip().is_loopback()).unwrap_or(peer.ip()))
    }
}

impl FromRequestParts<ApiState> for Address {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Problem> {
        Ok(Self::of(parts))
    }
}

impl ApiState {
    /// A wrong token, of whatever kind: counted, and answered as `error` while there were few.
    pub(super) fn wrong_proof(&self, address: &Address, error: Error) -> Problem {
        match self.throttle.failed(address.0, self.ctx.now()) {
            Ok(()) => error.into(),
            Err(seconds) => Problem::TooMany(seconds),
        }
    }
}
