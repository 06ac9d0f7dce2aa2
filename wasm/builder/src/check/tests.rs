//! Modules with one thing wrong each, and the sentence that each of them gets.

use super::*;

/// A module that exports all of ABI 1, built from its own table; `edit` changes its text.
fn module(edit: impl FnOnce(String) -> String) -> Vec<u8> {
    let mut text = String::from("(module\n(memory (export \"memory\") 1)\n");
    for (name, params) in FUNCTIONS {
        let params = vec!["i32"; *params].join(" ");
        text.push_str(&format!("(func (export \"{name}\") (param {params}) (result i32) (i32.const 1))\n"));
    }
    text.push(')');
    wat::parse_str(edit(text)).unwrap()
}

/// The module with one more field.
fn with(field: &str) -> Vec<u8> {
    module(|text| text.replacen("(module", &format!("(module\n{field}"), 1))
}

/// The module with one text for another, which must be in it.
fn replaced(from: &str, to: &str) -> Vec<u8> {
    module(|text| {
        assert!(text.contains(from), "{from} is not in {text}");
        text.replacen(from, to, 1)
    })
}

#[track_caller]
fn refused(module: &[u8], fault: &str) {
    let refusal = check(module).expect_err("it was accepted");
    assert!(refusal.faults.iter().any(|found| found.contains(fault)), "no `{fault}` in\n{refusal}");
}

/// As [`refused`], and nothing else was wrong.
#[track_caller]
fn refused_for_one(module: &[u8], fault: &str) {
    refused(module, fault);
    let refusal = check(module).unwrap_err();
    assert_eq!(refusal.faults.len(), 1, "{refusal}");
}

#[test]
fn a_module_with_the_whole_abi_passes() {
    let bytes = module(|text| text);
    let report = check(&bytes).unwrap();
    assert_eq!(report.size_bytes, bytes.len());
    assert_eq!(report.sha256, sha256_hex(&bytes));
    assert_eq!(report.exports.len(), FUNCTIONS.len() + 1);
    assert_eq!(report.exports["plimsoll_restore"], "(i32, i32, i32, i32) -> i32");
}

#[test]
fn the_list_is_that_of_the_document() {
    let document = include_str!("../../../ABI.md");
    let rows = document.lines().filter(|line| line.starts_with("| `plimsoll_"));
    let told: Vec<&str> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split(','))
        .map(|name| name.trim().trim_matches('`'))
        .collect();
    assert_eq!(told, FUNCTIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

#[test]
fn further_exports_are_allowed() {
    let report = check(&with("(global (export \"__heap_base\") i32 (i32.const 8))")).unwrap();
    assert_eq!(report.exports["__heap_base"], "global");
}

#[test]
fn imports_are_refused_and_named() {
    refused_for_one(
        &with("(import \"env\" \"now\" (func (result i64))) (import \"wasi\" \"random\" (func (param i32)))"),
        "it imports env.now, wasi.random;",
    );
    refused_for_one(&with(&"(import \"a\" \"b\" (func))".repeat(20)), "it imports a.b, a.b, a.b and 17 more;");
    refused(
        &module(|text| {
            text.replace("(memory (export \"memory\") 1)", "(memory (export \"memory\") (import \"a\" \"b\") 1)")
        }),
        "it imports a.b;",
    );
}

#[test]
fn imports_do_not_shift_the_types_of_exports() {
    let refusal = check(&with("(import \"env\" \"f\" (func (param f64 f64 f64)))")).unwrap_err();
    assert_eq!(refusal.faults.len(), 1, "{refusal}");
}

#[test]
fn a_start_function_is_refused() {
    refused_for_one(&with("(func $go) (start $go)"), "start function");
}

#[test]
fn memories_of_other_kinds_are_refused() {
    refused(&replaced("\"memory\") 1)", "\"memory\") 1 2 shared)"), "its memory is shared");
    refused(&replaced("\"memory\") 1)", "\"memory\") i64 1)"), "its memory is 64-bit");
    refused(&with("(memory 1)"), "it has 2 memories");
}

#[test]
fn missing_and_mistyped_exports_are_named() {
    refused_for_one(
        &replaced("\"plimsoll_flush\"", "\"plimsoll_flash\""),
        "it does not export `plimsoll_flush`; expected (i32, i32) -> i32",
    );
    refused_for_one(
        &replaced("(export \"plimsoll_apply\") (param i32 i32)", "(export \"plimsoll_apply\") (param i32 i64)"),
        "its export `plimsoll_apply` is (i32, i64) -> i32; expected (i32, i32) -> i32",
    );
    refused_for_one(
        &replaced(
            "(func (export \"plimsoll_error_len\") (param ) (result i32) (i32.const 1))",
            "(global (export \"plimsoll_error_len\") i32 (i32.const 1))",
        ),
        "its export `plimsoll_error_len` is global; expected () -> i32",
    );
    refused_for_one(&replaced("(memory (export \"memory\") 1)", "(memory 1)"), "it does not export `memory`");
}

#[test]
fn another_abi_version_is_refused() {
    let version = |body: &str| {
        let old = "(func (export \"plimsoll_abi_version\") (param ) (result i32) (i32.const 1))";
        replaced(old, &format!("(func (export \"plimsoll_abi_version\") (result i32) {body})"))
    };
    refused_for_one(&version("(i32.const 2)"), "it speaks ABI 2; expected ABI 1");
    refused_for_one(&version("(i32.add (i32.const 0) (i32.const 1))"), "computes its answer");
}

#[test]
fn features_outside_the_list_are_refused() {
    refused_for_one(&with("(func (param v128))"), "a feature outside the list");
    refused_for_one(&with("(func (param externref))"), "a feature outside the list");
    refused_for_one(&with("(func $f return_call $f)"), "a feature outside the list");
    refused_for_one(&with("(tag)"), "a feature outside the list");
}

#[test]
fn features_on_the_list_pass() {
    check(&with(
        "(global (export \"g\") (mut i32) (i32.const 0))
         (func (param f64) (result i64) (i64.extend8_s (i64.trunc_sat_f64_s (local.get 0))))
         (func (memory.copy (i32.const 0) (i32.const 1) (i32.const 2)))
         (type (func (result i32 i32)))",
    ))
    .unwrap();
}

#[test]
fn a_large_module_is_refused() {
    let zeroes = "\\00".repeat(SIZE_BYTES_MAX);
    refused_for_one(&with(&format!("(data (i32.const 0) \"{zeroes}\")")), "at most 409600 are allowed");
}

#[test]
fn broken_files_are_refused() {
    refused_for_one(b"", "not a WebAssembly module");
    refused_for_one(b"#!/bin/sh", "it begins with \"#!/b\", expected \"\\0asm\"");
    refused_for_one(b"\0asm\x0d\0\x01\0", "a component");
    let whole = module(|text| text);
    refused_for_one(&whole[..whole.len() - 1], "not a WebAssembly module");
    // Types do not fit: found by validation, not by reading.
    refused_for_one(&with("(func (result i32) (i64.const 1))"), "it is not valid WebAssembly");
}

#[test]
fn all_faults_are_told_at_once() {
    let refusal = check(&wat::parse_str("(module)").unwrap()).unwrap_err();
    assert_eq!(refusal.faults.len(), FUNCTIONS.len() + 2, "{refusal}");
    assert!(refusal.to_string().starts_with("not a module for ABI 1:\n  - it has 0 memories"), "{refusal}");
}
