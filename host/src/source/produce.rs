//! Writes generated records to a file, compressed as its name says; or to a stream, by the code beside its source.
//!
//! Invariant: the file appears whole or not at all. It is written beside its place and renamed at the end; only what is
//! no regular file (`/dev/stdout`, a named pipe) is written directly.
//!
//! Not here: the records (`generator`).

pub use super::kinesis::put::{Packing, to_kinesis};

use super::generator::{Devices, Records};
use anyhow::Context as _;
use flate2::{Compression, write::GzEncoder};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Text is handed on in pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// Writes `records` records, one a line, to `file`: gzip if it ends in `.gz`, zstd if in `.zst`. With `arrival` each
/// has its arrival time as the field `arr`. `told` hears now and then how many are made. Gives the size of the file in bytes.
///
/// # Errors
/// The operating system's, naming the file.
pub fn to_file(
    devices: &Devices,
    records: u64,
    file: &Path,
    arrival: bool,
    told: &mut dyn FnMut(u64),
) -> anyhow::Result<u64> {
    let direct = file.exists() && !file.is_file();
    let part = if direct { file.to_owned() } else { beside(file)? };
    let written = write(devices, records, file, &part, (arrival, told)).and_then(|bytes| {
        if !direct {
            std::fs::rename(&part, file)?;
        }
        Ok(bytes)
    });
    if written.is_err() && !direct {
        // What is there is not what was asked for; the first error is the one to tell.
        drop(std::fs::remove_file(&part));
    }
    written.with_context(|| {
        format!("cannot write {}. Is there space, and may this user write in its directory?", file.display())
    })
}

fn beside(file: &Path) -> anyhow::Result<PathBuf> {
    let name = file.file_name().with_context(|| format!("{} names no file", file.display()))?;
    Ok(file.with_file_name(format!(".{}.part", name.to_string_lossy())))
}

fn write(
    devices: &Devices,
    records: u64,
    file: &Path,
    part: &Path,
    how: (bool, &mut dyn FnMut(u64)),
) -> io::Result<u64> {
    let out = Counted { file: File::create(part)?, bytes: 0 };
    let out = match file.extension().and_then(|e| e.to_str()) {
        Some("gz") => {
            let mut packed = GzEncoder::new(out, Compression::default());
            text(devices, records, &mut packed, how)?;
            packed.finish()?
        }
        Some("zst") => {
            let mut packed = zstd::Encoder::new(out, 0)?;
            text(devices, records, &mut packed, how)?;
            packed.finish()?
        }
        _ => {
            let mut out = out;
            text(devices, records, &mut out, how)?;
            out
        }
    };
    Ok(out.bytes)
}

fn text(
    devices: &Devices,
    records: u64,
    out: &mut dyn Write,
    (arrival, told): (bool, &mut dyn FnMut(u64)),
) -> io::Result<()> {
    let mut stream = Records::new(devices);
    let mut piece = Vec::with_capacity(PIECE_BYTES + 1024);
    for made in 0..records {
        let record = stream.next(&mut piece);
        if arrival {
            piece.pop();
            write!(piece, ",\"arr\":{}}}", record.arrival_ms)?;
        }
        piece.push(b'\n');
        if piece.len() >= PIECE_BYTES {
            out.write_all(&piece)?;
            piece.clear();
            told(made + 1);
        }
    }
    out.write_all(&piece)
}

struct Counted {
    file: File,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.file.write(buf)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
