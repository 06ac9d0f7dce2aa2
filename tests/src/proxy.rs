//! A small HTTP/1.1 proxy that fails on purpose, by seeded rules: it loses replies, refuses, errs, waits.
//!
//! ```text
//! client -> [rules: by operation, 1 in N] -> server
//!        <-  reply, or a closed connection, or an error in AWS's own shape
//! ```
//!
//! Invariants
//! - Of every N requests that a rule looks at, in the order of their arrival, exactly one is hit; which one depends on
//!   the seed and that order alone. Where several rules want the same one, the first has it and the others have the next
//!   that is free: a fault happens as often as its rule says, beside any others.
//! - A request whose reply is lost has been executed: the server's whole answer has come before the connection closes.
//! - A request that is refused has not been executed.
//! - A guard is asked before the rules, of every request; what it does not allow is refused as the services do it.
//!
//! Not here: TLS. A real AWS endpoint signs its host name, so it cannot be put behind this proxy.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rand::RngExt;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::seed;

/// What a hit request suffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It is executed, then the connection closes without a reply.
    LoseReply,
    /// The connection closes before the server has seen it.
    LoseRequest,
    /// It is answered 400 `ProvisionedThroughputExceededException`, and not executed.
    Throttle,
    /// It is answered 400 `ExpiredIteratorException`, and not executed.
    ExpireIterator,
    /// It is answered 500 `InternalServerError`, and not executed.
    ServerError,
    /// It is executed after this wait.
    Delay(Duration),
    /// It is answered 400 `UnrecognizedClientException`, as for a key that nobody has, and not executed.
    UnknownKey,
    /// It is answered 400 `InvalidSignatureException`, as for a wrong secret, and not executed.
    WrongSecret,
    /// It is answered 400 `ExpiredTokenException`, and not executed.
    ExpiredToken,
    /// It is answered 400 `AccessDeniedException`, which names user, action and resource, and not executed.
    Deny,
}

/// Hits one request in `one_in` of those it looks at.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The operation it looks at, as in `x-amz-target` after the dot (`UpdateItem`, `GetRecords`); all if absent.
    pub operation: Option<String>,
    /// What happens.
    pub fault: Fault,
    /// At least 1, which hits every one.
    pub one_in: u64,
}

impl Rule {
    /// A rule for all operations.
    pub fn all(fault: Fault, one_in: u64) -> Self {
        Self { operation: None, fault, one_in }
    }

    /// A rule for one operation.
    pub fn on(operation: &str, fault: Fault, one_in: u64) -> Self {
        Self { operation: Some(operation.to_owned()), fault, one_in }
    }

    /// Whether the request number `count` (from 0) of those this rule looks at is hit.
    fn hits(&self, seed: u64, rule: usize, count: u64) -> bool {
        let (block, place) = (count / self.one_in, count % self.one_in);
        // Each block of N draws its own place, so hits are neither periodic nor, by bad luck, absent.
        let mut generator = seed::generator(seed ^ (rule as u64).rotate_right(8) ^ block.rotate_right(24));
        generator.random_range(0..self.one_in) == place
    }
}

/// A running proxy; it ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Says of a request (`x-amz-target`, or the path where there is none, and body) whether it is allowed.
pub type Guard = Box<dyn Fn(&str, &[u8]) -> bool + Send + Sync>;

struct Shared {
    upstream: String,
    guard: Option<Guard>,
    state: Mutex<State>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("upstream", &self.upstream).field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    seed: u64,
    rules: Vec<Rule>,
    /// How many requests each rule has looked at.
    seen: Vec<u64>,
    /// How many hits each rule still has to place, since another rule took its request.
    owed: Vec<u64>,
    requests: u64,
    fired: BTreeMap<(Fault, String), u64>,
}

impl Proxy {
    /// Starts one on a free loopback port, in front of `upstream` (an `http://host:port`).
    ///
    /// # Errors
    /// If `upstream` is anything else, or no port can be had.
    ///
    /// # Panics
    /// If a rule says one in 0.
    pub fn start(upstream: &str, seed: u64, rules: Vec<Rule>) -> Result<Self> {
        Self::launch(upstream, None, State::new(seed, rules))
    }

    /// Starts one that lets pass what `guard` allows, and answers all else with 400 `AccessDeniedException`.
    ///
    /// # Errors
    /// As [`Proxy::start`].
    pub fn guarded(upstream: &str, guard: Guard) -> Result<Self> {
        Self::launch(upstream, Some(guard), State::new(0, Vec::new()))
    }

    fn launch(upstream: &str, guard: Option<Guard>, state: State) -> Result<Self> {
        let Some(host) = upstream.strip_prefix("http://") else {
            bail!("the fault proxy speaks plain HTTP only, so it cannot stand before {upstream}; use a local stand-in");
        };
        let upstream = host.trim_end_matches('/').to_owned();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { upstream, guard, state: Mutex::new(state) });
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("fault proxy".into()).spawn(move || {
            runtime.block_on(async {
                let listener =
                    TcpListener::from_std(listener).expect("a listener that does not block, inside a runtime");
                tokio::select! {
                    () = accept(&listener, &serving) => {}
                    // The sender is only ever dropped or sent to by this proxy's end.
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Its address, to be used in place of the server's.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Other rules from the next request on; all counts start again.
    pub fn set_rules(&self, seed: u64, rules: Vec<Rule>) {
        *self.shared.state() = State::new(seed, rules);
    }

    /// How many requests came since the rules were set.
    pub fn requests(&self) -> u64 {
        self.shared.state().requests
    }

    /// How often each fault hit each operation since the rules were set.
    pub fn fired(&self) -> BTreeMap<(Fault, String), u64> {
        self.shared.state().fired.clone()
    }

    /// How often a fault hit any operation since the rules were set.
    pub fn fired_times(&self, fault: Fault) -> u64 {
        self.shared.state().fired.iter().filter(|((kind, _), _)| *kind == fault).map(|(_, times)| times).sum()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed; here the proxy is over either way.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(seed: u64, rules: Vec<Rule>) -> Self {
        assert!(rules.iter().all(|rule| rule.one_in > 0), "one request in 0 cannot be hit: {rules:?}");
        let none = vec![0; rules.len()];
        Self { seed, seen: none.clone(), owed: none, rules, requests: 0, fired: BTreeMap::new() }
    }

    /// The fault of the next request: that of the first rule with a hit to place. Every rule that looks at it counts it.
    fn decide(&mut self, operation: &str) -> Option<Fault> {
        self.requests += 1;
        let mut decided = None;
        for (number, rule) in self.rules.iter().enumerate() {
            if rule.operation.as_deref().is_some_and(|only| only != operation) {
                continue;
            }
            self.owed[number] += u64::from(rule.hits(self.seed, number, self.seen[number]));
            self.seen[number] += 1;
            if self.owed[number] > 0 && decided.is_none() {
                self.owed[number] -= 1;
                decided = Some(rule.fault);
            }
        }
        if let Some(fault) = decided {
            *self.fired.entry((fault, operation.to_owned())).or_default() += 1;
        }
        decided
    }
}

/// Why a connection is closed without a reply; hyper closes it on any error of its service.
#[derive(Debug)]
struct Closed(String);

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Closed {}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        // A connection that broke before it was taken is the client's matter.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            // One connection to the server for each of the client's, made when first needed.
            let server = tokio::sync::Mutex::new(None);
            let service = service_fn(|request| handle(&shared, &server, request));
            let connection = hyper::server::conn::http1::Builder::new();
            // An error here is a lost reply, or a client that went away (killed, as tests do).
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// What DynamoDB calls itself in `x-amz-target`.
const DYNAMODB: &str = "DynamoDB_20120810";

type Upstream = tokio::sync::Mutex<Option<SendRequest<Full<Bytes>>>>;

async fn handle(
    shared: &Shared,
    server: &Upstream,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Closed> {
    let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let service = target.split('.').next().unwrap_or_default().to_owned();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let target = if target.is_empty() { request.uri().path().to_owned() } else { target.to_owned() };
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|error| Closed(error.to_string()))?.to_bytes();
    if shared.guard.as_ref().is_some_and(|allows| !allows(&target, &body)) {
        return Ok(refusal(Fault::Deny, &service, &operation, &body));
    }
    let fault = shared.state().decide(&operation);
    match fault {
        Some(Fault::LoseRequest) => return Err(Closed(format!("{operation} is lost before the server"))),
        Some(Fault::Delay(wait)) => tokio::time::sleep(wait).await,
        Some(Fault::LoseReply) | None => {}
        Some(fault) => return Ok(refusal(fault, &service, &operation, &body)),
    }
    let request = Request::from_parts(head, Full::new(body));
    let reply = forward(shared, server, request).await.map_err(|error| Closed(format!("{error:#}")))?;
    if fault == Some(Fault::LoseReply) {
        return Err(Closed(format!("the reply to {operation} is lost")));
    }
    Ok(reply)
}

async fn forward(shared: &Shared, server: &Upstream, request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>> {
    let mut server = server.lock().await;
    let live = match server.take() {
        Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
        None => None,
    };
    let mut sender = match live {
        Some(sender) => sender,
        None => connect(&shared.upstream).await?,
    };
    let reply = sender.send_request(request).await?;
    let (head, body) = reply.into_parts();
    let body = body.collect().await.context("the server's reply ended early")?.to_bytes();
    *server = Some(sender);
    let mut reply = Response::from_parts(head, Full::new(body));
    // The body is whole now: it is sent with its length, whatever the server's framing was.
    reply.headers_mut().remove(hyper::header::TRANSFER_ENCODING);
    reply.headers_mut().remove(hyper::header::CONNECTION);
    Ok(reply)
}

async fn connect(upstream: &str) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(upstream).await.with_context(|| format!("cannot reach {upstream}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Its end shows as an error of the next request.
    tokio::spawn(connection);
    Ok(sender)
}

/// An error as the services themselves write it.
fn refusal(fault: Fault, service: &str, operation: &str, request: &[u8]) -> Response<Full<Bytes>> {
    let (code, message) = match fault {
        Fault::Throttle => ("ProvisionedThroughputExceededException", "Rate exceeded".to_owned()),
        Fault::ExpireIterator => ("ExpiredIteratorException", "Iterator expired".to_owned()),
        Fault::ServerError => ("InternalServerError", "Internal server error".to_owned()),
        Fault::UnknownKey => {
            ("UnrecognizedClientException", "The security token included in the request is invalid.".to_owned())
        }
        Fault::WrongSecret => (
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
             Key and signing method. Consult the service documentation for details."
                .to_owned(),
        ),
        Fault::ExpiredToken => {
            ("ExpiredTokenException", "The security token included in the request is expired".to_owned())
        }
        Fault::Deny => ("AccessDeniedException", denial(service, operation, request)),
        Fault::LoseReply | Fault::LoseRequest | Fault::Delay(_) => unreachable!("{fault:?} answers nothing"),
    };
    let status = if fault == Fault::ServerError { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::BAD_REQUEST };
    let (json, prefix) = match service {
        DYNAMODB => ("application/x-amz-json-1.0", "com.amazonaws.dynamodb.v20120810#"),
        _ => ("application/x-amz-json-1.1", ""),
    };
    let body = serde_json::json!({ "__type": format!("{prefix}{code}"), "message": message });
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(json));
    response
}

fn denial(service: &str, operation: &str, request: &[u8]) -> String {
    let request: serde_json::Value = serde_json::from_slice(request).unwrap_or_default();
    let name = |field: &str| request[field].as_str().unwrap_or("*").to_owned();
    let (service, resource) = match service {
        DYNAMODB => ("dynamodb", format!("table/{}", name("TableName"))),
        _ => ("kinesis", format!("stream/{}", name("StreamName"))),
    };
    let (account, region) = ("123456789012", crate::aws::REGION);
    format!(
        "User: arn:aws:iam::{account}:user/counter is not authorized to perform: {service}:{operation} on resource: \
         arn:aws:{service}:{region}:{account}:{resource} because no identity-based policy allows the \
         {service}:{operation} action"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(seed: u64, one_in: u64, requests: u64) -> Vec<u64> {
        let mut state = State::new(seed, vec![Rule::on("PutRecords", Fault::LoseReply, one_in)]);
        (0..requests).filter(|_| state.decide("PutRecords").is_some()).collect()
    }

    #[test]
    fn of_every_n_requests_exactly_one_is_hit() {
        let hits = hit(7, 200, 20_000);
        assert_eq!(hits.iter().map(|hit| hit / 200).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn rules_that_want_the_same_request_are_all_served() {
        for seed in 0..1_000 {
            let rules =
                vec![Rule::all(Fault::Throttle, 3), Rule::all(Fault::ServerError, 4), Rule::all(Fault::LoseReply, 6)];
            let mut state = State::new(seed, rules);
            let faults: Vec<_> = (0..120).filter_map(|_| state.decide("PutRecords")).collect();
            let times = |fault| faults.iter().filter(|f| **f == fault).count();
            assert_eq!(times(Fault::Throttle), 40);
            assert!(times(Fault::ServerError) >= 29 && times(Fault::LoseReply) >= 18, "seed {seed}: {faults:?}");
        }
    }

    #[test]
    fn the_seed_and_the_count_decide() {
        assert_eq!(hit(7, 200, 20_000), hit(7, 200, 20_000));
        assert_ne!(hit(7, 200, 20_000), hit(8, 200, 20_000));
    }

    #[test]
    fn a_rule_looks_at_its_operation_only() {
        let mut state = State::new(7, vec![Rule::on("PutRecords", Fault::Throttle, 1)]);
        assert_eq!(state.decide("GetRecords"), None);
        assert_eq!(state.decide("PutRecords"), Some(Fault::Throttle));
        assert_eq!(state.fired, BTreeMap::from([((Fault::Throttle, "PutRecords".to_owned()), 1)]));
    }
}
