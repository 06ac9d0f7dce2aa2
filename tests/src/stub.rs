//! A service of AWS as a few lines: HTTP on loopback that answers each operation by a function.
//!
//! ```text
//! client -> POST with x-amz-target: SERVICE.Operation, JSON -> answer(Call) -> JSON, or an error in AWS's own shape
//! ```
//! For what no stand-in says (rights that are missing, tables of another region), and for measuring the host beside services
//! that cost next to nothing.
//!
//! Invariants
//! - Signatures are not looked at. Nothing is refused but by the function.
//!
//! Not here: what is answered (`dynamodb`, `kinesis`), faults of the line (`proxy`).

pub mod dynamodb;
pub mod kinesis;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A request.
#[derive(Debug)]
pub struct Call {
    /// `DynamoDB_20120810`, `Kinesis_20131202`.
    pub service: String,
    /// `UpdateItem`, `GetRecords`.
    pub operation: String,
    /// Its JSON.
    pub body: Bytes,
}

impl Call {
    /// Its JSON, read.
    ///
    /// # Panics
    /// If it is none: the SDK writes JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a request is JSON")
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    body: Bytes,
}

impl Reply {
    /// What was asked for.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self { status: 200, body: body.into() }
    }

    /// The same as JSON.
    pub fn json(body: &Value) -> Self {
        Self::ok(body.to_string())
    }

    /// An error by its name.
    pub fn error(code: &str, message: &str) -> Self {
        Self { status: 400, body: json!({ "__type": code, "message": message }).to_string().into() }
    }
}

type Answer = dyn Fn(&Call) -> Reply + Send + Sync;

/// A running service; it ends when dropped.
#[derive(Debug)]
pub struct Stub {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stub {
    /// Starts one on a free loopback port.
    ///
    /// # Errors
    /// If no port can be had.
    pub fn start(answer: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer: Arc<Answer> = Arc::new(answer);
        let thread = std::thread::Builder::new().name("stub".into()).spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener that does not block");
                tokio::select! {
                    () = accept(&listener, &answer) => {}
                    // The sender is only ever dropped or sent to by this stub's end.
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed; here the stub is over either way.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: &TcpListener, answer: &Arc<Answer>) {
    loop {
        // A connection that broke before it was taken is the client's matter.
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Fails only for a connection that is gone.
        let _ = stream.set_nodelay(true);
        let answer = Arc::clone(answer);
        tokio::spawn(async move {
            let service = service_fn(|request| handle(&answer, request));
            // An error here is a client that went away.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn handle(answer: &Arc<Answer>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let target = request.headers().get("x-amz-target").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let (service, operation) = target.split_once('.').unwrap_or_default();
    let (service, operation) = (service.to_owned(), operation.to_owned());
    let call = Call { service, operation, body: request.into_body().collect().await?.to_bytes() };
    let reply = answer(&call);
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).expect("a status of ours");
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
    Ok(response)
}
