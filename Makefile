# Everything one does with Plimsoll, each by one word. Scripts in .ci/ do what takes more than a line.
# Nothing asks a question, each step says what it installs, and nothing is done again when nothing has changed.

CARGO ?= cargo
# One profile and always the whole workspace, for demo, tests and benches: with other packages chosen, cargo would compile
# the large dependencies again with other features.
BUILD := --release --locked --workspace
PROGRAMS := $(or $(CARGO_TARGET_DIR),target)/release

.DEFAULT_GOAL := help
.PHONY: help demo build programs module js test check lint quick deny cargo-test js-test tools soak proof fuzz bench
# Cargo uses all cores by itself; two recipes at once would only wait for each other's locks.
.NOTPARALLEL:

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## Build, then run generated devices -> module -> SQLite with a live page; Ctrl-C ends it
	$(PROGRAMS)/plimsoll demo

build: programs module js ## The host, the module, the bindings, and the npm package with its page

programs: ## The host target/release/plimsoll and the module's builder
	@.ci/setup.sh
	$(CARGO) build $(BUILD)

module: programs ## target/plimsoll/plimsoll.wasm and the bindings, checked; gets a wasm32 compiler when there is none
	$(PROGRAMS)/plimsoll-builder build

js: module ## The npm package in js/dist and the page in target/plimsoll/page
	@.ci/js.sh build

test: lint deny build tools cargo-test js-test ## All that CI runs: lints, dependencies, every test; installs the tests' tools

check: lint deny quick ## The quick checks: formatting, clippy, dependencies, unit tests

lint: ## Formatting and clippy without a warning
	@.ci/setup.sh lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(BUILD) --all-targets -- --deny warnings

deny: ## Licences, bans and sources of dependencies; compiles cargo-deny once when there is none
	@.ci/deny.sh

quick: ## Unit tests alone
	$(CARGO) test $(BUILD) --lib --bins

cargo-test: ## The tests of the Rust packages, end to end ones included; wants `make build tools` before it
	PLIMSOLL_BIN=$(abspath $(PROGRAMS))/plimsoll $(CARGO) test $(BUILD)

js-test: ## Types and tests of the npm package; wants `make module` before it
	@.ci/js.sh check
	@.ci/js.sh test

soak: ## Hours of the lane protocol in a simulated world, from new seeds: SECONDS=14400 or SEEDS=n; a failing seed prints its plan
	$(if $(SEEDS),SEEDS=$(SEEDS),SECONDS=$(or $(SECONDS),14400)) $(CARGO) test $(BUILD) --test simulator nothing_that_goes_wrong -- --nocapture

proof: build tools ## The production test at full size: a million records, 200 kills, reshards, lost replies; PROOF_RECORDS=n PROOF_KILLS=n
	PLIMSOLL_BIN=$(abspath $(PROGRAMS))/plimsoll PROOF_RECORDS=$(or $(PROOF_RECORDS),1000000) PROOF_KILLS=$(or $(PROOF_KILLS),200) \
	  $(CARGO) test $(BUILD) --test production -- --nocapture

tools: ## Outside tools of the end to end tests, pinned, into target/tools: stand-ins for AWS, Chromium, Python's wasmtime
	@.ci/tools.sh

fuzz: ## Each fuzz target of core/fuzz for FUZZ_SECONDS (60), from the corpus in the repository
	@.ci/setup.sh
	@.ci/fuzz.sh

bench: build ## Plimsoll beside DuckDB and others (PEERS="batch flink" for Flink), then the parts alone; this machine's figures
	@.ci/bench.sh
	$(CARGO) bench --locked --workspace --benches
