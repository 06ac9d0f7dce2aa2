//! The image's files, laid out as its Dockerfile does, run as its user; and what is then scraped is what dashboard and
//! alerts are about.
//!
//! Not here: building the image, for which a machine with Docker is needed.

use crate::{deployed, read};
use plimsoll_tests::place::{LIMIT, Place};
use plimsoll_tests::process::{self, Host, Running, Stop};
use plimsoll_tests::server::Dynamo;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// One that tells of everything there is to tell.
const POLICY: &str = r#"policy = "impressions"
[input]
time = { field = "ts", unit = "ms" }
arrival = { field = "arr", unit = "ms" }
key  = ["placement"]
[window]
fixed = "1m"
[watermark]
max = true
[measures]
events = "count"
"#;
/// The second closes the window of the first; the third has no time.
const EVENTS: &str = r#"{"ts":1700000040000,"arr":1700000041000,"placement":"p"}
{"ts":1700000140000,"arr":1700000141000,"placement":"p"}
{"arr":1700000141000,"placement":"p"}
"#;

/// Lays out what the Dockerfile's last stage copies, and gives the program's path.
fn lay_out(root: &Path) -> PathBuf {
    let dockerfile = std::fs::read_to_string(deployed("Dockerfile")).expect("the Dockerfile");
    let last = dockerfile.rsplit_once("\nFROM ").expect("it has stages").1;
    let module = process::module();
    for line in last.lines().filter_map(|line| line.strip_prefix("COPY --from=")) {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, from, to] = words[..] else { panic!("COPY --from={line}: expected one source and one place") };
        let from = match from {
            "/src/target/release/plimsoll" => process::binary().to_path_buf(),
            "/src/target/plimsoll/plimsoll.wasm" => module.clone(),
            "/src/target/plimsoll/page" => module.with_file_name("page"),
            other => panic!("{other}: this test does not know where the build puts that"),
        };
        copy(&from, &root.join(to.trim_start_matches('/')));
    }
    let program = dockerfile.lines().find_map(|line| line.strip_prefix("ENTRYPOINT [\"/")).expect("an entry point");
    root.join(program.trim_end_matches("\"]"))
}

/// Readable by everybody, writable by nobody else.
fn copy(from: &Path, to: &Path) {
    let make = |folder: &Path| std::fs::create_dir_all(folder).expect("a folder");
    if from.is_file() {
        make(to.parent().expect("a folder"));
        std::fs::copy(from, to).expect("a copy");
        return;
    }
    make(to);
    for entry in std::fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}; run `make js`", from.display())) {
        let entry = entry.expect("an entry");
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

/// The body of an answer with 200.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
    body.to_owned()
}

/// A host that runs from the image's layout, as a user who owns nothing, with an address that is asked.
fn running(place: &Place, dynamodb: &Dynamo) -> (Running, String) {
    let root = place.path("image");
    let program = lay_out(&root);
    std::fs::set_permissions(place.dir(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let prefix = format!("scraped-{:016x}", rand::random::<u64>());
    let host = |line: &str| {
        let words = line.split(' ').chain(["--dynamodb", &prefix]);
        Host::copied(&program, words).current_dir(place.dir()).aws("http://127.0.0.1:9", dynamodb.url())
    };
    let made = host("tables create").run(LIMIT).and_then(|done| done.expect(0));
    made.unwrap_or_else(|error| panic!("{error:#}"));
    let run = "run --policy policy.toml --config plimsoll.toml --input events.ndjson --follow --accept-poison";
    let mut host = host(&format!("{run} --listen 127.0.0.1:0"));
    host = host.env("HOME", "/nonexistent").env("XDG_CACHE_HOME", "/nonexistent/cache");
    // Only root can become nobody; anybody else owns nothing there either, but the folder.
    if std::fs::read_dir("/root").is_ok() {
        host = host.as_nobody();
    }
    let mut host = host.spawn().expect("it starts");
    let address = host.until("an address", LIMIT, |host| {
        let said = host.stderr();
        let rest = said.split_once("page is at http://")?.1;
        Some(rest.split_once('/')?.0.to_owned())
    });
    let address = address.unwrap_or_else(|error| panic!("{error:#}"));
    (host, address)
}

/// Families of a scrape, each with the labels that its samples have.
fn families(scrape: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut families = BTreeMap::new();
    let mut family = String::new();
    for line in scrape.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            family = typed.split(' ').next().expect("a name").to_owned();
            families.insert(family.clone(), BTreeSet::new());
        } else if !line.starts_with('#') {
            let (_, labels) = line.split_once('{').unwrap_or((line, ""));
            let labels = labels.split("\",").filter_map(|label| Some(label.split_once("=\"")?.0.to_owned()));
            families.get_mut(&family).expect("a type before samples").extend(labels);
        }
    }
    families
}

/// The family of a series' name.
fn family<'a>(series: &str, families: &'a BTreeMap<String, BTreeSet<String>>) -> Option<&'a str> {
    let endings = ["", "_total", "_bucket", "_sum", "_count"];
    let named = endings.iter().filter_map(|ending| series.strip_suffix(ending));
    named.filter_map(|name| families.get_key_value(name)).map(|(name, _)| name.as_str()).next()
}

/// All expressions of the dashboard, with what Grafana puts in.
fn of_dashboard() -> Vec<String> {
    let text = std::fs::read_to_string(deployed("grafana.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    targets.map(|target| target["expr"].as_str().expect("an expression").replace("$__rate_interval", "5m")).collect()
}

fn of_rules() -> Vec<String> {
    let rules = read(&["yaml", deployed("prometheus-rules.yaml").to_str().expect("UTF-8")], "");
    let rules = rules["groups"][0]["rules"].as_array().expect("rules").clone();
    rules.iter().map(|rule| rule["expr"].as_str().expect("an expression").to_owned()).collect()
}

/// Series named by expressions: the metric, and the labels asked for.
fn series(expressions: &[String]) -> Vec<(String, Vec<String>)> {
    let read = read(&["promql"], &serde_json::to_string(expressions).expect("JSON"));
    let read = read.as_array().expect("a list").iter().flat_map(|of| of.as_array().expect("series").clone());
    let series = read.map(|s| {
        let labels = s["labels"].as_object().expect("labels").keys().cloned().collect();
        (s["metric"].as_str().expect("a name").to_owned(), labels)
    });
    series.collect()
}

#[test]
fn the_image_runs_for_a_user_who_owns_nothing_and_tells_what_dashboard_and_alerts_ask() {
    let place = Place::new();
    place.write("policy.toml", POLICY);
    place.write("events.ndjson", EVENTS);
    place.write("plimsoll.toml", "[[alarm]]\nlag = \"commit\"\nat_least = \"10m\"\nevery = \"100ms\"\n");
    let dynamodb = Dynamo::start().expect("a DynamoDB");
    let (mut host, address) = running(&place, &dynamodb);
    assert!(get(&address, "/").contains("<html"), "no page");
    get(&address, "/healthz");
    // Once the records are committed and a point was taken, all there is to tell is told.
    let scrape = host.until("a scrape with all records", LIMIT, |_| {
        let scrape = get(&address, "/metrics");
        (scrape.contains("reason=\"missing_field\"") && scrape.contains("plimsoll_alarm{")).then_some(scrape)
    });
    let families = families(&scrape.unwrap_or_else(|error| panic!("{error:#}")));
    get(&address, "/readyz");
    assert!(families.len() > 10 && families.keys().all(|name| name.starts_with("plimsoll_")), "{families:?}");

    let (dashboard, rules) = (series(&of_dashboard()), series(&of_rules()));
    // What the scraper adds itself.
    let own = |name: &str| ["up"].contains(&name);
    for (name, labels) in dashboard.iter().chain(&rules).filter(|(name, _)| !own(name)) {
        let family = family(name, &families).unwrap_or_else(|| panic!("{name} is asked for, and no host tells it"));
        for label in labels.iter().filter(|label| *label != "job") {
            assert!(families[family].contains(label), "{name} is asked for by `{label}`, which it does not have");
        }
    }
    let shown: BTreeSet<&str> = dashboard.iter().filter_map(|(name, _)| family(name, &families)).collect();
    let told: BTreeSet<&str> = families.keys().map(String::as_str).collect();
    assert_eq!(shown, told, "the dashboard leaves out what is on the right alone");

    host.ask_to_stop(Stop::Terminate).expect("it is asked");
    host.wait(LIMIT).and_then(|done| done.expect(0)).unwrap_or_else(|error| panic!("{error:#}"));
}
