#!/usr/bin/env bash
# The npm package in js/, after `plimsoll-builder build` has made the module and the bindings.
#
#   .ci/js.sh build         its packages, js/dist and the page in target/plimsoll/page; nothing when nothing changed
#   .ci/js.sh check         types
#   .ci/js.sh test          tests
set -euo pipefail
name=js
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root/js"

packages() {
  local list=(package.json package-lock.json)
  if fresh node_modules/.stamp "${list[@]}"; then return; fi
  need_node
  say "installing its packages from npm"
  # No install scripts: every package here works without its own.
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error || fail "npm could not install the packages of js/"
  stamp node_modules/.stamp "${list[@]}"
}

# All that the build reads, in one order everywhere.
inputs() {
  find . -type f -not -path './node_modules/*' -not -path './dist/*' -not -path './test/*' -not -name '*.tgz'
  find ../target/plimsoll/plimsoll.wasm ../target/plimsoll/bindings -type f
}

build() {
  packages
  local list
  mapfile -t list < <(inputs | LC_ALL=C sort)
  if [ -d dist ] && [ -d ../target/plimsoll/page ] && fresh ../target/plimsoll/.js.stamp "${list[@]}"; then
    say "is up to date"
    return
  fi
  say "building the package and the page"
  rm -f ../target/plimsoll/.js.stamp
  npm run --silent build
  stamp ../target/plimsoll/.js.stamp "${list[@]}"
}

case ${1:-} in
  build) build ;;
  check) packages && npm run --silent check ;;
  test) build && npm test --silent ;;
  *) fail "there is no part '${1:-}'; there are: build, check, test" ;;
esac
