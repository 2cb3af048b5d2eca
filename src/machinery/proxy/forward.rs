//! From a client's request to the head of its answer: host, route, upstream, retry, page.

use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderValue, ORIGIN, UPGRADE};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::balance::{Lot, Wish};
use super::body::{Answer, Pace, Received, Relayed, Upload};
use super::channel::Why;
use super::compression::Form;
use super::errand::Errand;
use super::link::{Link, Sent};
use super::listen::Connection;
use super::log::Line;
use super::pages::{Fault, page, prefers_json};
use super::rules::Refusal;
use super::table::Entry;
use super::tunnel::Tunnel;
use super::upstream::{Pass, Upstream, Wanted};
use super::{Meter, RouteTable, Rules, Shared, Target, TargetState, grpc, headers, host, secure, trace, websocket};

/// Connections tried for one request within one table.
const MOST_ATTEMPTS: usize = 4;
/// Tables tried for one request: a newer one may have come while the older one's upstreams went away.
const MOST_TABLES: usize = 3;

/// What is needed of a request to answer it without an app.
struct Asker {
    id: HeaderValue,
    json: bool,
    /// It is a call of gRPC.
    grpc: bool,
    host: Option<String>,
    line: Line,
    rules: Option<Arc<Rules>>,
    wish: Wish,
    /// A canary was beside the others where it went.
    beside_canary: bool,
}

impl Asker {
    fn refuse(mut self, fault: Fault) -> Response<Answer> {
        self.line.status(fault.status().as_u16());
        if self.grpc {
            return grpc::failure(fault, &self.id);
        }
        let own = self.rules.as_ref().and_then(|rules| rules.page(fault));
        page(fault, self.json, self.host.as_deref(), &self.id, own)
    }

    fn answer(mut self, refusal: Refusal) -> Response<Answer> {
        let (status, headers) = match refusal {
            Refusal::Page(fault) => return self.refuse(fault),
            Refusal::Head(status, headers) => (status, headers),
        };
        let mut response = Response::new(Answer::Page(None));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response.headers_mut().insert(headers::X_REQUEST_ID, self.id.clone());
        self.line.status(status.as_u16());
        response
    }
}

pub(super) async fn handle(connection: Arc<Connection>, mut request: Request<Incoming>) -> Response<Answer> {
    let client = hyper::upgrade::on(&mut request);
    let (mut parts, body) = request.into_parts();
    let body = Received::new(body, parts.version);
    let id = headers::request_id(&mut parts.headers);
    let trace = trace::follow(&mut parts.headers, &id);
    let websocket = websocket::opened(&mut parts);
    let mut line = Line::start(&parts, &id, &connection.caller, connection.shared.settings.access.as_ref());
    line.trace_id(trace);
    let (json, grpc) = (prefers_json(&parts.headers), grpc::is_call(&parts));
    let wish = Wish { lot: Lot::draw(), replica: None, stays: false };
    let mut asker = Asker { id, json, grpc, host: None, line, rules: None, wish, beside_canary: false };
    let asked = match host::asked(&parts) {
        _ if matches!(parts.method, Method::CONNECT | Method::TRACE) => return asker.refuse(Fault::Method),
        Err(fault) => return asker.refuse(Fault::Host(fault)),
        Ok(_) if !headers::has_clear_framing(&parts.headers) => return asker.refuse(Fault::Framing),
        Ok(asked) => asked,
    };
    asker.line.host(&asked.host);
    let shared = &connection.shared;
    if let Some(answer) = beside(&connection, &parts, &asked.host, &mut asker.line) {
        asker.line.status(answer.status().as_u16());
        return secure::identified(answer, &asker.id);
    }
    if connection.name().is_some_and(|name| !shared.current.load().certificates().are_one(name, &asked.host)) {
        return asker.refuse(Fault::Misdirected);
    }
    let target = shared.find(&asked.host);
    let rules = target.as_ref().and_then(|target| target.rules.clone());
    if let (Some(target), Some(rules)) = (&target, &rules)
        && let Err(refusal) = rules.judge(&parts, &asked, connection.address(), connection.caller.scheme()).await
    {
        asker.line.target(target);
        asker.host = Some(asked.host);
        asker.rules = Some(Arc::clone(rules));
        return asker.answer(refusal);
    }
    let mut protocol = headers::upgrade(&parts).or_else(|| websocket.as_ref().map(|_| websocket::WEBSOCKET));
    // A switch of protocols begins behind the body; the two together are nothing that is used.
    if !body.is_end_stream() {
        protocol = None;
    }
    let origin = rules.as_ref().and_then(|_| parts.headers.get(ORIGIN).cloned());
    let lot = rules.as_ref().and_then(|rules| rules.lot(&parts.headers));
    asker.wish = Wish {
        lot: lot.unwrap_or(asker.wish.lot),
        replica: rules.as_ref().and_then(|rules| rules.wanted(&parts.headers)),
        stays: rules.as_ref().is_some_and(|rules| rules.keeps_lots()),
    };
    let form = rules.as_ref().filter(|rules| rules.compresses()).map(|_| Form::of(&parts));
    headers::to_upstream(&mut parts, &asked, &connection.caller, protocol.as_ref(), !body.is_end_stream());
    if let Some(rules) = &rules {
        rules.to_upstream(&mut parts.headers);
    }
    asker.host = Some(asked.host);
    asker.rules = rules;

    let pace = Arc::new(Pace::default());
    let most = asker.rules.as_ref().and_then(|rules| rules.max_body_bytes());
    let longest = if asker.grpc { grpc::LONGEST_SILENCE } else { shared.settings.body_timeout };
    let upload = Upload::new(body, &pace, longest, most);
    let delivered = match deliver(shared, &mut asker, Request::from_parts(parts, upload), &pace).await {
        Ok(delivered) => delivered,
        Err(fault) => return asker.refuse(fault),
    };
    let Delivered { mut response, link, pass, took } = delivered;
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switches && protocol.is_none() {
        return asker.refuse(Fault::Broken);
    }
    asker.line.status(response.status().as_u16());
    asker.line.answered(pass.upstream(), took);
    if let Some(handshake) = &websocket
        && handshake.finish(&mut response).is_err()
    {
        return asker.refuse(Fault::Broken);
    }
    // hyper answers each client in the client's version, as long as it is not told of an older one.
    *response.version_mut() = hyper::Version::HTTP_11;
    headers::to_client(response.headers_mut(), &asker.id, switches && websocket.is_none());
    if let Some(rules) = &asker.rules {
        rules.to_client(response.headers_mut(), origin.as_ref());
        let (headers, scheme) = (response.headers_mut(), connection.caller.scheme());
        rules.stick(headers, asker.wish.replica, pass.upstream(), scheme);
        if asker.beside_canary && lot.is_none() {
            rules.keep(headers, asker.wish.lot, scheme);
        }
        if rules.traffic().server_timing {
            headers::tell_times(headers, asker.line.elapsed().saturating_sub(took), took);
        }
    }
    if connection.secure {
        secure::tell(asker.line.https(), response.headers_mut());
    }
    if switches {
        let upstream = hyper::upgrade::on(&mut response);
        let tunnel = Tunnel { client, upstream, link, pass, line: asker.line, connection: Arc::clone(&connection) };
        connection.spawn(tunnel.run());
        return response.map(|_| Answer::Page(None));
    }
    let coder = asker.rules.as_ref().zip(form).and_then(|(rules, form)| {
        let (status, is_empty) = (response.status(), response.body().is_end_stream());
        form.begin(status, response.headers_mut(), is_empty, rules.presses())
    });
    response.map(|body| {
        let relayed = Relayed::new(body, link, pass, asker.line);
        match coder {
            Some(coder) => Answer::Compressed(Box::new((relayed, coder))),
            None => Answer::Relayed(Box::new(relayed)),
        }
    })
}

/// What is answered before any route: the challenges of authorities, and where TLS is.
fn beside(connection: &Connection, parts: &Parts, host: &str, line: &mut Line) -> Option<Response<Answer>> {
    let shared = &connection.shared;
    let table = shared.current.load();
    if let Some(answer) = table.challenges().answer(parts) {
        return Some(answer);
    }
    let port = shared.settings.tls_port.filter(|_| !connection.secure)?;
    let answer = secure::elsewhere(&table, parts, host, port)?;
    // A request of the app all the same.
    if let Some(Entry::App(target)) = table.find(host) {
        line.target(target);
    }
    Some(answer)
}

struct Delivered {
    response: Sent,
    link: Box<Link>,
    pass: Pass,
    /// From the sending of the request to the head of its answer.
    took: Duration,
}

async fn deliver(
    shared: &Shared,
    asker: &mut Asker,
    mut request: Request<Upload>,
    pace: &Arc<Pace>,
) -> Result<Delivered, Fault> {
    let host = asker.host.clone().unwrap_or_default();
    let (mut last, mut until) = (None::<Arc<Target>>, None);
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
        if target.rules.is_some() && asker.rules.is_none() {
            // They came while the request did, and nobody has judged it by them.
            return Err(Fault::NoReplica);
        }
        let mut errand = Errand { host: &host, target, wish: asker.wish, until };
        let sent = send(shared, &mut errand, request, pace, asker.grpc).await;
        until = errand.until;
        asker.beside_canary = errand.target.canary.is_some();
        match sent {
            Ok(delivered) => return Ok(delivered),
            Err(Undelivered::Lost(fault)) => return Err(fault),
            Err(Undelivered::Nowhere(whole)) => request = *whole,
        }
        last = Some(errand.target);
    }
    Err(Fault::Broken)
}

enum Undelivered {
    Lost(Fault),
    /// No upstream took it; it is whole and can be sent elsewhere.
    Nowhere(Box<Request<Upload>>),
}

async fn send(
    shared: &Shared,
    errand: &mut Errand<'_>,
    mut request: Request<Upload>,
    pace: &Arc<Pace>,
    grpc: bool,
) -> Result<Delivered, Undelivered> {
    let settings = &shared.settings;
    let usual = if grpc { grpc::LONGEST_SILENCE } else { settings.first_byte_timeout };
    let repeatable = is_repeatable(&request);
    let switches = request.headers().contains_key(UPGRADE);
    let mut spare = repeatable.then(|| Spare::of(&request));
    let mut tried: Vec<Arc<Upstream>> = Vec::new();
    let mut fresh = false;
    for _ in 0..MOST_ATTEMPTS {
        let Some(pass) = shared.enter(errand, &tried).await.map_err(Undelivered::Lost)? else { break };
        let upstream = pass.upstream();
        let mut link = match upstream.link(Wanted { repeatable, fresh, switches }, settings.connect_timeout).await {
            Ok(link) => link,
            Err(error) => {
                tracing::debug!(replica.id = upstream.replica(), %error, "an upstream refuses connections");
                upstream.failed();
                tried.push(Arc::clone(upstream));
                continue;
            }
        };
        if link.lane().is_some() {
            pace.keep();
            spare.get_or_insert_with(|| Spare::of(&request));
        }
        let sent_at = Instant::now();
        let longest = errand.target.rules.as_ref().and_then(|rules| rules.first_byte_timeout()).unwrap_or(usual);
        let mut unsent = match answer(&mut link, request, pace, longest).await {
            None => {
                upstream.answered(504, sent_at.elapsed());
                if let Some(lane) = link.lane() {
                    lane.gave_up();
                }
                return Err(Undelivered::Lost(Fault::NoAnswer));
            }
            Some(Ok(response)) => {
                let took = sent_at.elapsed();
                upstream.answered(response.status().as_u16(), took);
                pace.settle();
                return Ok(Delivered { response, link, pass, took });
            }
            Some(Err(unsent)) => unsent,
        };
        let error = unsent.error();
        tracing::debug!(replica.id = upstream.replica(), %error, "an upstream broke off before its answer");
        if let Some(fault) = pace.fault() {
            return Err(Undelivered::Lost(fault));
        }
        let why = Why::of(error);
        let unseen = unsent.take_message();
        match (&why, link.lane()) {
            // Nothing is wrong with who is asked to wait, or leaves in good order.
            (Why::Refused, _) if errand.target.all().nth(1).is_some() => tried.push(Arc::clone(upstream)),
            (Why::Refused, _) => {}
            (Why::Leaves, Some(lane)) => lane.spend(),
            (_, Some(_)) if unseen.is_some() => {}
            // A connection that had served before may just have been closed for its age: no failure.
            (Why::Broke, _) if link.is_reused() => fresh = true,
            _ => {
                upstream.failed();
                tried.push(Arc::clone(upstream));
            }
        }
        // The app knows nothing of it, or may see it twice.
        let is_free = unseen.is_some() || matches!(why, Why::Refused | Why::Leaves);
        let again = || {
            let may = || is_free || repeatable && errand.target.meter.may_repeat();
            spare.as_ref().filter(|_| may())?.request(pace)
        };
        // In a lane it was made another.
        request = match unseen.filter(|_| link.lane().is_none()).or_else(again) {
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

/// It does no harm twice (RFC 9110 §9.2.2), and is its head alone.
fn is_repeatable(request: &Request<Upload>) -> bool {
    request.method().is_idempotent() && request.body().is_empty()
}

/// The head of a request that may have to be sent twice.
struct Spare(Parts);

impl Spare {
    fn of(request: &Request<Upload>) -> Self {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = request.method().clone();
        parts.uri = request.uri().clone();
        parts.headers = request.headers().clone();
        Self(parts)
    }

    /// With its body, if that can be had again.
    fn request(&self, pace: &Arc<Pace>) -> Option<Request<Upload>> {
        Some(Request::from_parts(self.0.clone(), pace.again()?))
    }
}

impl Shared {
    /// Of the newest table, where the copy of it does not know the host yet.
    fn find(&self, host: &str) -> Option<Arc<Target>> {
        let of = |table: &RouteTable| match table.find(host) {
            Some(Entry::App(target)) => Some(Arc::clone(target)),
            _ => None,
        };
        of(&self.current.load()).or_else(|| of(&self.sent.borrow()))
    }

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
    pub(super) fn look(&self, table: &RouteTable, host: &str) -> Result<Option<Arc<Target>>, Fault> {
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
                    rules: None,
                    https: Default::default(),
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
