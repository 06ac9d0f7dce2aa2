//! Bytes of a file or pipe, decompressed where they are compressed.
//!
//! gzip and zstd are recognised by their first bytes, never by the name; both may consist of several members. Other
//! formats that people have lying around are recognised in order to refuse them by name.
//!
//! Invariants
//! - A stream that breaks off or is damaged ends in an error, never in a quiet end.
//! - What was read before an error is in the buffer: nothing that could be read is lost.
//!
//! Not here: lines (`lines`), which file comes next (`file`).

use super::SourceError;
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

/// Bytes in order.
pub(super) trait Feed: Send {
    /// Appends up to `bytes` bytes and says how many; 0 at the end. After an error, what came before it is appended.
    fn more(&mut self, into: &mut Vec<u8>, bytes: usize) -> Result<usize, SourceError>;
    /// Puts bytes into `place` and says how many; 0 at the end. It errs only where there is none before the error.
    fn fill(&mut self, place: &mut [u8]) -> Result<usize, SourceError> {
        let mut bytes = Vec::with_capacity(place.len());
        let read = self.more(&mut bytes, place.len());
        place[..bytes.len()].copy_from_slice(&bytes);
        if bytes.is_empty() { read } else { Ok(bytes.len()) }
    }
    /// Bytes taken so far as the source stores them, that is compressed.
    fn taken(&self) -> u64;
}

/// How a file is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    Gzip,
    Zstd,
}

/// So many bytes tell the format.
const MAGIC_BYTES: usize = 6;

impl Format {
    /// Recognises a file by its first bytes.
    pub(super) fn of_file(file: &mut File, name: &str) -> Result<Self, SourceError> {
        let mut start = Vec::with_capacity(MAGIC_BYTES);
        file.take(MAGIC_BYTES as u64).read_to_end(&mut start).map_err(|e| trouble(name, &e))?;
        Self::of(&start, name)
    }

    /// Recognises the beginning of a file; `name` is for the message.
    fn of(start: &[u8], name: &str) -> Result<Self, SourceError> {
        const STRANGERS: &[(&[u8], &str, &str)] = &[
            (b"\xfd7zXZ\0", "xz", "xz -dc"),
            (b"BZh", "bzip2", "bzip2 -dc"),
            (b"PK\x03\x04", "zip", "unzip -p"),
            (b"\x04\x22\x4d\x18", "lz4", "lz4 -dc"),
            (b"\xff\xfe", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
            (b"\xfe\xff", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
            (b"PAR1", "Parquet", "a tool that writes NDJSON from"),
            (b"SQLite", "an SQLite database", "a tool that writes NDJSON from"),
        ];
        if start.starts_with(b"\x1f\x8b") {
            return Ok(Self::Gzip);
        }
        if start.starts_with(b"\x28\xb5\x2f\xfd") {
            return Ok(Self::Zstd);
        }
        if let Some((_, what, tool)) = STRANGERS.iter().find(|(magic, ..)| start.starts_with(magic)) {
            return Err(SourceError::Refused(format!(
                "{name} is {what}; plain NDJSON, gzip and zstd are read. Convert it first: {tool} {name}"
            )));
        }
        // The shortest whole gzip and zstd files are longer than this, so such a file has lost its content.
        let packed = [".gz", ".zst"].iter().any(|end| name.ends_with(end));
        if packed && start.len() < 4 {
            return Err(SourceError::Refused(format!(
                "{name} has {} bytes and is no whole compressed file: it was cut off. Copy it again",
                start.len()
            )));
        }
        Ok(Self::Plain)
    }
}

/// An uncompressed file, read in large pieces straight into the frame.
pub(super) struct PlainFile {
    file: File,
    name: String,
    at: u64,
    /// The largest size seen; a file that is smaller afterwards has lost bytes.
    size_max: u64,
}

impl PlainFile {
    /// Reads `file` from `offset`.
    pub(super) fn new(mut file: File, name: &str, offset: u64) -> Result<Self, SourceError> {
        let size_max = size(&file, name)?;
        file.seek(SeekFrom::Start(offset)).map_err(|e| trouble(name, &e))?;
        Ok(Self { file, name: name.to_owned(), at: offset, size_max })
    }
}

impl Feed for PlainFile {
    fn more(&mut self, into: &mut Vec<u8>, bytes: usize) -> Result<usize, SourceError> {
        let before = into.len();
        let read = (&mut self.file).take(bytes as u64).read_to_end(into);
        let n = into.len() - before;
        self.at += n as u64;
        read.map_err(|e| trouble(&self.name, &e))?;
        if n < bytes {
            self.has_not_shrunk()?;
        }
        Ok(n)
    }

    fn fill(&mut self, place: &mut [u8]) -> Result<usize, SourceError> {
        let mut n = 0;
        while n < place.len() {
            match self.file.read(&mut place[n..]) {
                Ok(0) => break,
                Ok(more) => n += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Whoever asks for more hears of it.
                Err(_) if n > 0 => break,
                Err(e) => return Err(trouble(&self.name, &e)),
            }
        }
        self.at += n as u64;
        if n == 0 {
            self.has_not_shrunk()?;
        }
        Ok(n)
    }

    fn taken(&self) -> u64 {
        self.at
    }
}

impl PlainFile {
    /// At its end, the file must not have lost what it once had.
    fn has_not_shrunk(&mut self) -> Result<(), SourceError> {
        let size = size(&self.file, &self.name)?;
        if size < self.size_max.max(self.at) {
            return Err(SourceError::Gap(format!(
                "{} shrank while it was read: it had {} bytes, now {size}. What was cut off cannot be counted any \
                     more; put the whole file back and run again, or let the writer rotate by renaming",
                self.name,
                self.size_max.max(self.at)
            )));
        }
        self.size_max = size;
        Ok(())
    }
}

/// A pipe: gives what is there rather than waiting until a chunk is full.
pub(super) struct PlainPipe<R> {
    pipe: R,
    name: String,
    taken: u64,
}

impl<R: BufRead + Send> Feed for PlainPipe<R> {
    fn more(&mut self, into: &mut Vec<u8>, bytes: usize) -> Result<usize, SourceError> {
        let there = loop {
            match self.pipe.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(|e| trouble(&self.name, &e))?,
            }
        };
        let n = there.len().min(bytes);
        into.extend_from_slice(&there[..n]);
        self.pipe.consume(n);
        self.taken += n as u64;
        Ok(n)
    }

    fn taken(&self) -> u64 {
        self.taken
    }
}

/// Counts the bytes that a decoder takes.
struct Counted<R> {
    inner: R,
    taken: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.taken += n as u64;
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.taken += n as u64;
        self.inner.consume(n);
    }
}

enum Decoder<R: BufRead> {
    Gzip(MultiGzDecoder<Counted<R>>),
    Zstd(zstd::stream::read::Decoder<'static, Counted<R>>),
}

/// A compressed stream.
struct Packed<R: BufRead> {
    decoder: Decoder<R>,
    name: String,
    given: u64,
}

impl<R: BufRead + Send> Feed for Packed<R> {
    fn more(&mut self, into: &mut Vec<u8>, bytes: usize) -> Result<usize, SourceError> {
        let before = into.len();
        let read = match &mut self.decoder {
            Decoder::Gzip(d) => d.take(bytes as u64).read_to_end(into),
            Decoder::Zstd(d) => d.take(bytes as u64).read_to_end(into),
        };
        self.given += (into.len() - before) as u64;
        read.map_err(|e| {
            let (what, test) = match self.decoder {
                Decoder::Gzip(_) => ("gzip", "gzip -t"),
                Decoder::Zstd(_) => ("zstd", "zstd -t"),
            };
            let how = match e.kind() {
                io::ErrorKind::UnexpectedEof => "breaks off".to_owned(),
                _ => format!("is damaged ({e})"),
            };
            SourceError::Refused(format!(
                "{}: the {what} data {how} at byte {} of the file, byte {} of its content. The whole lines before it \
                 were delivered. Put a whole copy in its place ({test} checks it) and run again: it goes on there",
                self.name,
                self.taken(),
                self.given
            ))
        })
    }

    fn taken(&self) -> u64 {
        match &self.decoder {
            Decoder::Gzip(d) => d.get_ref().taken,
            Decoder::Zstd(d) => d.get_ref().taken,
        }
    }
}

/// Reads the content of `file` from its beginning.
pub(super) fn of_file(mut file: File, format: Format, name: &str) -> Result<Box<dyn Feed>, SourceError> {
    match format {
        Format::Plain => Ok(Box::new(PlainFile::new(file, name, 0)?)),
        packed => {
            file.rewind().map_err(|e| trouble(name, &e))?;
            unpack(packed, BufReader::with_capacity(256 << 10, file), name)
        }
    }
}

/// Reads a pipe, decompressing as its first bytes ask.
pub(super) fn of_pipe<R: Read + Send + 'static>(mut pipe: R, name: &str) -> Result<Box<dyn Feed>, SourceError> {
    let mut start = Vec::with_capacity(MAGIC_BYTES);
    // A first line that is shorter than the magic must not wait for a second one.
    while start.len() < MAGIC_BYTES && !start.contains(&b'\n') {
        let mut byte = [0];
        match pipe.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => start.push(byte[0]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(trouble(name, &e)),
        }
    }
    let format = Format::of(&start, name)?;
    let whole = BufReader::with_capacity(256 << 10, io::Cursor::new(start).chain(pipe));
    match format {
        Format::Plain => Ok(Box::new(PlainPipe { pipe: whole, name: name.to_owned(), taken: 0 })),
        packed => unpack(packed, whole, name),
    }
}

fn unpack<R: BufRead + Send + 'static>(format: Format, inner: R, name: &str) -> Result<Box<dyn Feed>, SourceError> {
    let counted = Counted { inner, taken: 0 };
    let decoder = match format {
        Format::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(counted);
            Decoder::Zstd(decoder.map_err(|e| trouble(name, &e))?)
        }
        Format::Gzip | Format::Plain => Decoder::Gzip(MultiGzDecoder::new(counted)),
    };
    Ok(Box::new(Packed { decoder, name: name.to_owned(), given: 0 }))
}

fn size(file: &File, name: &str) -> Result<u64, SourceError> {
    Ok(file.metadata().map_err(|e| trouble(name, &e))?.len())
}

/// What an error of the operating system means for a source, with the mend.
pub(super) fn trouble(name: &str, e: &io::Error) -> SourceError {
    use io::ErrorKind as K;
    match e.kind() {
        K::NotFound => SourceError::Refused(format!("{name}: no such file. Check the name and the directory")),
        K::PermissionDenied => SourceError::Refused(format!(
            "{name}: no permission to read it. Make it readable for the user that runs Plimsoll (chmod, chown)"
        )),
        K::IsADirectory => directory(name),
        _ => SourceError::Passing(format!("{name}: reading failed: {e}")),
    }
}

/// A directory was named where files are meant.
pub(super) fn directory(name: &str) -> SourceError {
    let name = name.trim_end_matches('/');
    SourceError::Refused(format!("{name} is a directory; name its files, for example '{name}/*.ndjson'"))
}
