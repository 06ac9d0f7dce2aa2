//! The host's HTTP face: the live page, the module it runs, metrics, health.
//!
//! ```text
//! GET /               the page and its files
//!     /plimsoll.wasm  the very module that runs here
//!     /policy         the running policy as it was written, with the digest of its canonical form
//!     /live           server-sent events: hello, snapshot, stats
//!     /metrics        OpenMetrics
//!     /healthz        200 while the process lives
//!     /readyz         200 while the lanes do their work, with the alarms that are open, else 503 with the reason
//! ```
//! Invariants
//! - It only tells: no request changes anything.
//! - Every response carries the page's Content-Security-Policy, the worker's script too: workers do not inherit it.
//! - Answers are bounded; a slow reader holds back only itself.
//! - On loopback it answers only requests for loopback: a page from elsewhere whose name was made to point here (DNS
//!   rebinding) gets nothing. On other addresses it cannot know its names.
//!
//! Not here: what is told (`live`, `telemetry`), TLS and passwords: it listens on loopback unless told otherwise.

mod events;
mod files;

pub use files::PageFiles;

use crate::alarm::AlarmView;
use crate::live::{StatusHub, hex};
use crate::telemetry::{self, Metrics};
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// Where it listens when nobody says.
pub const LISTEN: &str = "127.0.0.1:7433";
/// Browsers that watch at one time; the next one is asked to come later.
const WATCHERS_MAX: usize = 64;
/// A lane that is silent for longer is not ready: ten times the longest wait between two looks.
const SILENCE_MS_MAX: i64 = 60_000;
/// Open connections get so long to end when the host stops.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// No script, style or connection but from here; WebAssembly may be compiled.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Somebody else listens there.
    #[error(
        "{address} is in use; stop the program that listens there, or take any free port with --listen 127.0.0.1:0"
    )]
    InUse {
        /// The address asked for.
        address: String,
    },
    /// The system does not let us.
    #[error("may not listen on {address}; ports below 1024 need rights, --listen 127.0.0.1:0 takes any free one")]
    Denied {
        /// The address asked for.
        address: String,
    },
    /// Anything else.
    #[error("could not listen on {address}: {source}; expected an address of this machine, like {LISTEN}")]
    Listen {
        /// The address asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A policy as its author wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyText {
    /// The file's name, which decides between TOML and JSON.
    pub file_name: String,
    /// Its text.
    pub text: String,
}

/// What is served.
pub struct Site {
    /// The model behind page, metrics and readiness.
    pub hub: Arc<StatusHub>,
    /// The page, where its files were found.
    pub page: Option<PageFiles>,
    /// The module that runs here; `None` for the native engine, then the page's own is served.
    pub module: Option<Bytes>,
    /// The running policy.
    pub policy: PolicyText,
}

/// Takes the address.
///
/// # Errors
/// When it cannot be had; the message names the mend.
pub async fn bind(address: &str) -> Result<TcpListener, HttpError> {
    let owned = || address.to_owned();
    let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => HttpError::InUse { address: owned() },
        io::ErrorKind::PermissionDenied => HttpError::Denied { address: owned() },
        _ => HttpError::Listen { address: owned(), source },
    })?;
    if listener.local_addr().is_ok_and(|a| !a.ip().is_loopback()) {
        tracing::warn!(%address, "the live page is open to everyone who can reach this address");
    }
    Ok(listener)
}

/// Serves until `stop` becomes true, then lets open answers end.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, site: Site, stop: watch::Receiver<bool>) -> io::Result<()> {
    let mut stopping = stop.clone();
    // A closed channel means that whoever could say stop is gone: that is a stop too.
    let stopped = async move { stopping.wait_for(|s| *s).await.map(drop).unwrap_or_default() };
    let mut deadline = stop.clone();
    let loopback = listener.local_addr()?.ip().is_loopback();
    let router = if loopback { router(site, stop).layer(from_fn(for_loopback)) } else { router(site, stop) };
    // Outermost, so that refusals have the headers too.
    let router = router.layer(map_response(with_headers));
    tokio::select! {
        done = axum::serve(listener, router).with_graceful_shutdown(stopped) => done,
        () = async {
            deadline.wait_for(|s| *s).await.map(drop).unwrap_or_default();
            tokio::time::sleep(STOP_WAIT).await;
        } => Ok(()),
    }
}

/// The address in a form to click on.
pub fn url(address: SocketAddr) -> String {
    format!("http://{address}/")
}

struct Shared {
    site: Site,
    metrics: Metrics,
    watchers: Arc<Semaphore>,
    snapshots: events::Snapshots,
    stop: watch::Receiver<bool>,
}

fn router(site: Site, stop: watch::Receiver<bool>) -> Router {
    let shared = Arc::new(Shared {
        metrics: Metrics::new(site.hub.clone()),
        watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
        snapshots: events::Snapshots::default(),
        site,
        stop,
    });
    Router::new()
        .route("/", get(|state| file(state, Path("index.html".into()))))
        .route("/policy", get(policy))
        .route("/live", get(live))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { plain(StatusCode::OK, "alive\n") }))
        .route("/readyz", get(ready))
        .route("/{file}", get(file))
        .with_state(shared)
}

/// Refuses requests that were meant for another name than this machine's own.
async fn for_loopback(request: Request, next: Next) -> Response {
    let asked = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    match asked {
        Some(host) if is_loopback(host) => next.run(request).await,
        _ => plain(
            StatusCode::MISDIRECTED_REQUEST,
            &format!(
                "found `Host: {}`, expected localhost, 127.0.0.1 or [::1]: this page is for this machine alone. Open it by \
                 one of these names (a proxy before it sends one of them), or choose another address with --listen\n",
                asked.unwrap_or("")
            ),
        ),
    }
}

/// Whether a `Host` names this machine from its own sight, whatever the port.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(|a: IpAddr| a.is_loopback())
}

async fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // A new version of the host must not meet an old page.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    response
}

async fn file(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    if let ("plimsoll.wasm", Some(module)) = (name.as_str(), &shared.site.module) {
        return ([(header::CONTENT_TYPE, files::content_type(&name))], module.clone()).into_response();
    }
    match &shared.site.page {
        None if name == "index.html" => plain(
            StatusCode::OK,
            "Plimsoll is running, but the files of its page were not found. Build them with `make js`, or say where \
             they lie with PLIMSOLL_SHARE. /live, /metrics, /healthz and /readyz work without them.\n",
        ),
        None => plain(StatusCode::NOT_FOUND, "not found\n"),
        Some(page) => match page.get(&name) {
            Some(bytes) => ([(header::CONTENT_TYPE, files::content_type(&name))], bytes).into_response(),
            None => plain(StatusCode::NOT_FOUND, "not found\n"),
        },
    }
}

async fn policy(State(shared): State<Arc<Shared>>) -> Response {
    let (policy, text) = (shared.site.hub.policy(), &shared.site.policy);
    let body = serde_json::json!({
        "name": policy.spec().policy,
        "file_name": text.file_name,
        "text": text.text,
        "sha256": hex(policy.digest()),
    });
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn live(State(shared): State<Arc<Shared>>) -> Response {
    match shared.watchers.clone().try_acquire_owned() {
        Ok(place) => events::stream(shared, place),
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "64 browsers are watching already; close one and try again\n"),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    ([(header::CONTENT_TYPE, telemetry::CONTENT_TYPE)], shared.metrics.encode()).into_response()
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    match shared.site.hub.ready(SILENCE_MS_MAX) {
        Ok(()) => {
            // An alarm is no reason to take a host away: it would fall behind further.
            let open =
                |a: &AlarmView| a.is_open().then(|| format!("alarm {} of lane {}: {}\n", a.alarm, a.lane, a.found));
            let open: String = shared.site.hub.alarms().iter().filter_map(open).collect();
            plain(StatusCode::OK, &format!("ready\n{open}"))
        }
        Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
    }
}

fn plain(status: StatusCode, text: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text.to_owned()).into_response()
}

#[cfg(test)]
#[path = "http/tests.rs"]
mod tests;
