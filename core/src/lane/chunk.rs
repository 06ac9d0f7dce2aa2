//! Chunks: state or intent beyond the inline limits, cut into pieces with names that are never used twice.
//!
//! A name is (alias, number of the content that wrote it, SHA-256 of the bytes). Because the number is in it, a name
//! that a head has dropped can never be named again, so deleting it is safe at any time after.
//!
//! Pieces are cut at fixed places. A piece whose bytes are those of the piece at the same place of the state before
//! keeps its old name and is not written again.

use super::codec::{put_bytes, take_bytes};
use crate::wire::WireError;
use crate::wire::varint::{Cursor, put_u64};
use alloc::vec::Vec;
use sha2::{Digest as _, Sha256};

/// Which chunk of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkName {
    /// The content that wrote it.
    pub n: u64,
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
}

/// A chunk with its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// Its name.
    pub name: ChunkName,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Where a lane's state stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum StateRef {
    /// Nothing has been computed yet.
    #[default]
    Empty,
    /// In the head itself.
    Inline(Vec<u8>),
    /// In chunks, in this order.
    Chunks(Vec<ChunkName>),
}

impl StateRef {
    /// The chunks it names.
    pub fn names(&self) -> &[ChunkName] {
        match self {
            Self::Chunks(names) => names,
            Self::Empty | Self::Inline(_) => &[],
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty => out.push(0),
            Self::Inline(b) => {
                out.push(1);
                put_bytes(out, b);
            }
            Self::Chunks(names) => {
                out.push(2);
                put_names(out, names);
            }
        }
    }

    pub(super) fn take(c: &mut Cursor<'_>) -> Result<Self, WireError> {
        match c.u8()? {
            0 => Ok(Self::Empty),
            1 => Ok(Self::Inline(take_bytes(c)?)),
            2 => Ok(Self::Chunks(take_names(c)?)),
            _ => Err(c.bad("a state begins with 0, 1 or 2")),
        }
    }
}

pub(super) fn put_names(out: &mut Vec<u8>, names: &[ChunkName]) {
    put_u64(out, names.len() as u64);
    for name in names {
        put_u64(out, name.n);
        out.extend_from_slice(&name.digest);
    }
}

pub(super) fn take_names(c: &mut Cursor<'_>) -> Result<Vec<ChunkName>, WireError> {
    let n = c.count(33)?;
    (0..n).map(|_| Ok(ChunkName { n: c.varint_u64()?, digest: c.array()? })).collect()
}

/// Cuts bytes into chunks written by content `n`; a piece that `before` holds at the same place keeps its name.
/// Returns all names in order, and the chunks to be written.
pub(super) fn cut(bytes: &[u8], n: u64, piece: usize, before: &[ChunkName]) -> (Vec<ChunkName>, Vec<Chunk>) {
    let mut names = Vec::new();
    let mut fresh: Vec<Chunk> = Vec::new();
    for (i, part) in bytes.chunks(piece).enumerate() {
        let digest: [u8; 32] = Sha256::digest(part).into();
        let name = match before.get(i) {
            Some(old) if old.digest == digest => *old,
            _ => ChunkName { n, digest },
        };
        if name.n == n && fresh.iter().all(|c| c.name != name) {
            fresh.push(Chunk { name, bytes: part.to_vec() });
        }
        names.push(name);
    }
    (names, fresh)
}

/// Whether a chunk's bytes are those of its name.
pub(super) fn genuine(name: &ChunkName, bytes: &[u8]) -> bool {
    <[u8; 32]>::from(Sha256::digest(bytes)) == name.digest
}
