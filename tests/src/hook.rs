//! A web server on loopback that people would be behind: webhooks, and what SNS posts to.
//!
//! ```text
//! /failing...   500, always       /hanging...   no answer, ever       everything else   200 "ok"
//! ```
//! Invariants
//! - Every request is kept, in the order in which they came, whatever it was answered.
//! - It ends when its value is dropped.

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const POLL: Duration = Duration::from_millis(5);

/// A POST that came.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: Value,
}

/// A running server.
#[derive(Debug)]
pub struct Hook {
    address: SocketAddr,
    posted: Arc<Mutex<Vec<Posted>>>,
    task: JoinHandle<()>,
}

impl Hook {
    /// Starts one on a free loopback port.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let posted: Arc<Mutex<Vec<Posted>>> = Arc::default();
        let task = tokio::spawn(accept(listener, Arc::clone(&posted)));
        Ok(Self { address, posted, task })
    }

    /// The address of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What came to a path so far.
    pub fn posted(&self, path: &str) -> Vec<Value> {
        let posted = self.posted.lock().unwrap_or_else(PoisonError::into_inner);
        posted.iter().filter(|p| p.path == path).map(|p| p.body.clone()).collect()
    }

    /// Waits for a post to a path in which `check` finds something.
    ///
    /// # Panics
    /// If none comes within `limit`.
    pub async fn until<T>(&self, path: &str, limit: Duration, check: impl Fn(&Value) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            let posted = self.posted(path);
            if let Some(found) = posted.iter().find_map(&check) {
                return found;
            }
            assert!(start.elapsed() < limit, "not what was awaited at {path} within {limit:?}: {posted:#?}");
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, posted: Arc<Mutex<Vec<Posted>>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let posted = Arc::clone(&posted);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &posted));
            // A client that went away is its own matter.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, posted: &Mutex<Vec<Posted>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
    let text = String::from_utf8_lossy(&body).into_owned();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    posted.lock().unwrap_or_else(PoisonError::into_inner).push(Posted { path: path.clone(), body });
    if path.starts_with("/hanging") {
        std::future::pending::<()>().await;
    }
    let failing = path.starts_with("/failing");
    let mut answer = Response::new(Full::new(Bytes::from(if failing { "not now" } else { "ok" })));
    *answer.status_mut() = if failing { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    Ok(answer)
}
