//! The server over a real socket, asked by a client of a few lines.

use super::*;
use crate::live::LaneStatus;
use crate::live::tests::{effects, hub, lane};
use plimsoll_core::wire::effects::Table;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

struct Running {
    hub: Arc<StatusHub>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: tokio::task::JoinHandle<io::Result<()>>,
    _page: tempfile::TempDir,
}

async fn running() -> Running {
    let page = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("index.html", r#"<meta name="plimsoll-host" content="none">"#),
        ("worker.js", "self"),
        ("plimsoll.wasm", "the page's own"),
    ] {
        std::fs::write(page.path().join(name), text).unwrap();
    }
    let (hub, _) = hub();
    let site = Site {
        hub: hub.clone(),
        page: Some(PageFiles::read(page.path()).unwrap()),
        module: Some(Bytes::from_static(b"\0asm, the running one")),
        policy: PolicyText { file_name: "p.toml".into(), text: "policy = \"test\"".into() },
    };
    let listener = bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(serve(listener, site, stopped));
    Running { hub, address, stop, server, _page: page }
}

impl Running {
    async fn open(&self, path: &str) -> TcpStream {
        self.open_as(path, "localhost").await
    }

    async fn open_as(&self, path: &str, host: &str) -> TcpStream {
        let mut s = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        s.write_all(request.as_bytes()).await.unwrap();
        s
    }

    async fn get(&self, path: &str) -> (u16, String, String) {
        self.get_as(path, "localhost").await
    }

    async fn get_as(&self, path: &str, host: &str) -> (u16, String, String) {
        let mut answer = String::new();
        self.open_as(path, host).await.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
    }

    /// What the live stream says within a time.
    async fn watch(&self, time: Duration) -> String {
        let mut stream = self.open("/live").await;
        let mut seen = Vec::new();
        let _ = timeout(time, stream.read_to_end(&mut seen)).await;
        String::from_utf8(seen).unwrap()
    }
}

#[tokio::test]
async fn everything_comes_with_its_type_and_the_policy_of_the_page() {
    let s = running().await;
    for (path, kind) in [
        ("/", "text/html"),
        ("/worker.js", "text/javascript"),
        ("/plimsoll.wasm", "application/wasm"),
        ("/policy", "application/json"),
        ("/metrics", "application/openmetrics-text"),
        ("/healthz", "text/plain"),
    ] {
        let (status, head, _) = s.get(path).await;
        assert_eq!(status, 200, "{path}");
        assert!(head.contains(&format!("content-type: {kind}")), "{path}: {head}");
    }
    for path in ["/", "/worker.js", "/live-not", "/readyz", "/../Cargo.toml", "/%2e%2e%2fCargo.toml"] {
        let (_, head, body) = s.get(path).await;
        assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self' 'wasm-unsafe-eval'"));
        assert!(!body.contains("[package]"), "{path} leads out of the folder");
    }
    assert!(s.get("/").await.2.contains(r#"content="here""#), "the page knows that a host is there");
    assert!(s.get("/plimsoll.wasm").await.2.ends_with("the running one"), "not the page's own");
    let policy: serde_json::Value = serde_json::from_str(&s.get("/policy").await.2).unwrap();
    assert_eq!(policy["text"], "policy = \"test\"");
    assert_eq!(policy["sha256"], hex(s.hub.policy().digest()));
    assert_eq!(s.get("/nothing").await.0, 404);
}

#[tokio::test]
async fn a_name_that_was_made_to_point_here_gets_nothing() {
    let s = running().await;
    let port = s.address.port();
    for host in ["localhost", "LOCALHOST:1", &format!("127.0.0.1:{port}"), "[::1]:80", "[::1]", "127.8.0.1"] {
        assert_eq!(s.get_as("/policy", host).await.0, 200, "{host}");
    }
    for host in ["evil.example", &format!("evil.example:{port}"), "localhost.evil.example", "10.0.0.1", "", "::x:1"] {
        for path in ["/policy", "/live", "/metrics", "/"] {
            let (status, head, body) = s.get_as(path, host).await;
            assert_eq!(status, 421, "{host} {path}");
            assert!(body.contains("expected localhost") && head.contains("content-security-policy"), "{head}\n{body}");
        }
    }
}

#[tokio::test]
async fn ready_is_not_alive() {
    let s = running().await;
    assert_eq!(s.get("/healthz").await.0, 200);
    let (status, _, why) = s.get("/readyz").await;
    assert_eq!((status, why.as_str()), (503, "no lane has started yet\n"));
    s.hub.lane(lane("a", None, 1));
    assert_eq!(s.get("/readyz").await.0, 200);
    let alarm = |lane: &str, since_ms| AlarmView {
        alarm: "commit-lag".into(),
        lane: lane.into(),
        since_ms,
        found: "commit lag 12m".into(),
    };
    s.hub.judged(vec![alarm("a", Some(5)), alarm("b", None)]);
    let (status, _, said) = s.get("/readyz").await;
    assert_eq!((status, said.as_str()), (200, "ready\nalarm commit-lag of lane a: commit lag 12m\n"));
}

#[tokio::test]
async fn a_watcher_gets_hello_and_then_how_things_stand() {
    let s = running().await;
    s.hub.rows("a", &effects(0, Table::Main, &[("<b>", 3, 1)]));
    s.hub.lane(lane("a", Some(10), 3));
    let seen = s.watch(Duration::from_millis(400)).await;
    let at = |what: &str| seen.find(what).unwrap_or_else(|| panic!("no `{what}` in {seen}"));
    assert!(at("event: hello") < at("event: snapshot") && at("event: snapshot") < at("event: stats"));
    assert!(seen.contains("cache-control: no-store") && seen.contains("retry: 2000"));
    assert!(seen.contains(r#""state":"final""#) && seen.contains(r#""watermark":10"#) && seen.contains("<b>"));
}

#[tokio::test]
async fn ten_thousand_changes_are_a_few_events() {
    let s = running().await;
    let watching = s.watch(Duration::from_millis(1_300));
    let changing = async {
        for i in 0..10_000 {
            s.hub.rows("a", &effects(i % 5 * 10, Table::Main, &[("a", 1, 1)]));
            s.hub.lane(LaneStatus { n: i as u64, ..lane("a", Some(i), i as u64) });
            if i % 10 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let (seen, ()) = tokio::join!(watching, changing);
    let count = |what: &str| seen.matches(what).count();
    assert!(count("event: stats") >= 2, "changes are told: {seen}");
    assert!(count("event: ") <= 14, "{} events in 1.3 s", count("event: "));
    assert!(count("event: snapshot") <= 3);
}

#[tokio::test]
async fn a_stop_ends_open_streams() {
    let s = running().await;
    let mut stream = s.open("/live").await;
    let mut first = [0; 64];
    stream.read_exact(&mut first).await.unwrap();
    s.stop.send(true).unwrap();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.expect("the stream ends").unwrap();
    timeout(Duration::from_secs(5), s.server).await.expect("the server ends").unwrap().unwrap();
}

#[tokio::test]
async fn a_port_in_use_names_the_mend() {
    let taken = bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = bind(&address).await.unwrap_err().to_string();
    assert!(text.contains(&address) && text.contains("--listen 127.0.0.1:0"), "{text}");
    let text = bind("somewhere").await.unwrap_err().to_string();
    assert!(text.contains("somewhere") && text.contains("expected an address"), "{text}");
}

#[tokio::test]
async fn watchers_are_bounded() {
    let s = running().await;
    let mut open = Vec::new();
    for _ in 0..WATCHERS_MAX {
        let mut stream = s.open("/live").await;
        stream.read_exact(&mut [0; 16]).await.unwrap();
        open.push(stream);
    }
    assert_eq!(s.get("/live").await.0, 503);
    drop(open);
    timeout(Duration::from_secs(10), async { while !s.watch(Duration::from_millis(100)).await.contains("200 OK") {} })
        .await
        .expect("places come free");
}
