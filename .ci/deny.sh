#!/usr/bin/env bash
# Checks what comes from others against deny.toml: bans, licences, sources.
#
# Uses the cargo-deny on the path, or compiles a pinned one once into target/tools/cargo-deny-<version>.
# Advisories are left out: their database comes from the network, and a build that was right yesterday must not fail today
# because of it. Before a release: cargo deny check advisories
set -euo pipefail
name=deny
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=0.20.2
folder=$root/target/tools/cargo-deny-$version
deny=$(command -v cargo-deny || echo "$folder/bin/cargo-deny")
if [ ! -x "$deny" ]; then
  say "compiling cargo-deny $version into target/tools (once, 90 s of work)"
  # It runs for two seconds: optimising it takes longer than it could ever save.
  export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=0
  install() { cargo install cargo-deny --quiet --version "=$version" --no-default-features --root "$folder" "$@"; }
  # Its lock may name a version that a mirror does not have.
  install --locked || install || fail "cargo-deny could not be compiled; install it and run this again"
fi
cd "$root"
# Warnings, such as two versions of one crate, are for whoever looks for them: cargo deny check bans
"$deny" --locked --log-level error check --hide-inclusion-graph bans licenses sources
