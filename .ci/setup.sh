#!/usr/bin/env bash
# Makes sure of the compilers that everything else needs; installs what it can, and says what it cannot.
#
#   .ci/setup.sh            Rust, a C compiler (SQLite, zstd and ring are C inside), Node.js
#   .ci/setup.sh lint       and rustfmt and clippy, which rustup's minimal profile lacks
set -euo pipefail
name=setup
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

command -v cargo >/dev/null || fail "cargo is missing; install Rust from https://rustup.rs and run this again"
command -v cc >/dev/null || apt_or_fail "a C compiler" "gcc libc6-dev"

wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
found=$(rustc --version | cut -d' ' -f2)
[ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] ||
  fail "Rust $found is too old; run 'rustup update stable' to get $wanted or newer"

need_node

if [ "${1:-}" = lint ]; then
  for component in rustfmt clippy; do
    cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 && continue
    say "$component is missing: running 'rustup component add $component'"
    rustup component add "$component" || fail "$component is missing; install it for Rust $found and run this again"
  done
fi
