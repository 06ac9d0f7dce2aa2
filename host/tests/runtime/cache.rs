//! The cache of compiled modules: used where it can be trusted, and never needed.

use crate::fake::{Fake, policy, record, settings};
use plimsoll::runtime::Engines;
use plimsoll::runtime::wasm::{Modules, WasmEngines};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

fn load(folder: &Path) -> WasmEngines {
    let mut s = settings();
    s.cache = true;
    s.cache_dir = Some(folder.to_owned());
    let engines = Modules::from_bytes(Fake::good().wasm(), s).unwrap();
    engines.open(&policy(), None).unwrap().apply(&record("{}")).unwrap();
    engines
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort_unstable();
    files
}

fn the_file(folder: &Path) -> PathBuf {
    let files = files(folder);
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// A folder for a cache, in one that goes with the test.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let tmp = tempfile::tempdir().unwrap();
    let folder = tmp.path().join("cache");
    fs::create_dir(&folder).unwrap();
    mode(&folder, 0o700);
    (tmp, folder)
}

/// Which file it is: writing one anew makes another.
fn identity(path: &Path) -> (u64, i64, i64) {
    let m = fs::metadata(path).unwrap();
    (m.ino(), m.mtime(), m.mtime_nsec())
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_second_start_uses_what_the_first_compiled() {
    let tmp = tempfile::tempdir().unwrap();
    let folder = tmp.path().join("new/cache");
    load(&folder);
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    let file = the_file(&folder);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let before = identity(&file);
    load(&folder);
    assert_eq!(identity(&the_file(&folder)), before);
}

#[test]
fn a_damaged_file_is_compiled_anew() {
    let (_tmp, folder) = folder();
    load(&folder);
    let file = the_file(&folder);
    let good = fs::read(&file).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let mut longer = good.clone();
    longer.push(0);
    let other_header = [b"PLCWASM9", &good[8..]].concat();
    for bad in
        [&flipped[..], &longer, &other_header, &good[..good.len() / 2], &good[..40], &good[..39], &good[..8], b""]
    {
        fs::write(&file, bad).unwrap();
        let before = identity(&file);
        load(&folder);
        assert_ne!(identity(&file), before, "{} bytes were taken", bad.len());
        assert_eq!(fs::read(&file).unwrap(), good);
    }
}

#[test]
fn code_compiled_for_other_runs_is_not_taken_under_this_name() {
    let (_tmp, folder) = folder();
    let engines = load(&folder);
    let normal = the_file(&folder);
    engines.open_metered(&policy(), None).unwrap().apply(&record("{}")).unwrap();
    let both = files(&folder);
    assert_eq!(both.len(), 2, "each compilation has its file: {both:?}");
    let metered = both.iter().find(|p| **p != normal).unwrap();
    fs::copy(metered, &normal).unwrap();
    let before = identity(&normal);
    load(&folder);
    assert_ne!(identity(&normal), before);
}

#[test]
fn another_module_has_another_file() {
    let (_tmp, folder) = folder();
    load(&folder);
    let mut s = settings();
    s.cache = true;
    s.cache_dir = Some(folder.clone());
    Modules::from_bytes(Fake::good().with("plimsoll_pending", "(i32.const 8)").wasm(), s).unwrap();
    assert_eq!(files(&folder).len(), 2);
}

#[test]
fn what_others_can_write_to_is_not_used() {
    let (_tmp, folder) = folder();
    load(&folder);
    let file = the_file(&folder);
    for open in [0o644, 0o660, 0o602] {
        mode(&file, open);
        let before = identity(&file);
        load(&folder);
        assert_ne!(identity(&file), before, "mode {open:o}");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    }
    fs::remove_file(&file).unwrap();
    for open in [0o755, 0o770, 0o1777] {
        mode(&folder, open);
        load(&folder);
        assert!(files(&folder).is_empty(), "mode {open:o}");
    }
    mode(&folder, 0o700);
    let link = folder.join("link");
    let real = folder.join("real");
    fs::create_dir(&real).unwrap();
    mode(&real, 0o700);
    std::os::unix::fs::symlink(&real, &link).unwrap();
    load(&link);
    assert!(files(&real).is_empty());
}

#[test]
fn a_folder_that_cannot_be_is_done_without() {
    let tmp = tempfile::tempdir().unwrap();
    let file = tmp.path().join("file");
    fs::write(&file, "no folder").unwrap();
    load(&file);
    load(&file.join("below"));
    load(Path::new("/proc/plimsoll"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "no folder");
}

#[test]
fn old_files_make_room() {
    let (_tmp, folder) = folder();
    for i in 0..30 {
        fs::write(folder.join(format!("{i}.cwasm")), "old").unwrap();
    }
    fs::write(folder.join("not-ours.txt"), "stays").unwrap();
    load(&folder);
    let left = files(&folder);
    assert_eq!(left.len(), 17, "{left:?}");
    assert!(left.iter().any(|p| fs::read(p).unwrap().starts_with(b"PLCWASM1")), "the new one is among them");
}
