//! What each part of the program takes of a module's bytes: function bodies, added up by the modules of the crates they
//! come from.
//!
//! A function that was inlined counts where it was inlined to, and a generic one where it is defined, so that a few percent
//! stand beside their place. The file has to have its names: the one that cargo left in `target/wasm`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use wasmparser::{KnownCustom, Name, Parser, Payload};

/// Our own crates: their modules are told apart one level deeper.
const OWN: [&str; 2] = ["plimsoll_core", "plimsoll_module"];

/// Bytes by where they come from, the largest first.
///
/// # Errors
/// When the bytes are no module, or one without names.
pub fn sizes(module: &[u8]) -> Result<Vec<(String, usize)>> {
    let (mut bodies, mut names, mut imported, mut data) = (Vec::new(), BTreeMap::new(), 0, 0);
    for payload in Parser::new(0).parse_all(module) {
        match payload.context("not a WebAssembly module")? {
            Payload::ImportSection(imports) => imported = imports.count(),
            Payload::CodeSectionEntry(body) => bodies.push(body.range().len()),
            Payload::DataSection(section) => data = section.range().len(),
            Payload::CustomSection(section) => {
                let KnownCustom::Name(sections) = section.as_known() else { continue };
                for section in sections {
                    let Name::Function(functions) = section? else { continue };
                    for naming in functions {
                        let naming = naming?;
                        names.insert(naming.index, naming.name);
                    }
                }
            }
            _ => {}
        }
    }
    anyhow::ensure!(
        !names.is_empty(),
        "found a module without names, expected one with them: target/wasm/wasm32-unknown-unknown/wasm/plimsoll_module.wasm"
    );
    let mut sums = BTreeMap::from([("data".to_owned(), data)]);
    for (index, size) in (imported..).zip(bodies) {
        let name = names.get(&index).map_or(String::new(), |name| format!("{:#}", rustc_demangle::demangle(name)));
        *sums.entry(place(&name)).or_default() += size;
    }
    let mut sums: Vec<(String, usize)> = sums.into_iter().collect();
    sums.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
    Ok(sums)
}

/// The module that a function is from: `plimsoll_core::policy::validate`, `alloc::collections`.
fn place(name: &str) -> String {
    // What of ours is in a stranger's generic function is what that one is there for.
    let start = OWN.iter().filter_map(|own| name.find(&format!("{own}::"))).min();
    let depth = if start.is_some() { 3 } else { 2 };
    let path = name[start.unwrap_or(0)..].trim_start_matches(['<', '&']);
    let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(path.len());
    let parts: Vec<&str> = path[..end].split("::").filter(|part| !part.is_empty()).collect();
    // The last is the function or the type itself, unless an implementation for some type comes behind its module.
    let modules = &parts[..parts.len() - usize::from(!parts.is_empty() && !path[..end].ends_with("::"))];
    let own = |part: &&&str| part.starts_with(|c: char| c.is_lowercase());
    let modules: Vec<&str> = modules.iter().take_while(own).take(depth).copied().collect();
    if modules.is_empty() { "other".to_owned() } else { modules.join("::") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_count_for_the_modules_they_are_from() {
        for (name, expected) in [
            ("plimsoll_core::policy::validate::problems", "plimsoll_core::policy::validate"),
            ("plimsoll_core::panes::kept::top::Top::merge", "plimsoll_core::panes::kept"),
            ("<plimsoll_core::policy::Windowing as serde::Deserialize>::deserialize", "plimsoll_core::policy"),
            ("core::ptr::drop_in_place<plimsoll_core::engine::Engine>", "plimsoll_core::engine"),
            (
                "plimsoll_core::engine::paned::<impl plimsoll_core::engine::Engine>::bundle",
                "plimsoll_core::engine::paned",
            ),
            ("alloc::collections::btree::map::BTreeMap<K,V,A>::insert", "alloc::collections"),
            ("core::slice::sort::unstable::quicksort::quicksort", "core::slice"),
            ("memcpy", "other"),
            ("", "other"),
        ] {
            assert_eq!(place(name), expected, "{name}");
        }
    }

    #[test]
    fn bodies_are_added_up_by_name_and_the_data_stands_beside_them() {
        let text = r#"(module
            (memory 1) (data (i32.const 0) "0123456789")
            (func $_ZN13plimsoll_core6engine6Engine5apply17h0123456789abcdefE (drop (i32.const 1)) (drop (i32.const 2)))
            (func $_ZN13plimsoll_core6engine6Engine5flush17h0123456789abcdefE)
            (func $memcpy))"#;
        let found = sizes(&wat::parse_str(text).unwrap()).unwrap();
        let of = |place: &str| found.iter().find(|(at, _)| at == place).map(|(_, size)| *size);
        assert_eq!(of("plimsoll_core::engine"), Some(2 + 6 + 2));
        assert_eq!(of("other"), Some(2));
        assert!(of("data").is_some_and(|size| size > 10));
        assert!(found.is_sorted_by(|a, b| a.1 >= b.1));
        assert!(
            sizes(&wat::parse_str("(module (func))").unwrap()).is_err_and(|e| e.to_string().contains("without names"))
        );
        assert!(sizes(b"nothing").is_err());
    }
}
