//! Whatever is wrong with records, files, stores, policies and modules: a message that names the mend, the documented
//! exit code, and nothing lost.
//!
//! Not here: every field of a policy wrong in turn (`core`), sources and stores of AWS (`bad_aws`).

use plimsoll_tests::place::{GOOD, LIMIT, POLICY, Place, exit};
use plimsoll_tests::process::{self, Finished, Host};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs an input into `counts.db`.
fn run_file(place: &Place, input: &str) -> Finished {
    place.host(&format!("run --once --policy policy.toml --sqlite counts.db --input {input}"))
}

/// Records counted in `counts.db`.
fn counted(place: &Place) -> i64 {
    place.counted_in("counts.db")
}

fn copies(count: usize) -> Vec<u8> {
    format!("{GOOD}\n").repeat(count).into_bytes()
}

#[test]
fn bad_records_are_set_aside_with_their_reason_and_the_good_ones_counted() {
    let with = |from: &str, to: &str| GOOD.replacen(from, to, 1).into_bytes();
    let deep = format!(r#"1,"x":{}{}}}"#, "[".repeat(400_000), "]".repeat(400_000));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("malformed", b"not json".to_vec()),
        ("malformed", b"[]".to_vec()),
        ("malformed", with("1}", "NaN}")),
        ("malformed", with("1}", "1}}")),
        ("malformed", GOOD.as_bytes()[..30].to_vec()),
        ("malformed", b"[".repeat(900_000)),
        ("missing_field", with("placement", "place")),
        ("wrong_type", with("1}", "\"1\"}")),
        ("wrong_type", with("\"p\"", "[\"p\"]")),
        ("wrong_type", with("1700000040000", "\"2023-11-14T22:14:00Z\"")),
        ("not_integer", with("1}", "1.5}")),
        ("out_of_range", with("1}", "9223372036854775808}")),
        ("unit_suspect", with("1700000040000", "1700000040")),
        ("unit_suspect", with("1700000040000", "1700000040000000")),
        ("duplicate_field", with("1}", "1,\"ts\":1700000040000}")),
        ("too_long", [b"{\"x\":\"".to_vec(), vec![b'a'; 10_000_000], b"\"}".to_vec()].concat()),
        ("key_too_long", with("\"p\"", &format!("\"{}\"", "k".repeat(2_000)))),
        ("bad_utf8", [&GOOD.as_bytes()[..GOOD.len() - 1], b",\"x\":\"\xff\"}"].concat()),
        ("too_deep", with("1}", &deep)),
    ];
    let place = Place::new();
    let mut input = b"\xef\xbb\xbf".to_vec();
    for (_, record) in &cases {
        input.extend_from_slice(format!("{GOOD}\r\n\n{GOOD}\n").as_bytes());
        input.extend_from_slice(record);
        input.push(b'\n');
    }
    place.write("bad.ndjson", input);
    run_file(&place, "bad.ndjson").expect(0).expect("bad records end no run");
    assert_eq!(counted(&place), 2 * cases.len() as i64);
    let letters = place.host("rows --policy policy.toml --sqlite counts.db --dead-letters").expect(0).expect("letters");
    let letters: Vec<serde_json::Value> =
        letters.text().expect("text").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let mut found: Vec<(String, String)> = letters
        .iter()
        .map(|l| (l["position"].as_str().expect("text").to_owned(), l["reason"].as_str().expect("text").to_owned()))
        .collect();
    let mut expected: Vec<(String, String)> =
        (1..).zip(&cases).map(|(nth, (reason, _))| (format!("bad.ndjson:{}", 4 * nth), (*reason).to_owned())).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let whole = letters.iter().find(|l| l["reason"] == "missing_field").expect("one");
    assert_eq!(whole["raw"], GOOD.replacen("placement", "place", 1));
    assert!(whole["detail"].as_str().expect("text").contains("`placement`"), "{whole}");
    // Bytes that are no text come back to the bit.
    let bytes = letters.iter().find(|l| l["reason"] == "bad_utf8").expect("one");
    let raw = aws_smithy_types::base64::decode(bytes["raw_base64"].as_str().expect("base64")).expect("it decodes");
    assert_eq!(raw, [&GOOD.as_bytes()[..GOOD.len() - 1], b",\"x\":\"\xff\"}"].concat());
    assert!(bytes.get("raw").is_none() && bytes["length"] == raw.len(), "{bytes}");
}

#[test]
fn a_batch_of_nothing_but_bad_records_pauses_the_lane_and_loses_nothing() {
    let place = Place::new();
    place.write("poison.ndjson", [copies(10), b"garbage\n".repeat(90)].concat());
    let paused = run_file(&place, "poison.ndjson").expect(exit::LANE).expect("it is paused");
    for word in ["90 of 100", "poison.ndjson:11", "--accept-poison", "Nothing of this batch was written"] {
        assert!(paused.stderr.contains(word), "says nothing of `{word}`:\n{}", paused.stderr);
    }
    assert_eq!(counted(&place), 0);
    run_file(&place, "poison.ndjson --accept-poison").expect(0).expect("it goes on");
    assert_eq!(counted(&place), 10);
}

#[test]
fn an_empty_file_is_no_fault() {
    let place = Place::new();
    for (name, content) in [("empty.ndjson", ""), ("blank.ndjson", "\n\r\n  \n")] {
        place.write(name, content);
        run_file(&place, name).expect(0).expect("nothing to do");
        assert_eq!(counted(&place), 0);
        assert!(
            place.host(&format!("preview --policy policy.toml {name}")).expect(0).expect("no rows").stdout.is_empty()
        );
    }
}

#[test]
fn inputs_that_are_no_readable_files() {
    let place = Place::new();
    std::fs::create_dir(place.path("folder")).expect("a folder");
    place.write("image.ndjson", b"\xfd7zXZ\0 and more");
    place.write("short.ndjson.gz", b"");
    for (input, words) in [
        ("nothere.ndjson", &["nothere.ndjson: no such file", "Check the name"][..]),
        ("nothere-*.ndjson", &["nothere-*.ndjson"]),
        ("folder", &["folder is a directory", "'folder/*.ndjson'"]),
        ("image.ndjson", &["is xz", "xz -dc"]),
        ("short.ndjson.gz", &["was cut off", "Copy it again"]),
    ] {
        let run = format!("run --once --policy policy.toml --sqlite counts.db --input {input}");
        place.refuses(&run, exit::INPUT, words);
        place.refuses(&format!("preview --policy policy.toml {input}"), exit::INPUT, words);
    }
    assert!(!place.path("counts.db").exists(), "a run that was refused its input made a store");
}

#[test]
fn a_truncated_gzip_counts_its_whole_lines_and_goes_on_with_a_whole_copy() {
    let place = Place::new();
    let lines: Vec<String> =
        (0..20_000_i64).map(|n| GOOD.replacen("040000", &format!("{:06}", 40_000 + n * 7 % 1000), 1)).collect();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all((lines.join("\n") + "\n").as_bytes()).expect("memory");
    let gz = gz.finish().expect("memory");
    place.write("events.ndjson.gz", &gz[..gz.len() / 2]);
    let cut = run_file(&place, "events.ndjson.gz").expect(exit::INPUT).expect("it is refused");
    for word in ["events.ndjson.gz", "breaks off at byte", "gzip -t", "run again"] {
        assert!(cut.stderr.contains(word), "says nothing of `{word}`:\n{}", cut.stderr);
    }
    let before = counted(&place);
    assert!(0 < before && before < 20_000, "{before} records counted of half a file");
    place.write("events.ndjson.gz", &gz);
    run_file(&place, "events.ndjson.gz").expect(0).expect("the whole copy is read");
    assert_eq!(counted(&place), 20_000);
}

#[test]
fn a_file_that_grew_is_read_on_and_one_that_shrank_is_refused() {
    let place = Place::new();
    place.write("events.ndjson", copies(1_000));
    run_file(&place, "events.ndjson").expect(0).expect("a first run");
    place.write("events.ndjson", copies(1_500));
    run_file(&place, "events.ndjson").expect(0).expect("a second run");
    assert_eq!(counted(&place), 1_500);
    place.write("events.ndjson", copies(700));
    let shrunk = run_file(&place, "events.ndjson").expect(exit::INPUT).expect("it is refused");
    for word in ["events.ndjson shrank", "line 1500", "Put the whole file back"] {
        assert!(shrunk.stderr.contains(word), "says nothing of `{word}`:\n{}", shrunk.stderr);
    }
    place.write("events.ndjson", copies(2_000));
    run_file(&place, "events.ndjson").expect(0).expect("the whole file is back");
    assert_eq!(counted(&place), 2_000);
    place.write("events.ndjson", copies(2_000).to_ascii_uppercase());
    place.refuses(
        "run --once --policy policy.toml --sqlite counts.db --input events.ndjson",
        exit::INPUT,
        &["is not the file that was read", "Put the old file back"],
    );
}

#[test]
fn new_files_of_a_pattern_are_read_by_the_next_run() {
    let place = Place::new();
    let glob = "day-*.ndjson";
    place.write("day-1.ndjson", copies(3));
    run_file(&place, glob).expect(0).expect("a first run");
    place.write("day-2.ndjson", copies(4));
    run_file(&place, glob).expect(0).expect("a second run");
    assert_eq!(counted(&place), 7);
    place.write("day-0.ndjson", copies(5));
    let run = format!("run --once --policy policy.toml --sqlite counts.db --input {glob}");
    place.refuses(&run, exit::INPUT, &["day-0.ndjson sorts before", "--lane-per-file"]);
}

#[test]
fn no_permission() {
    let place = Place::new();
    let [program, input] = ["plimsoll", "good.ndjson"].map(|name| place.path(name));
    std::fs::copy(process::binary(), &program).expect("a copy");
    // Others may enter the folder and run the program, but not read the records.
    for (path, mode) in [(place.dir(), 0o755), (&program, 0o755), (&input, 0o000)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    let root = std::fs::read(&input).is_ok();
    for (line, code, words) in [
        ("preview --native --policy policy.toml good.ndjson", exit::INPUT, ["good.ndjson: no permission", "chmod"]),
        (
            "run --native --once --policy policy.toml --sqlite /counts.db --input policy.toml",
            exit::STORE,
            ["/counts.db", "you may write there"],
        ),
    ] {
        let host = Host::copied(&program, line.split_whitespace()).current_dir(place.dir());
        let host = if root { host.as_nobody() } else { host };
        let done = host.run(LIMIT).expect("it runs").expect(code).unwrap_or_else(|error| panic!("{error:#}"));
        for word in words {
            assert!(done.stderr.contains(word), "{line}: says nothing of `{word}`:\n{}", done.stderr);
        }
    }
}

#[test]
fn addresses_that_cannot_be_listened_on() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let run = "run --once --policy policy.toml --sqlite counts.db --input good.ndjson --listen";
    place.refuses(&format!("{run} {address}"), 1, &[&address, "in use", "--listen"]);
    place.refuses(&format!("{run} nonsense"), 1, &["nonsense", "like 127.0.0.1:"]);
    run_file(&place, "good.ndjson").expect(0).expect("the records are still there");
    assert_eq!(counted(&place), 3);
}

/// A small disk of its own, gone at the end.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Option<Self> {
        std::fs::create_dir(&at).expect("a folder");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=400k", "tmpfs"]).arg(&at).output();
        mounted.is_ok_and(|out| out.status.success()).then_some(Self(at))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let place = Place::new();
    let Some(disk) = Disk::mount(place.path("disk")) else {
        println!("skipped: no file system could be mounted here (that takes root and `mount`)");
        return;
    };
    let lines: Vec<String> = (0..2_000).map(|n| GOOD.replacen("\"p\"", &format!("\"p-{n}\""), 1)).collect();
    place.write("wide.ndjson", lines.join("\n"));
    let filler = disk.0.join("filler");
    std::fs::write(&filler, vec![0; 250_000]).expect("it fits");
    let run = "run --once --policy policy.toml --input wide.ndjson --sqlite disk/counts.db";
    place.refuses(run, exit::STORE, &["disk/counts.db", "disk is full", "Free some space"]);
    std::fs::remove_file(&filler).expect("it is ours");
    place.host(run).expect(0).expect("there is room now");
    assert_eq!(place.counted_in("disk/counts.db"), 2_000);
    std::fs::write(&filler, vec![0; 500_000]).expect_err("the disk is full");
    let preview = "preview --policy policy.toml wide.ndjson --out disk/rows";
    place.refuses(preview, 1, &["cannot write the rows", "No space left"]);
}

#[test]
fn stores_that_are_none() {
    let place = Place::new();
    place.write("text.db", "this is a text and no database of any kind");
    std::fs::create_dir(place.path("folder")).expect("a folder");
    let other = rusqlite::Connection::open(place.path("other.db")).expect("a file");
    other.execute_batch("CREATE TABLE mine (x)").expect("a table");
    drop(other);
    for (db, words) in [
        ("text.db", ["text.db: not a SQLite file", "--sqlite"]),
        ("other.db", ["of another program", "--sqlite"]),
        ("folder", ["a folder", "name a file"]),
        ("no/such/folder/counts.db", ["check that the folder exists", "you may write there"]),
    ] {
        let before = std::fs::read(place.path(db)).ok();
        let run = format!("run --once --policy policy.toml --input good.ndjson --sqlite {db}");
        place.refuses(&run, exit::STORE, &words);
        assert!(std::fs::read(place.path(db)).ok() == before, "{db} was changed");
    }
    place.refuses("rows --policy policy.toml --sqlite nothere.db", exit::STORE, &["no such file", "plimsoll run"]);
}

#[test]
fn a_damaged_store_is_refused() {
    let place = Place::new();
    run_file(&place, "good.ndjson").expect(0).expect("a good store");
    let mut bytes = std::fs::read(place.path("counts.db")).expect("the store");
    bytes[4096..12_288].fill(0xff);
    place.write("counts.db", bytes);
    place.refuses("rows --policy policy.toml --sqlite counts.db", exit::STORE, &["damaged", "backup"]);
    place.refuses(
        "run --once --policy policy.toml --sqlite counts.db --input good.ndjson",
        exit::STORE,
        &["damaged", "nothing was written", "backup"],
    );
}

#[test]
fn wrong_policies_are_refused_with_place_and_mend() {
    let place = Place::new();
    for (from, to, words) in [
        ("[window]", "[windw]", &["windw", "did you mean `window`?"][..]),
        ("\"1m\"", "\"1 parsec\"", &["bad.toml:6:", "parsec"]),
        ("key  = [\"placement\"]", "key  = []", &["bad.toml:4:"]),
        ("\"count\"", "\"cuont\"", &["did you mean", "count"]),
        ("unit = \"ms\"", "unit = \"fortnights\"", &["bad.toml:3:", "\"ms\""]),
        ("[measures]", "[measures", &["bad.toml:7:"]),
        ("policy = \"impressions\"", "policy = \"im pressions\"", &["bad.toml:1:"]),
        ("policy = \"impressions\"\n", "", &["policy"]),
    ] {
        let text = POLICY.replacen(from, to, 1);
        assert_ne!(text, POLICY);
        place.write("bad.toml", text);
        for command in ["check bad.toml", "run --once --policy bad.toml --sqlite counts.db --input good.ndjson"] {
            place.refuses(command, exit::POLICY, words);
        }
    }
    place.refuses("check nothere.toml", exit::POLICY, &["nothere.toml", "TOML or JSON"]);
    place.write("bytes.toml", b"policy = \"\xff\"");
    place.refuses("check bytes.toml", exit::POLICY, &["not UTF-8 at byte 10"]);
    assert!(!Path::new(&place.path("counts.db")).exists(), "a run with a refused policy made a store");
}

#[test]
fn another_policy_on_the_same_lane_is_refused() {
    let place = Place::new();
    run_file(&place, "good.ndjson").expect(0).expect("a first run");
    place.write("policy.toml", format!("{POLICY}[late]\nto = \"drop\"\n"));
    place.write("good.ndjson", copies(5));
    place.refuses(
        "run --once --policy policy.toml --sqlite counts.db --input good.ndjson",
        exit::LANE,
        &["counted until now under policy", "--generation"],
    );
    place.write("policy.toml", POLICY);
    run_file(&place, "good.ndjson").expect(0).expect("the old policy goes on");
    assert_eq!(counted(&place), 5);
}

#[test]
fn modules_that_are_none() {
    let place = Place::new();
    let good = std::fs::read(process::module()).expect("the module");
    place.write("text.wasm", GOOD);
    place.write("empty.wasm", b"\0asm\x01\0\0\0");
    place.write("half.wasm", &good[..good.len() / 2]);
    // A module that imports one function: type section, import section.
    place.write("imports.wasm", b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x07\x01\x01e\x01f\0\0");
    for (module, words) in [
        ("nothere.wasm", &["cannot read the module", "nothere.wasm", "make module"][..]),
        ("text.wasm", &["text.wasm", "magic"]),
        ("empty.wasm", &["empty.wasm", "memory"]),
        ("half.wasm", &["half.wasm", "unexpected end"]),
        ("imports.wasm", &["imports.wasm", "imports `e.f`"]),
    ] {
        place.refuses(&format!("check --module {module}"), exit::MODULE, words);
        let run = format!("run --once --policy policy.toml --sqlite counts.db --input good.ndjson --module {module}");
        place.refuses(&run, exit::MODULE, words);
    }
    assert!(!place.path("counts.db").exists(), "a run with a refused module made a store");
}
