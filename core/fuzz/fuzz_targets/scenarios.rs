//! See `scenarios` in the library: the tests run the same on the corpus.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| plimsoll_core_fuzz::scenarios(data));
