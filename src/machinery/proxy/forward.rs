//! From a client's request to the head of its answer: host, route, upstream, retry, page.

use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::balance::Lot;
use super::body::{Answer, Pace, Relayed, Upload};
use super::link::{Link, Sent};
use super::listen::Connection;
use super::log::Line;
use super::pages::{Fault, page, prefers_json};
use super::table::Entry;
use super::tunnel::Tunnel;
use super::upstream::{Pass, Upstream};
use super::{Meter, ProxySettings, RouteTable, Shared, Target, TargetState, balance, headers, host};

/// Connections tried for one request within one table.
const MOST_ATTEMPTS: usize = 4;
/// Tables tried for one request: a newer one may have come while the older one's upstreams went away.
const MOST_TABLES: usize = 3;

/// What is needed of a request to answer it without an app.
struct Asker {
    id: HeaderValue,
    json: bool,
    host: Option<String>,
    line: Line,
}

impl Asker {
    fn refuse(mut self, fault: Fault) -> Response<Answer> {
        let response = page(fault, self.json, self.host.as_deref(), &self.id);
        self.line.status(response.status().as_u16());
        response
    }
}

pub(super) async fn handle(connection: Arc<Connection>, mut request: Request<Incoming>) -> Response<Answer> {
    let client = hyper::upgrade::on(&mut request);
    let (mut parts, body) = request.into_parts();
    let id = headers::request_id(&mut parts.headers);
    let line = Line::start(&parts, &id, &connection.caller, connection.shared.settings.access.as_ref());
    let mut asker = Asker { id, json: prefers_json(&parts.headers), host: None, line };
    let asked = match host::asked(&parts) {
        _ if matches!(parts.method, Method::CONNECT | Method::TRACE) => return asker.refuse(Fault::Method),
        Err(fault) => return asker.refuse(Fault::Host(fault)),
        Ok(_) if !headers::has_clear_framing(&parts.headers) => return asker.refuse(Fault::Framing),
        Ok(asked) => asked,
    };
    asker.line.host(&asked.host);
    let shared = &connection.shared;
    let mut protocol = headers::upgrade(&parts);
    // A switch of protocols begins behind the body; the two together are nothing that is used.
    if !body.is_end_stream() {
        protocol = None;
    }
    headers::to_upstream(&mut parts, &asked, &connection.caller, protocol.as_ref(), !body.is_end_stream());
    asker.host = Some(asked.host);

    let pace = Arc::new(Pace::default());
    let upload = Upload::new(body, &pace, shared.settings.body_timeout);
    let (mut response, link, pass) = match deliver(shared, &mut asker, Request::from_parts(parts, upload), &pace).await
    {
        Ok(delivered) => delivered,
        Err(fault) => return asker.refuse(fault),
    };
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switches && protocol.is_none() {
        return asker.refuse(Fault::Broken);
    }
    asker.line.status(response.status().as_u16());
    // hyper answers each client in the client's version, as long as it is not told of an older one.
    *response.version_mut() = hyper::Version::HTTP_11;
    headers::to_client(response.headers_mut(), &asker.id, switches);
    if switches {
        let upstream = hyper::upgrade::on(&mut response);
        let tunnel = Tunnel { client, upstream, link, pass, line: asker.line, connection: Arc::clone(&connection) };
        connection.spawn(tunnel.run());
        return response.map(|_| Answer::Page(None));
    }
    response.map(|body| Answer::Relayed(Box::new(Relayed::new(body, link, pass, asker.line))))
}

type Delivered = (Sent, Box<Link>, Pass);

async fn deliver(
    shared: &Shared,
    asker: &mut Asker,
    mut request: Request<Upload>,
    pace: &Pace,
) -> Result<Delivered, Fault> {
    let host = asker.host.clone().unwrap_or_default();
    let mut last: Option<Arc<Target>> = None;
    let lot = Lot::draw();
    for _ in 0..MOST_TABLES {
        let target = match shared.route(&host, last.is_some()).await {
            Ok(target) => target,
            Err(fault) => {
                // Refused for want of a replica, it is a request of the app all the same.
                if let Some(Entry::App(target)) = shared.current.load().find(&host) {
                    asker.line.target(target);
                }
                return Err(fault);
            }
        };
        if last.as_ref().is_some_and(|last| Arc::ptr_eq(last, &target)) {
            break;
        }
        asker.line.target(&target);
        match send(&target, lot, request, pace, &shared.settings).await {
            Ok(delivered) => return Ok(delivered),
            Err(Undelivered::Lost(fault)) => return Err(fault),
            Err(Undelivered::Nowhere(whole)) => request = *whole,
        }
        last = Some(target);
    }
    Err(Fault::Broken)
}

enum Undelivered {
    Lost(Fault),
    /// No upstream took it; it is whole and can be sent elsewhere.
    Nowhere(Box<Request<Upload>>),
}

async fn send(
    target: &Target,
    lot: Lot,
    mut request: Request<Upload>,
    pace: &Pace,
    settings: &ProxySettings,
) -> Result<Delivered, Undelivered> {
    let spare = Spare::of(&request);
    let mut tried: Vec<Arc<Upstream>> = Vec::new();
    let mut only_fresh = false;
    for _ in 0..MOST_ATTEMPTS {
        let Some(pass) = balance::pick(target, lot, &tried) else { break };
        let upstream = pass.upstream();
        let idle = if only_fresh { None } else { upstream.take_idle(spare.is_some()) };
        let opened = match idle {
            Some(link) => Ok(link),
            None => Link::open(upstream.address(), settings.connect_timeout).await,
        };
        let mut link = match opened {
            Ok(link) => link,
            Err(error) => {
                tracing::debug!(replica.id = upstream.replica(), %error, "an upstream refuses connections");
                upstream.failed();
                tried.push(Arc::clone(upstream));
                continue;
            }
        };
        let sent_at = Instant::now();
        let mut unsent = match answer(&mut link, request, pace, settings.first_byte_timeout).await {
            None => {
                upstream.answered(504, sent_at.elapsed());
                return Err(Undelivered::Lost(Fault::NoAnswer));
            }
            Some(Ok(response)) => {
                upstream.answered(response.status().as_u16(), sent_at.elapsed());
                return Ok((response, link, pass));
            }
            Some(Err(unsent)) => unsent,
        };
        let error = unsent.error();
        tracing::debug!(replica.id = upstream.replica(), %error, "an upstream broke off before its answer");
        if pace.is_stalled() {
            return Err(Undelivered::Lost(Fault::BodyStalled));
        }
        if pace.is_broken() {
            return Err(Undelivered::Lost(Fault::BodyBroken));
        }
        // A connection that had served before may just have been closed for its age: no failure.
        if link.is_reused() {
            only_fresh = true;
        } else {
            upstream.failed();
            tried.push(Arc::clone(upstream));
        }
        request = match unsent.take_message().or_else(|| Some(spare.as_ref()?.request())) {
            Some(whole) => whole,
            None => return Err(Undelivered::Lost(Fault::Broken)),
        };
    }
    Err(Undelivered::Nowhere(Box::new(request)))
}

/// `None` when the head of the answer did not come in time; the time runs only while the upload stands still.
async fn answer(
    link: &mut Link,
    request: Request<Upload>,
    pace: &Pace,
    longest: Duration,
) -> Option<Result<Sent, super::link::SendError>> {
    let mut sent = pin!(link.send(request));
    loop {
        let pieces = pace.pieces();
        match timeout_at(Instant::now() + longest, sent.as_mut()).await {
            Ok(done) => return Some(done),
            Err(_) if pace.pieces() == pieces => return None,
            Err(_) => {}
        }
    }
}

/// The head of a request that may be sent twice (RFC 9110 §9.2.2): idempotent and without a body.
struct Spare(Parts);

impl Spare {
    fn of(request: &Request<Upload>) -> Option<Self> {
        if !request.method().is_idempotent() || !request.body().is_empty() {
            return None;
        }
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = request.method().clone();
        parts.uri = request.uri().clone();
        parts.headers = request.headers().clone();
        Some(Self(parts))
    }

    fn request(&self) -> Request<Upload> {
        Request::from_parts(self.0.clone(), Upload::Empty)
    }
}

impl Shared {
    /// Waits while the app is starting. `newest` passes by the copy of the table that may be a moment old.
    async fn route(&self, host: &str, newest: bool) -> Result<Arc<Target>, Fault> {
        if !newest && let Ok(Some(target)) = self.look(&self.current.load(), host) {
            return Ok(target);
        }
        let mut sent = self.sent.clone();
        let until = Instant::now() + self.settings.hold;
        loop {
            let table = sent.borrow_and_update().clone();
            if let Some(target) = self.look(&table, host)? {
                return Ok(target);
            }
            match timeout_at(until, sent.changed()).await {
                Ok(Ok(())) => {}
                _ => return Err(Fault::StillStarting),
            }
        }
    }

    /// `None` when it is worth waiting for the next table.
    fn look(&self, table: &RouteTable, host: &str) -> Result<Option<Arc<Target>>, Fault> {
        let target = match table.find(host) {
            None => return Err(Fault::UnknownHost),
            Some(Entry::Api(address)) => return Ok(Some(self.api(address))),
            Some(Entry::App(target)) => target,
        };
        if target.state == TargetState::Stopped {
            Err(Fault::Stopped)
        } else if target.all().any(|upstream| !upstream.is_retired()) {
            Ok(Some(Arc::clone(target)))
        } else {
            match target.state {
                TargetState::Starting => Ok(None),
                TargetState::Asleep => {
                    target.bell.ring();
                    Ok(None)
                }
                TargetState::Live | TargetState::Stopped => Err(Fault::NoReplica),
            }
        }
    }

    /// The API as a target, the same one as long as its address is.
    fn api(&self, address: std::net::SocketAddr) -> Arc<Target> {
        let mut api = self.api.lock().unwrap_or_else(PoisonError::into_inner);
        match &*api {
            Some(target) if target.upstreams[0].address() == address => Arc::clone(target),
            _ => {
                let upstreams = vec![Upstream::new(address, "api")];
                let target = Arc::new(Target {
                    app: "api".into(),
                    upstreams,
                    canary: None,
                    state: TargetState::Live,
                    bell: Arc::default(),
                    meter: Arc::new(Meter::new("")),
                });
                *api = Some(Arc::clone(&target));
                target
            }
        }
    }

    /// Closes connections to upstreams that nobody will use again.
    pub(super) fn sweep(&self) {
        self.current.load().upstreams().for_each(|upstream| upstream.sweep());
        let api = self.api.lock().unwrap_or_else(PoisonError::into_inner).clone();
        api.iter().flat_map(|target| target.all()).for_each(|upstream| upstream.sweep());
    }
}
