//! Files as a source: every kind of bad input, going on at any position, growth and rotation.

use plimsoll::source::file::{FileLanes, FileOptions, FileSource, Follow, Reads};
use plimsoll::source::{Chunk, LaneReader, Next, Position, Source, SourceError};
use plimsoll_core::wire::frame::{self, Kind};
use proptest::prelude::*;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn options() -> FileOptions {
    let mut options = FileOptions::default();
    options.poll = Duration::from_millis(1);
    options
}

fn following() -> FileOptions {
    let mut options = options();
    options.follow = Follow::Yes;
    options
}

fn here() -> FileOptions {
    let mut options = options();
    options.reads = Reads::Here;
    options
}

fn source(pattern: &Path, options: FileOptions) -> Result<FileSource, SourceError> {
    FileSource::new(&[pattern.to_str().unwrap().to_owned()], options)
}

/// Opens the only lane.
async fn open(source: &FileSource, from: Option<&Position>) -> Result<Box<dyn LaneReader>, SourceError> {
    let lanes = source.lanes().await.unwrap();
    assert_eq!(lanes.len(), 1);
    source.open(&lanes[0], from).await
}

/// A record with the position it would have as a dead letter.
type Record = (String, String);

#[derive(Default)]
struct Got {
    records: Vec<Record>,
    /// Records before each position.
    ends: Vec<(usize, Position)>,
    source_bytes: u64,
    /// Chunks that were read into the caller's place.
    filled: u64,
    error: Option<SourceError>,
}

impl Got {
    fn text(&self) -> String {
        self.records.iter().map(|(_, text)| format!("{text}\n")).collect()
    }

    fn last(&self) -> &Position {
        &self.ends.last().expect("a chunk").1
    }

    fn error(&self) -> String {
        self.error.as_ref().expect("an error").to_string()
    }
}

/// Asks as a caller with a place of its own does.
async fn next(reader: &mut dyn LaneReader, bytes: usize) -> (bool, Result<Next, SourceError>) {
    let mut place = vec![b'?'; bytes];
    let Some((len, chunk)) = reader.fill(&mut place) else { return (false, reader.next(bytes).await) };
    place.truncate(len);
    assert!(chunk.frames.is_empty());
    (true, Ok(Next::Chunk(Chunk { frames: place, ..chunk })))
}

/// Reads until nothing is there, the end, or an error.
async fn read(reader: &mut dyn LaneReader, bytes: usize) -> Got {
    let mut got = Got::default();
    loop {
        let (filled, next) = next(reader, bytes).await;
        got.filled += u64::from(filled);
        let chunk = match next {
            Ok(Next::Chunk(chunk)) => chunk,
            Ok(Next::Idle | Next::End) => return got,
            Err(e) => {
                got.error = Some(e);
                return got;
            }
        };
        let f = frame::read(&chunk.frames, 0).unwrap();
        assert_eq!(f.to, chunk.frames.len());
        let text = String::from_utf8_lossy(&chunk.frames[f.from..f.to]).into_owned();
        let text = if f.kind == Kind::Oversize { text } else { text.strip_suffix('\n').unwrap_or(&text).to_owned() };
        for (i, line) in (0..).zip(text.split('\n')) {
            got.records.push((chunk.places.find(f.ordinal + i).unwrap().0, line.to_owned()));
        }
        assert!(chunk.places.find(f.ordinal + text.split('\n').count() as u64).is_none());
        got.source_bytes += chunk.source_bytes;
        got.ends.push((got.records.len(), chunk.end));
    }
}

async fn read_all(source: &FileSource, from: Option<&Position>, bytes: usize) -> Got {
    match open(source, from).await {
        Ok(mut reader) => read(reader.as_mut(), bytes).await,
        Err(e) => Got { error: Some(e), ..Got::default() },
    }
}

/// Reads until something is there; more than a few looks may be needed when a rotation is to be noticed.
async fn read_some(reader: &mut dyn LaneReader) -> Got {
    for _ in 0..100 {
        let got = read(reader, 1 << 20).await;
        if !got.records.is_empty() || got.error.is_some() {
            return got;
        }
    }
    panic!("nothing came in 100 looks");
}

fn packed(path: &Path, text: &[u8]) {
    let name = path.to_str().unwrap();
    let bytes = if name.ends_with(".gz") {
        let mut z = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        z.write_all(text).unwrap();
        z.finish().unwrap()
    } else if name.ends_with(".zst") {
        zstd::encode_all(text, 1).unwrap()
    } else {
        text.to_vec()
    };
    fs::write(path, bytes).unwrap();
}

fn lines(n: usize, seed: u64) -> String {
    // Lengths differ, and some lines are empty.
    let line = |i: u64| match (i * 7 + seed) % 11 {
        0 => "\n".to_owned(),
        k => format!("{{\"n\":{i},\"x\":\"{}\"}}\n", "ab".repeat((k * k * 40 + seed % 97) as usize)),
    };
    (0..n as u64).map(line).collect()
}

struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        packed(&self.path(name), text.as_bytes());
        self.path(name)
    }

    fn append(&self, name: &str, text: &str) {
        OpenOptions::new().append(true).open(self.path(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }
}

#[track_caller]
fn refused(result: Result<FileSource, SourceError>, parts: &[&str]) {
    let e = result.map(|_| ()).expect_err("must be refused");
    assert!(matches!(e, SourceError::Refused(_)), "{e:?}");
    let text = e.to_string();
    assert!(parts.iter().all(|p| text.contains(p)), "{text:?} lacks one of {parts:?}");
}

#[test]
fn what_cannot_be_read_is_refused_at_once() {
    let dir = Dir::new();
    refused(FileSource::new(&[], options()), &["name one or more files"]);
    refused(source(&dir.path("none.ndjson"), options()), &["none.ndjson", "no such file"]);
    refused(source(&dir.path("no/such/dir.ndjson"), options()), &["dir.ndjson", "no such file, and no directory"]);
    refused(source(&dir.path("*.ndjson"), options()), &["no file matches", "*.ndjson"]);
    refused(source(&dir.path("a[.ndjson"), options()), &["is no glob", "at character"]);
    refused(source(dir.0.path(), options()), &["is a directory", "/*.ndjson'"]);
    refused(source(Path::new("/dev/null"), options()), &["pipe or device", "--stdin"]);
    dir.write("a.xz", "\u{0}");
    fs::write(dir.path("a.xz"), b"\xfd7zXZ\0rest").unwrap();
    refused(source(&dir.path("a.xz"), options()), &["is xz", "xz -dc"]);
    fs::write(dir.path("a.utf16"), b"\xff\xfe{\0}\0").unwrap();
    refused(source(&dir.path("a.utf16"), options()), &["is UTF-16", "iconv"]);
    fs::write(dir.path("cut.gz"), b"\x1f").unwrap();
    refused(source(&dir.path("cut.gz"), options()), &["cut.gz has 1 bytes", "cut off"]);
}

#[test]
#[cfg(unix)]
fn a_file_without_permission_is_refused_at_once() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let path = dir.write("secret.ndjson", "{}\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
    // Root may read everything; then there is nothing to refuse.
    if File::open(&path).is_err() {
        refused(source(&path, options()), &["secret.ndjson", "no permission", "chmod"]);
    } else {
        assert!(source(&path, options()).is_ok());
    }
}

#[test]
fn a_directory_beside_the_files_of_a_glob_is_left_out() {
    let dir = Dir::new();
    dir.write("a.ndjson", "{\"n\":1}\n");
    fs::create_dir(dir.path("b.ndjson")).unwrap();
    let got = runtime().block_on(read_all(&source(&dir.path("*.ndjson"), options()).unwrap(), None, 1));
    assert_eq!(got.records, [("a.ndjson:1".to_owned(), "{\"n\":1}".to_owned())]);
}

#[test]
fn formats_are_known_by_their_content_and_files_go_in_name_order() {
    let dir = Dir::new();
    let text = ["\u{feff}{\"n\":1}\n\n{\"n\":2}", "", "{\"n\":3}\n", "{\"n\":4}\r\n"];
    dir.write("a.ndjson", text[0]);
    dir.write("b.ndjson", text[1]);
    dir.write("c.gz", text[2]);
    dir.write("d.zst", text[3]);
    dir.rename("c.gz", "c.log");
    dir.rename("d.zst", "d.gz");
    let source = source(&dir.path("*"), options()).unwrap();
    let got = runtime().block_on(read_all(&source, None, 1));
    let expected = [("a.ndjson:1", "{\"n\":1}"), ("a.ndjson:2", ""), ("a.ndjson:3", "{\"n\":2}")];
    let expected: Vec<_> = expected.into_iter().chain([("c.log:1", "{\"n\":3}"), ("d.gz:1", "{\"n\":4}\r")]).collect();
    assert!(got.error.is_none());
    assert_eq!(got.records.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>(), expected);
    // What ends a compressed file is read after its last line.
    let all = source.size().unwrap();
    assert!(got.source_bytes <= all && got.source_bytes + 32 > all, "{} of {all}", got.source_bytes);
}

#[test]
fn several_members_are_one_file() {
    let dir = Dir::new();
    for name in ["a.gz", "b.zst"] {
        dir.write(name, "{\"n\":1}\n{\"n\":");
        let first = fs::read(dir.path(name)).unwrap();
        dir.write(name, "2}\n");
        let second = fs::read(dir.path(name)).unwrap();
        fs::write(dir.path(name), [first, second].concat()).unwrap();
        let got = runtime().block_on(read_all(&source(&dir.path(name), options()).unwrap(), None, 1));
        assert_eq!(got.text(), "{\"n\":1}\n{\"n\":2}\n");
    }
}

#[test]
fn a_truncated_file_gives_what_it_has_then_says_where_it_breaks_and_goes_on_when_mended() {
    let text = lines(2000, 3);
    for name in ["a.gz", "a.zst"] {
        let dir = Dir::new();
        dir.write(name, &text);
        let whole = fs::read(dir.path(name)).unwrap();
        for cut in [whole.len() / 2, whole.len() - 1] {
            fs::write(dir.path(name), &whole[..cut]).unwrap();
            let source = source(&dir.path(name), options()).unwrap();
            let got = runtime().block_on(read_all(&source, None, 20_000));
            assert!(matches!(got.error, Some(SourceError::Refused(_))));
            let error = got.error();
            assert!(error.contains(name) && error.contains("breaks off at byte"), "{error}");
            assert!(!got.records.is_empty() && text.starts_with(&got.text()));
            fs::write(dir.path(name), &whole).unwrap();
            let rest = runtime().block_on(read_all(&source, Some(got.last()), 20_000));
            assert!(rest.error.is_none());
            assert_eq!(got.text() + &rest.text(), text);
        }
        let mut damaged = whole.clone();
        let at = damaged.len() / 2;
        damaged[at..at + 8].iter_mut().for_each(|b| *b ^= 0x55);
        fs::write(dir.path(name), damaged).unwrap();
        let got = runtime().block_on(read_all(&source(&dir.path(name), options()).unwrap(), None, 20_000));
        assert!(got.error().contains("byte"), "{}", got.error());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn going_on_at_any_chunk_gives_exactly_the_rest(seed in 0..1000u64, sizes in prop::collection::vec(1..200_000usize, 4)) {
        let dir = Dir::new();
        for (name, n) in [("a.ndjson", 900), ("b.gz", 1500), ("c.ndjson", 0), ("d.zst", 700), ("e.ndjson", 40)] {
            let text = lines(n, seed);
            dir.write(name, if name == "b.gz" { &text } else { text.trim_end_matches('\n') });
        }
        runtime().block_on(async {
            let (ahead, here) = (source(&dir.path("*"), options()).unwrap(), source(&dir.path("*"), here()).unwrap());
            let mut found = Vec::new();
            for (first, second) in [(&ahead, &here), (&here, &ahead)] {
                let all = read_all(first, None, sizes[0]).await;
                assert!(all.error.is_none() && all.ends.len() >= 4);
                for (before, end) in &all.ends {
                    let rest = read_all(second, Some(end), sizes[before % 4]).await;
                    assert!(rest.error.is_none(), "{:?}", rest.error);
                    assert!(rest.records == all.records[*before..], "from {end:?}");
                }
                found.push((all.records, all.source_bytes));
            }
            assert!(found[0] == found[1], "both ways of reading give the same");
        });
    }
}

#[test]
fn an_oversize_line_is_one_record_and_its_neighbours_are_whole() {
    let dir = Dir::new();
    let long = "x".repeat(plimsoll::source::LINE_BYTES_MAX + 1);
    for (name, options) in [("a.zst", options()), ("b.ndjson", here())] {
        dir.write(name, &format!("{{\"n\":1}}\n{long}\n{{\"n\":3}}\n"));
        let source = source(&dir.path(name), options).unwrap();
        let got = runtime().block_on(read_all(&source, None, 1 << 20));
        let short: Vec<_> = got.records.iter().map(|(place, text)| (place.clone(), text.len())).collect();
        let place = |line: u32| format!("{name}:{line}");
        assert_eq!(short, [(place(1), 7), (place(2), plimsoll::source::OVERSIZE_PREFIX), (place(3), 7)]);
    }
}

#[test]
fn plain_files_are_read_straight_into_the_callers_place() {
    let dir = Dir::new();
    let text = lines(3_000, 5);
    let path = dir.write("a.ndjson", text.trim_end_matches('\n'));
    runtime().block_on(async {
        let got = read_all(&source(&path, here()).unwrap(), None, 1 << 16).await;
        // Its beginning and its end, which has no newline, are not.
        assert!(got.error.is_none() && got.filled > 10 && got.filled + 2 >= got.ends.len() as u64, "{}", got.filled);
        assert_eq!(got.text(), text.trim_end_matches('\n').to_owned() + "\n");
        // Lines longer than the place go the other way round.
        let long = format!("{{\"n\":1}}\n{{\"x\":\"{}\"}}\n{{\"n\":2}}\n", "y".repeat(300_000));
        let path = dir.write("b.ndjson", &long);
        assert_eq!(read_all(&source(&path, here()).unwrap(), None, 1 << 16).await.text(), long);
    });
}

/// Reads two files to the end, changes something, and goes on.
fn after(change: impl Fn(&Dir)) -> Got {
    let dir = Dir::new();
    dir.write("b.ndjson", &lines(100, 1));
    dir.write("c.ndjson", "{\"n\":1}\n{\"n\":2}\n");
    runtime().block_on(async {
        let source = source(&dir.path("*.ndjson"), options()).unwrap();
        let all = read_all(&source, None, 1 << 20).await;
        assert!(all.error.is_none());
        change(&dir);
        read_all(&source, Some(all.last()), 1 << 20).await
    })
}

#[track_caller]
fn gap(got: &Got, parts: &[&str]) {
    assert!(got.records.is_empty());
    assert!(matches!(got.error, Some(SourceError::Gap(_))), "{:?}", got.error);
    let text = got.error();
    assert!(parts.iter().all(|p| text.contains(p)), "{text:?} lacks one of {parts:?}");
}

#[test]
fn what_changed_before_the_position_is_noticed() {
    assert!(after(|_| {}).error.is_none());
    gap(&after(|d| drop(d.write("c.ndjson", "{\"n\":1}\n"))), &["shrank", "line 2 at byte 16", "only 8 bytes"]);
    gap(&after(|d| drop(d.write("c.ndjson", "{\"n\":7}\n{\"n\":2}\n"))), &["is not the file that was read", "line 2"]);
    gap(&after(|d| fs::remove_file(d.path("c.ndjson")).unwrap()), &["c.ndjson is gone", "line 2"]);
    gap(&after(|d| drop(d.write("a.ndjson", "{}\n"))), &["a.ndjson sorts before c.ndjson", "--lane-per-file"]);
    gap(&after(|d| d.append("b.ndjson", "{}\n")), &["b.ndjson sorts before c.ndjson", "has changed"]);
    // Nothing is lost by these.
    assert!(after(|d| fs::remove_file(d.path("b.ndjson")).unwrap()).error.is_none());
    assert_eq!(
        after(|d| d.append("c.ndjson", "{\"n\":3}")).records,
        [("c.ndjson:3".to_owned(), "{\"n\":3}".to_owned())]
    );
    let got = after(|d| drop(d.write("d.ndjson", "{\"n\":4}\n")));
    assert_eq!(got.records, [("d.ndjson:1".to_owned(), "{\"n\":4}".to_owned())]);
}

#[test]
fn a_last_line_that_grew_after_it_was_counted_is_noticed() {
    runtime().block_on(async {
        let dir = Dir::new();
        let path = dir.write("a.ndjson", "{\"n\":1}\n{\"n\":2");
        let source = source(&path, options()).unwrap();
        let all = read_all(&source, None, 1 << 20).await;
        assert_eq!(all.records.len(), 2);
        dir.append("a.ndjson", "2}\n");
        gap(&read_all(&source, Some(all.last()), 1 << 20).await, &["line 2 had no newline", "--follow"]);
        dir.write("a.ndjson", "{\"n\":1}\n{\"n\":2\n{\"n\":3}\n");
        let rest = read_all(&source, Some(all.last()), 1 << 20).await;
        assert_eq!(rest.records, [("a.ndjson:3".to_owned(), "{\"n\":3}".to_owned())]);
    });
}

#[test]
fn a_plain_file_may_be_compressed_between_two_runs() {
    runtime().block_on(async {
        let dir = Dir::new();
        let text = lines(500, 2);
        let path = dir.write("a.ndjson", &text);
        let source = source(&path, options()).unwrap();
        let all = read_all(&source, None, 30_000).await;
        let (before, end) = &all.ends[1];
        dir.write("a.gz", &text);
        dir.rename("a.gz", "a.ndjson");
        let rest = read_all(&source, Some(end), 30_000).await;
        assert!(rest.error.is_none() && rest.records == all.records[*before..]);
    });
}

#[test]
fn a_file_that_shrinks_under_the_reader_is_noticed() {
    runtime().block_on(async {
        for options in [options(), here()] {
            let dir = Dir::new();
            let path = dir.write("a.ndjson", &lines(5000, 1));
            let source = source(&path, options).unwrap();
            let mut reader = open(&source, None).await.unwrap();
            assert!(matches!(next(reader.as_mut(), 1 << 16).await, (_, Ok(Next::Chunk(_)))));
            OpenOptions::new().write(true).open(&path).unwrap().set_len(300_000).unwrap();
            let got = read(reader.as_mut(), 1 << 16).await;
            assert!(matches!(got.error, Some(SourceError::Gap(_))), "{:?}", got.error);
            assert!(got.error().contains("shrank while it was read") && got.error().contains("now 300000"));
            let again = next(reader.as_mut(), 1 << 16).await.1.unwrap_err();
            assert!(again.to_string().contains("open the lane again"), "{again}");
        }
    });
}

#[test]
fn each_file_can_be_a_lane() {
    runtime().block_on(async {
        let dir = Dir::new();
        dir.write("a.ndjson", "{\"n\":1}\n");
        dir.write("b.gz", "{\"n\":2}\n");
        let mut options = options();
        options.lanes = FileLanes::PerFile;
        let source = source(&dir.path("*"), options).unwrap();
        let lanes = source.lanes().await.unwrap();
        assert_eq!(lanes.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["a.ndjson", "b.gz"]);
        assert!(lanes[0].id.starts_with("file:/") && lanes[0].id.ends_with("/a.ndjson"), "{}", lanes[0].id);
        let mut reader = source.open(&lanes[1], None).await.unwrap();
        let got = read(reader.as_mut(), 1).await;
        assert_eq!(got.records, [("b.gz:1".to_owned(), "{\"n\":2}".to_owned())]);
        // A new file is a new lane, also before the others.
        dir.write("0.ndjson", "{}\n");
        assert_eq!(source.lanes().await.unwrap().len(), 3);
        let mut reader = source.open(&lanes[1], Some(got.last())).await.unwrap();
        assert!(matches!(reader.next(1).await, Ok(Next::End)));
    });
}

#[test]
fn lanes_are_the_same_from_every_directory() {
    runtime().block_on(async {
        let dir = Dir::new();
        dir.write("a.ndjson", "{}\n");
        fs::create_dir(dir.path("sub")).unwrap();
        let straight = source(&dir.path("a.ndjson"), options()).unwrap().lanes().await.unwrap();
        let around = source(&dir.path("sub/../a.ndjson"), options()).unwrap().lanes().await.unwrap();
        assert_eq!(straight[0].id, around[0].id);
    });
}

#[test]
fn following_gives_lines_when_they_are_whole() {
    runtime().block_on(async {
        let dir = Dir::new();
        let path = dir.write("a.ndjson", "{\"n\":1}\n{\"n\"");
        let source = source(&path, following()).unwrap();
        let mut reader = open(&source, None).await.unwrap();
        assert_eq!(read_some(reader.as_mut()).await.text(), "{\"n\":1}\n");
        assert!(matches!(reader.next(1).await, Ok(Next::Idle)));
        dir.append("a.ndjson", ":2}\n{\"n\":3}\n");
        let got = read_some(reader.as_mut()).await;
        assert_eq!(got.text(), "{\"n\":2}\n{\"n\":3}\n");
        dir.append("a.ndjson", "{\"n\":4}\n");
        let rest = read_all(&source, Some(got.last()), 1).await;
        assert_eq!(rest.records, [("a.ndjson:4".to_owned(), "{\"n\":4}".to_owned())]);
    });
}

#[test]
fn following_over_a_rotation_finishes_the_old_file_and_goes_on_with_the_new() {
    runtime().block_on(async {
        let dir = Dir::new();
        let path = dir.write("app.log", "{\"n\":1}\n");
        let source = source(&path, following()).unwrap();
        let mut reader = open(&source, None).await.unwrap();
        let first = read_some(reader.as_mut()).await;
        dir.rename("app.log", "app.log.1");
        assert!(matches!(reader.next(1).await, Ok(Next::Idle)));
        dir.append("app.log.1", "{\"n\":2}\n{\"n\":3");
        dir.write("app.log", "{\"n\":4}\n");
        let mut all = Vec::new();
        while all.len() < 3 {
            all.extend(read_some(reader.as_mut()).await.records);
        }
        let expected = [("app.log:2", "{\"n\":2}"), ("app.log:3", "{\"n\":3"), ("app.log#1:1", "{\"n\":4}")];
        let expected = expected.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(all, expected);
        // The same, had nobody been there when it was rotated.
        let mut again = open(&source, Some(first.last())).await.unwrap();
        let mut all = Vec::new();
        while all.len() < 3 {
            all.extend(read_some(again.as_mut()).await.records);
        }
        assert_eq!(all, expected);
        // Rotated twice: the file in between was never read.
        dir.rename("app.log.1", "app.log.2");
        dir.rename("app.log", "app.log.1");
        OpenOptions::new().append(true).open(dir.path("app.log.1")).unwrap().write_all(b"{}\n").unwrap();
        dir.write("app.log", "{\"n\":9}\n");
        let got = read_all(&source, Some(first.last()), 1).await;
        gap(&got, &["app.log.2 now", "app.log.1 was rotated after it and never read"]);
    });
}

#[test]
fn following_a_pattern_that_matches_rotated_names_too_is_refused_in_time() {
    runtime().block_on(async {
        let dir = Dir::new();
        dir.write("app.log", "{\"n\":1}\n");
        let source = source(&dir.path("app.log*"), following()).unwrap();
        let mut reader = open(&source, None).await.unwrap();
        let first = read_some(reader.as_mut()).await;
        dir.rename("app.log", "app.log.1");
        dir.write("app.log", "{\"n\":2}\n");
        let got = read_some(reader.as_mut()).await;
        assert!(got.error().contains("counted twice"), "{}", got.error());
        let got = read_all(&source, Some(first.last()), 1).await;
        assert!(got.error().contains("counted twice"), "{}", got.error());
    });
}

#[test]
fn following_goes_on_to_newer_names() {
    runtime().block_on(async {
        let dir = Dir::new();
        dir.write("log-1", "{\"n\":1}\n");
        let source = source(&dir.path("log-*"), following()).unwrap();
        let mut reader = open(&source, None).await.unwrap();
        read_some(reader.as_mut()).await;
        dir.write("log-2", "{\"n\":2}\n");
        dir.append("log-1", "{\"n\":3}\n");
        let mut all = read_some(reader.as_mut()).await.text();
        all += &read_some(reader.as_mut()).await.text();
        assert_eq!(all, "{\"n\":3}\n{\"n\":2}\n");
        dir.append("log-1", "{\"n\":4}\n");
        gap(&read_some(reader.as_mut()).await, &["log-1 sorts before log-2"]);
    });
}

#[test]
fn truncation_and_compression_are_refused_when_following() {
    runtime().block_on(async {
        let dir = Dir::new();
        let path = dir.write("a.ndjson", "{\"n\":1}\n{\"n\":2}\n");
        let followed = source(&path, following()).unwrap();
        let mut reader = open(&followed, None).await.unwrap();
        read_some(reader.as_mut()).await;
        File::create(&path).unwrap();
        gap(&read_some(reader.as_mut()).await, &["shrank", "16 bytes, now 0", "rotate by renaming"]);

        dir.write("a.ndjson", "{\"n\":1}\n{\"n\":2}\n");
        let mut reader = open(&followed, None).await.unwrap();
        read_some(reader.as_mut()).await;
        assert!(matches!(reader.next(1).await, Ok(Next::Idle)));
        // Truncated and grown beyond the old size between two looks.
        OpenOptions::new().write(true).open(&path).unwrap().write_all(&[b'z'; 40]).unwrap();
        gap(&read_some(reader.as_mut()).await, &["overwritten while it was followed", "line 2"]);

        dir.write("b.gz", "{}\n");
        refused(source(&dir.path("b.gz"), following()), &["--follow reads plain files only"]);
        dir.write("c.ndjson", "{}\n");
        let followed = source(&dir.path("c.*"), following()).unwrap();
        let mut reader = open(&followed, None).await.unwrap();
        read_some(reader.as_mut()).await;
        dir.rename("b.gz", "c.ndjson.gz");
        let got = read_some(reader.as_mut()).await;
        assert!(got.error().contains("--follow reads plain files only"), "{}", got.error());
    });
}

#[test]
fn a_position_of_another_source_is_refused() {
    runtime().block_on(async {
        let dir = Dir::new();
        let source = source(&dir.write("a.ndjson", "{}\n"), options()).unwrap();
        let e = open(&source, Some(&Position("00049/0".to_owned()))).await.map(|_| ()).unwrap_err();
        assert!(matches!(e, SourceError::Refused(_)) && e.to_string().contains("another source"), "{e}");
    });
}
