//! Takes from a module what no one needs to run it.
//!
//! All custom sections go:
//! - `name`: function names, a third of the file, with hashes that differ between compilers. For a profile take the file
//!   that cargo left in `target/wasm`, which has them.
//! - `producers`: the compiler; `build.json` names it.
//! - `target_features`: a note from compiler to linker and wasm-bindgen. The engine needs neither any more, and runtimes
//!   read the instructions themselves. (The bindings keep theirs until wasm-bindgen has read it.)
//!
//! The other sections are copied byte by byte, in their order.

use anyhow::{Context, Result};
use wasmparser::{Encoding, Parser, Payload};

/// A copy of `module` without its custom sections.
///
/// # Errors
/// When the bytes are not a WebAssembly module.
pub fn without_custom_sections(module: &[u8]) -> Result<Vec<u8>> {
    let mut kept = Vec::with_capacity(module.len());
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.context("the compiler's output is not a WebAssembly module")?;
        match &payload {
            Payload::Version { encoding: Encoding::Module, range, .. } => {
                kept.extend_from_slice(&module[range.clone()])
            }
            Payload::Version { .. } => anyhow::bail!("found a component, expected a core module"),
            Payload::CustomSection(_) => {}
            other => {
                if let Some((id, range)) = other.as_section() {
                    let size = u32::try_from(range.len()).context("a section of 4 GiB or more")?;
                    kept.push(id);
                    push_leb128(size, &mut kept);
                    kept.extend_from_slice(&module[range]);
                }
            }
        }
    }
    Ok(kept)
}

fn push_leb128(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(module (func (export "f")))`, with a custom section before, between and after.
    #[test]
    fn drops_custom_sections_wherever_they_are_and_nothing_else() {
        let magic: &[u8] = b"\0asm\x01\0\0\0";
        let custom: &[u8] = &[0, 3, 1, b'n', 7];
        let sections: [&[u8]; 4] =
            [&[1, 4, 1, 0x60, 0, 0], &[3, 2, 1, 0], &[7, 5, 1, 1, b'f', 0, 0], &[10, 4, 1, 2, 0, 0x0b]];
        let mut with = magic.to_vec();
        with.extend_from_slice(custom);
        for section in sections {
            with.extend_from_slice(section);
            with.extend_from_slice(custom);
        }
        assert_eq!(without_custom_sections(&with).unwrap(), [&[magic], &sections[..]].concat().concat());
    }

    #[test]
    fn writes_sizes_as_wasm_does() {
        let leb = |value| {
            let mut out = Vec::new();
            push_leb128(value, &mut out);
            out
        };
        assert_eq!(leb(0x7f), [0x7f]);
        assert_eq!(leb(0x80), [0x80, 1]);
        assert_eq!(leb(624_485), [0xe5, 0x8e, 0x26]);
        assert_eq!(leb(u32::MAX), [0xff, 0xff, 0xff, 0xff, 0x0f]);
    }

    #[test]
    fn refuses_what_is_not_a_module() {
        assert!(without_custom_sections(b"MZ").is_err());
    }
}
