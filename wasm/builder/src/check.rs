//! Says whether a file is a module that speaks ABI 1, by reading it and never by running it.
//!
//! What is required
//! - It imports nothing and has no start function: nothing can happen before or beside a call of its exports.
//! - One memory of its own, 32-bit and not shared.
//! - Instructions of [`FEATURES`] alone, so that every runtime of the last years takes it.
//! - Each function of [`FUNCTIONS`] under its name with its type, and an ABI version that can be read off the code.
//! - Not above [`SIZE_BYTES_MAX`].
//!
//! All the faults of a module are reported at once. Further exports are allowed: a module may offer more than the ABI.
//!
//! Not here: the self-test of a running module, its limits (`host`), taking the other sections away (`strip`).

use std::collections::BTreeMap;
use std::fmt;

use wasmparser::{
    CompositeInnerType, Encoding, ExternalKind, FuncType, FunctionBody, MemoryType, Operator, Parser, Payload, SubType,
    TypeRef, ValType, Validator, WasmFeatures,
};

use crate::digest::sha256_hex;
pub use plimsoll_abi::VERSION as ABI_VERSION;
use plimsoll_abi::{FEATURES, FEATURES_IN_WORDS, FUNCTIONS, MEMORY};

/// The largest module accepted, in bytes. A page has to fetch it before it shows anything.
pub const SIZE_BYTES_MAX: usize = 400 * 1024;

const VERSION_EXPORT: &str = "plimsoll_abi_version";

/// What is worth telling about a module that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// SHA-256 of the file's bytes, lower-case hexadecimal.
    pub sha256: String,
    /// The file's size in bytes.
    pub size_bytes: usize,
    /// Each export with its type, sorted by name.
    pub exports: BTreeMap<String, String>,
}

/// Why a module was refused: every fault that was found, in one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One sentence for each fault, with what was found and what is expected.
    pub faults: Vec<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a module for ABI {ABI_VERSION}:")?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  - {fault}"))
    }
}

impl std::error::Error for Refusal {}

/// Checks the bytes of a module.
///
/// # Errors
/// A [`Refusal`] with all the faults, when there is one or more.
pub fn check(bytes: &[u8]) -> Result<Report, Refusal> {
    let mut faults = Vec::new();
    let sha256 = sha256_hex(bytes);
    if !bytes.starts_with(b"\0asm") {
        let found = bytes[..bytes.len().min(4)].escape_ascii();
        faults.push(format!("this is not a WebAssembly module: it begins with \"{found}\", expected \"\\0asm\""));
        return Err(Refusal { faults });
    }
    match Shape::read(bytes) {
        Ok(shape) => {
            shape.faults(&mut faults);
            check_size(bytes.len(), &mut faults);
            check_features(bytes, &mut faults);
            if faults.is_empty() {
                return Ok(Report { sha256, size_bytes: bytes.len(), exports: shape.exports });
            }
        }
        Err(error) => faults.push(format!("this is not a WebAssembly module: {error}")),
    }
    Err(Refusal { faults })
}

fn check_size(size_bytes: usize, faults: &mut Vec<String>) {
    if size_bytes > SIZE_BYTES_MAX {
        faults.push(format!(
            "it has {size_bytes} bytes, at most {SIZE_BYTES_MAX} are allowed: look for large dependencies and formatting code"
        ));
    }
}

fn check_features(bytes: &[u8], faults: &mut Vec<String>) {
    let Err(refused) = Validator::new_with_features(FEATURES).validate_all(bytes) else { return };
    faults.push(match Validator::new_with_features(WasmFeatures::all()).validate_all(bytes) {
        Ok(_) => format!("it uses a feature outside the list ({FEATURES_IN_WORDS}): {refused}"),
        Err(broken) => format!("it is not valid WebAssembly: {broken}"),
    });
}

/// What the sections of a module say, as far as the ABI asks.
#[derive(Default)]
struct Shape {
    imports: Vec<String>,
    has_start: bool,
    memories: Vec<MemoryType>,
    exports: BTreeMap<String, String>,
    /// The constant that the version function returns; `None` when it is missing or computes something.
    version: Option<i32>,
}

impl Shape {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let text = |error: wasmparser::Error| error.to_string();
        let mut shape = Self::default();
        let mut types: Vec<SubType> = Vec::new();
        let mut functions: Vec<u32> = Vec::new();
        let mut functions_imported = 0;
        let mut bodies: Vec<FunctionBody<'_>> = Vec::new();
        let mut exports = Vec::new();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(text)? {
                Payload::Version { encoding: Encoding::Component, .. } => {
                    return Err("it is a component; the ABI is that of a core module".to_owned());
                }
                Payload::TypeSection(section) => {
                    for group in section {
                        types.extend(group.map_err(text)?.into_types());
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import.map_err(text)?;
                        if matches!(import.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)) {
                            functions_imported += 1;
                        }
                        shape.imports.push(format!("{}.{}", import.module, import.name));
                    }
                }
                Payload::FunctionSection(section) => {
                    functions = section.into_iter().collect::<Result<_, _>>().map_err(text)?;
                }
                Payload::MemorySection(section) => {
                    shape.memories = section.into_iter().collect::<Result<_, _>>().map_err(text)?;
                }
                Payload::ExportSection(section) => {
                    exports = section.into_iter().collect::<Result<_, _>>().map_err(text)?;
                }
                Payload::StartSection { .. } => shape.has_start = true,
                Payload::CodeSectionEntry(body) => bodies.push(body),
                _ => {}
            }
        }
        for export in exports {
            // Imported functions are numbered before the module's own.
            let own = (export.index as usize).checked_sub(functions_imported);
            let written = match export.kind {
                ExternalKind::Func | ExternalKind::FuncExact => {
                    let ty = own.and_then(|own| functions.get(own)).and_then(|&ty| types.get(ty as usize));
                    if export.name == VERSION_EXPORT {
                        shape.version = own.and_then(|own| bodies.get(own)).and_then(constant);
                    }
                    ty.map_or_else(|| "an imported function".to_owned(), signature)
                }
                ExternalKind::Memory => MEMORY.to_owned(),
                ExternalKind::Global => "global".to_owned(),
                ExternalKind::Table => "table".to_owned(),
                ExternalKind::Tag => "tag".to_owned(),
            };
            shape.exports.insert(export.name.to_owned(), written);
        }
        Ok(shape)
    }

    fn faults(&self, faults: &mut Vec<String>) {
        if !self.imports.is_empty() {
            faults.push(format!(
                "it imports {}; a module imports nothing: build for wasm32-unknown-unknown without wasm-bindgen, WASI or a clock",
                first_few(&self.imports)
            ));
        }
        if self.has_start {
            faults.push("it has a start function; leave it out, `plimsoll_open` is the place for set-up".to_owned());
        }
        match self.memories.as_slice() {
            [memory] if memory.shared => faults.push("its memory is shared; build without threads".to_owned()),
            [memory] if memory.memory64 => {
                faults.push("its memory is 64-bit; build for wasm32 instead of wasm64".to_owned());
            }
            [_] => {}
            memories => faults.push(format!("it has {} memories of its own; expected exactly one", memories.len())),
        }
        let functions = FUNCTIONS.iter().map(|(name, params)| (*name, written(*params)));
        for (name, expected) in std::iter::once((MEMORY, MEMORY.to_owned())).chain(functions) {
            match self.exports.get(name) {
                None => faults.push(format!("it does not export `{name}`; expected {expected}")),
                Some(found) if *found != expected => {
                    faults.push(format!("its export `{name}` is {found}; expected {expected}"));
                }
                Some(_) => {}
            }
        }
        if self.exports.contains_key(VERSION_EXPORT) {
            match self.version {
                Some(ABI_VERSION) => {}
                Some(found) => {
                    faults.push(format!("it speaks ABI {found}; expected ABI {ABI_VERSION}: build against that version"));
                }
                None => faults.push(format!(
                    "`{VERSION_EXPORT}` computes its answer; expected a plain constant, which can be read without running the module: build with optimisation"
                )),
            }
        }
    }
}

/// The first names of a list that may be long, and how many more there are.
fn first_few(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The type of a function of the ABI, in words.
fn written(params: usize) -> String {
    format!("({}) -> i32", vec!["i32"; params].join(", "))
}

/// A function's type, in the same words.
fn signature(ty: &SubType) -> String {
    let CompositeInnerType::Func(function) = &ty.composite_type.inner else {
        return "not a function".to_owned();
    };
    let list = |types: &[ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (params, results) = (list(FuncType::params(function)), list(function.results()));
    match function.results() {
        [] => format!("({params})"),
        [_] => format!("({params}) -> {results}"),
        _ => format!("({params}) -> ({results})"),
    }
}

/// The number that a body returns when it does nothing else.
fn constant(body: &FunctionBody<'_>) -> Option<i32> {
    let operators = body.get_operators_reader().ok()?.into_iter().collect::<Result<Vec<_>, _>>().ok()?;
    match operators.as_slice() {
        [Operator::I32Const { value }, Operator::End] => Some(*value),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
