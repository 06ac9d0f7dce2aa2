//! A pipe as a source: what came is there at once, and it is read once only.

use plimsoll::source::stdin::Pipe;
use plimsoll::source::{Chunk, LaneReader, Next, Source};
use plimsoll_core::wire::frame;
use std::io::Write;

async fn chunk(reader: &mut dyn LaneReader) -> Option<Chunk> {
    loop {
        match reader.next(1 << 20).await.unwrap() {
            Next::Chunk(chunk) => return Some(chunk),
            Next::Idle => {}
            Next::End => return None,
        }
    }
}

fn payload(chunk: &Chunk) -> &[u8] {
    let f = frame::read(&chunk.frames, 0).unwrap();
    &chunk.frames[f.from..f.to]
}

#[tokio::test]
async fn lines_come_as_they_are_written_and_only_once() {
    let (from, mut to) = std::io::pipe().unwrap();
    let source = Pipe::of(from);
    assert!(!source.resumable());
    let lanes = source.lanes().await.unwrap();
    assert_ne!(lanes[0].id, Pipe::of(std::io::pipe().unwrap().0).lanes().await.unwrap()[0].id);
    let mut reader = source.open(&lanes[0], None).await.unwrap();
    to.write_all(b"{}\n{\"n\":2}\n{\"n\"").unwrap();
    let mut text = Vec::new();
    while text.len() < 11 {
        text.extend_from_slice(payload(&chunk(reader.as_mut()).await.unwrap()));
    }
    assert_eq!(text, b"{}\n{\"n\":2}\n");
    assert!(matches!(reader.next(1).await, Ok(Next::Idle)));
    to.write_all(b":3}").unwrap();
    drop(to);
    let last = chunk(reader.as_mut()).await.unwrap();
    assert_eq!(payload(&last), b"{\"n\":3}");
    assert_eq!(last.places.find(2).unwrap().0, "pipe:3");
    assert!(chunk(reader.as_mut()).await.is_none());
    assert!(matches!(reader.next(1).await, Ok(Next::End)));
    let e = source.open(&lanes[0], None).await.map(|_| ()).unwrap_err();
    assert!(e.to_string().contains("only once"), "{e}");
}

#[tokio::test]
async fn a_compressed_pipe_is_recognised() {
    let (from, mut to) = std::io::pipe().unwrap();
    to.write_all(&zstd::encode_all(&b"{}\n{}\n"[..], 1).unwrap()).unwrap();
    drop(to);
    let source = Pipe::of(from);
    let lanes = source.lanes().await.unwrap();
    let mut reader = source.open(&lanes[0], None).await.unwrap();
    assert_eq!(payload(&chunk(reader.as_mut()).await.unwrap()), b"{}\n{}\n");
    assert!(chunk(reader.as_mut()).await.is_none());
}
