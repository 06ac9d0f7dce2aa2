//! Cutting, against the plainest way to say what the lines of some bytes are.

use super::*;
use proptest::prelude::*;

/// Gives bytes in pieces of given sizes, then the end or an error.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    sizes: Vec<usize>,
    turn: usize,
    error: bool,
}

impl Pieces {
    fn new(bytes: &[u8], sizes: &[usize]) -> Self {
        Self { bytes: bytes.to_vec(), at: 0, sizes: sizes.to_vec(), turn: 0, error: false }
    }
}

impl Feed for Pieces {
    fn more(&mut self, into: &mut Vec<u8>, bytes: usize) -> Result<usize, SourceError> {
        let size = self.sizes[self.turn % self.sizes.len()];
        self.turn += 1;
        let n = size.min(bytes).min(self.bytes.len() - self.at);
        into.extend_from_slice(&self.bytes[self.at..self.at + n]);
        self.at += n;
        if n == 0 && self.error { Err(SourceError::Refused("broken".to_owned())) } else { Ok(n) }
    }

    fn taken(&self) -> u64 {
        self.at as u64
    }
}

#[derive(Debug, PartialEq)]
struct Line {
    ordinal: u64,
    line: u64,
    oversize: bool,
    text: Vec<u8>,
}

/// All lines until the end, and how it ended.
fn lines(cutter: &mut Cutter, feed: &mut dyn Feed, want: usize, at_end: AtEnd) -> (Vec<Line>, Option<SourceError>) {
    let mut out = Vec::new();
    loop {
        let piece = match cutter.next(feed, want, at_end) {
            Ok(Cut::Lines(piece)) => piece,
            Ok(Cut::End) => return (out, None),
            Ok(Cut::Spliced) => panic!("not resumed"),
            Err(e) => return (out, Some(e)),
        };
        let f = frame::read(&piece.frames, 0).unwrap();
        assert_eq!((f.to, f.ordinal), (piece.frames.len(), piece.first));
        let text = &piece.frames[f.from..f.to];
        let oversize = f.kind == Kind::Oversize;
        let texts: Vec<&[u8]> = if oversize {
            vec![text]
        } else {
            text.strip_suffix(b"\n").unwrap_or(text).split(|b| *b == b'\n').collect()
        };
        assert_eq!(texts.len() as u64, piece.count);
        for (i, text) in (0..).zip(texts) {
            let (ordinal, line) = (piece.first + i, piece.first_line + i);
            out.push(Line { ordinal, line, oversize, text: text.to_vec() });
        }
    }
}

/// The same by places of the caller's, as far as they are taken.
fn filled(cutter: &mut Cutter, feed: &mut dyn Feed, place: usize) -> Vec<Line> {
    let mut out = Vec::new();
    let mut place = vec![b'?'; place];
    while let Some((len, piece)) = cutter.fill_place(feed, &mut place) {
        let f = frame::read(&place[..len], 0).unwrap();
        assert_eq!((f.to, f.ordinal, f.kind, piece.frames.len()), (len, piece.first, Kind::Lines, 0));
        let text = place[f.from..f.to].strip_suffix(b"\n").expect("whole lines");
        for (i, text) in (0..).zip(text.split(|b| *b == b'\n')) {
            let (ordinal, line) = (piece.first + i, piece.first_line + i);
            out.push(Line { ordinal, line, oversize: false, text: text.to_vec() });
        }
    }
    out
}

fn expected(bytes: &[u8]) -> Vec<Line> {
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
    let mut texts: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    if texts.last().is_some_and(|t| t.is_empty()) {
        texts.pop();
    }
    let line = |(i, text): (u64, &[u8])| {
        let oversize = text.len() > LINE_BYTES_MAX;
        let kept = if oversize { &text[..OVERSIZE_PREFIX] } else { text };
        Line { ordinal: i, line: i + 1, oversize, text: kept.to_vec() }
    };
    (0..).zip(texts).map(line).collect()
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![3 => Just(b'\n'), 20 => any::<u8>()], 0..300)
}

proptest! {
    #[test]
    fn pieces_do_not_show(bytes in text(), sizes in proptest::collection::vec(1..40usize, 1..6), bom in any::<bool>()) {
        let bytes = if bom { [BOM, b"{}\n", &bytes].concat() } else { bytes };
        let (found, error) = lines(&mut Cutter::start(0), &mut Pieces::new(&bytes, &sizes), 1, AtEnd::Whole);
        prop_assert!(error.is_none());
        prop_assert_eq!(found, expected(&bytes));
    }

    #[test]
    fn places_of_the_callers_are_filled_with_the_same_lines(bytes in text(), size in 1..40usize, more in 0..40usize) {
        let mut cutter = Cutter::start(0);
        // Begun as ever, then filled, then ended as ever.
        let begun = [b"{}\n", &bytes[..]].concat();
        let mut feed = Pieces::new(&begun, &[3, size]);
        let Cut::Lines(piece) = cutter.next(&mut feed, 1, AtEnd::Whole).unwrap() else { panic!("there is a line") };
        prop_assert_eq!(piece.count, 1);
        let mut found = filled(&mut cutter, &mut feed, frame::HEADER + READ_MIN + bytes.len() + more);
        let (rest, error) = lines(&mut cutter, &mut feed, 1, AtEnd::Whole);
        found.extend(rest);
        prop_assert!(error.is_none());
        prop_assert_eq!(found, &expected(&begun)[1..]);
        prop_assert_eq!(cutter.offset(), begun.len() as u64);
    }

    #[test]
    fn a_growing_file_gives_whole_lines_only(bytes in text(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(bytes.len() + 1);
        let mut cutter = Cutter::start(0);
        let mut feed = Pieces::new(&bytes[..cut], &[7]);
        let (mut found, _) = lines(&mut cutter, &mut feed, 1, AtEnd::Growing);
        let whole = bytes[..cut].iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        prop_assert_eq!(&found, &expected(&bytes[..whole]));
        prop_assert_eq!(cutter.offset(), whole as u64);
        feed.bytes = bytes.clone();
        found.extend(lines(&mut cutter, &mut feed, 1, AtEnd::Whole).0);
        prop_assert_eq!(found, expected(&bytes));
    }
}

#[test]
fn the_limit_is_one_byte_sharp_however_it_is_read() {
    for len in [LINE_BYTES_MAX, LINE_BYTES_MAX + 1, LINE_BYTES_MAX + (9 << 20)] {
        for end in ["\n{}\n\n{}\n", "\n{}", ""] {
            let bytes = [b"{}\n", vec![b'x'; len].as_slice(), end.as_bytes()].concat();
            let expected = expected(&bytes);
            for (size, want) in [(usize::MAX, usize::MAX), (usize::MAX, 1), ((1 << 20) + 1, 3 << 20)] {
                let mut cutter = Cutter::start(0);
                let (found, error) = lines(&mut cutter, &mut Pieces::new(&bytes, &[size]), want, AtEnd::Whole);
                assert!(error.is_none());
                assert!(found == expected, "line of {len} bytes before {end:?}, read by {size}, wanted by {want}");
                assert_eq!((cutter.offset(), cutter.line()), (bytes.len() as u64, expected.len() as u64));
                assert_eq!(cutter.ends_open(), !end.ends_with('\n'));
                assert_eq!(cutter.head(), &bytes[..HEAD_BYTES]);
            }
        }
    }
}

#[test]
fn lines_before_an_error_come_first_and_a_begun_line_waits() {
    let mut feed = Pieces::new(b"{\"a\":1}\n{\"a\":2}\n{\"a\"", &[100]);
    feed.error = true;
    let mut cutter = Cutter::start(5);
    let (found, error) = lines(&mut cutter, &mut feed, 1, AtEnd::Whole);
    assert_eq!((found.len(), found[1].ordinal), (2, 6));
    assert_eq!(error.unwrap().to_string(), "broken");
    assert_eq!(cutter.offset(), 16);
    // The trouble passed.
    feed.bytes.extend_from_slice(b":3}");
    feed.error = false;
    let (found, error) = lines(&mut cutter, &mut feed, 1, AtEnd::Whole);
    assert!(error.is_none());
    assert_eq!((found.len(), found[0].text.as_slice()), (1, &b"{\"a\":3}"[..]));
}

#[test]
fn a_line_that_grows_after_its_end_was_counted_is_noticed() {
    let resume = || Cutter::start(0).resume(2, 1, true, b"{}".to_vec());
    let next = |bytes: &[u8]| {
        let mut cutter = resume();
        let cut = cutter.next(&mut Pieces::new(bytes, &[9]), 1, AtEnd::Whole).unwrap();
        (cut, cutter.offset(), cutter.line())
    };
    assert!(matches!(next(b"}\n"), (Cut::Spliced, 2, 1)));
    assert!(matches!(next(b""), (Cut::End, 2, 1)));
    assert!(matches!(next(b"\n"), (Cut::End, 3, 1)));
    assert!(matches!(next(b"\n{}"), (Cut::Lines(Piece { first_line: 2, count: 1, .. }), 5, 2)));
}
