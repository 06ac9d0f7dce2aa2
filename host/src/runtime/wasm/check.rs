//! What a module must be before a compiler sees it: read with wasmparser, nothing is run.
//!
//! Invariants
//! - A module that passes imports nothing and starts nothing: all it can do is answer calls.
//! - Its features and functions are those of `plimsoll_abi`, which the builder asks of its own too.
//!
//! Not here: whether its answers are right (`self_test`).

use super::error::ModuleError;
use super::settings::Settings;
use plimsoll_abi::{FEATURES, FUNCTIONS, MEMORY};
use wasmparser::types::EntityType;
use wasmparser::{MemoryType, Parser, Payload, ValType, Validator};

const PAGE: u64 = 65_536;

/// Whether these bytes are a module that may be compiled.
pub(super) fn check(wasm: &[u8], settings: &Settings) -> Result<(), ModuleError> {
    if wasm.len() as u64 > settings.module_bytes_max {
        return Err(ModuleError::TooLarge { limit_bytes: settings.module_bytes_max });
    }
    refuse_by_section(wasm, settings)?;
    let types = Validator::new_with_features(FEATURES).validate_all(wasm).map_err(invalid)?;
    let types = types.as_ref();
    let find =
        |name: &str| types.core_exports().into_iter().flatten().find_map(|(n, entity)| (n == name).then_some(entity));
    match find(MEMORY) {
        Some(EntityType::Memory(_)) => {}
        other => {
            return Err(ModuleError::Export {
                name: MEMORY,
                found: describe(other, |_| String::new()),
                expected: "the module's memory".into(),
            });
        }
    }
    for &(name, params) in FUNCTIONS {
        let found = find(name);
        if let Some(EntityType::Func(id)) = found {
            let f = types[id].unwrap_func();
            if f.params() == vec![ValType::I32; params] && f.results() == [ValType::I32] {
                continue;
            }
        }
        return Err(ModuleError::Export {
            name,
            found: describe(found, |id| {
                let f = types[id].unwrap_func();
                format!("a function of {} that returns {}", list(f.params()), list(f.results()))
            }),
            expected: format!("a function of {} that returns i32", list(&vec![ValType::I32; params])),
        });
    }
    Ok(())
}

/// What has a clearer name than the validator gives it.
fn refuse_by_section(wasm: &[u8], settings: &Settings) -> Result<(), ModuleError> {
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(invalid)? {
            Payload::Version { encoding: wasmparser::Encoding::Component, .. } => {
                return Err(ModuleError::Invalid { detail: "it is a component".into() });
            }
            Payload::ImportSection(imports) => {
                if let Some(import) = imports.into_imports().next() {
                    let import = import.map_err(invalid)?;
                    return Err(ModuleError::Import { module: import.module.into(), name: import.name.into() });
                }
            }
            Payload::StartSection { .. } => return Err(ModuleError::Start),
            Payload::MemorySection(memories) => {
                for memory in memories {
                    refuse_memory(&memory.map_err(invalid)?, settings)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn refuse_memory(m: &MemoryType, settings: &Settings) -> Result<(), ModuleError> {
    let refuse = |found: String, expected: String| Err(ModuleError::Memory { found, expected });
    if m.shared {
        return refuse("shared memory".into(), "memory of one thread".into());
    }
    if m.memory64 {
        return refuse("64-bit memory".into(), "32-bit memory".into());
    }
    if m.page_size_log2.is_some() {
        return refuse("pages of its own size".into(), "pages of 64 KiB".into());
    }
    let bytes = m.initial.saturating_mul(PAGE);
    if bytes > settings.memory_bytes_max {
        return refuse(
            format!("{bytes} bytes at the start"),
            format!("at most {}, the memory cap (--module-memory)", settings.memory_bytes_max),
        );
    }
    Ok(())
}

fn invalid(e: wasmparser::BinaryReaderError) -> ModuleError {
    // The validator shows bytes one to a line; a message is one line.
    let words = e.to_string();
    ModuleError::Invalid { detail: words.split_whitespace().collect::<Vec<_>>().join(" ") }
}

fn describe(found: Option<EntityType>, function: impl Fn(wasmparser::types::CoreTypeId) -> String) -> String {
    match found {
        None => "nothing".into(),
        Some(EntityType::Func(id) | EntityType::FuncExact(id)) => match function(id) {
            text if text.is_empty() => "a function".into(),
            text => text,
        },
        Some(EntityType::Memory(_)) => "a memory".into(),
        Some(EntityType::Table(_)) => "a table".into(),
        Some(EntityType::Global(_)) => "a global".into(),
        Some(EntityType::Tag(_)) => "a tag".into(),
    }
}

fn list(types: &[ValType]) -> String {
    let names: Vec<_> = types.iter().map(ToString::to_string).collect();
    format!("({})", names.join(", "))
}
