# The commands a person needs. Every one does its own set-up first (scripts/setup.sh), which is over in a moment when
# nothing is missing.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Where rustup and `cargo install` put programs, for shells that do not know it yet.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

# Seconds `make fuzz` spends on each target.
FUZZ_SECONDS ?= 60
# Seeds `make test-sim` tries.
SIM_SEEDS ?= 100000
# Arguments for the server of `make run`, as in: make run ARGS='--listen 0.0.0.0:8443'.
ARGS ?=
# Arguments of the load tester, as in: make load LOAD_ARGS='rooms 10x4 --html load.html', and of `make load-compare`, as in:
# make load-compare LOAD_ARGS='--against janus --scenario "audio 100"'.
LOAD_ARGS ?=
# The data folder of the server that `make load` is for.
DATA ?= data

TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
# Tests of the API, so many files at once; those of the load tester by themselves, as they see what a machine bears.
LOAD_TESTS := tests/api/load.test.mjs
api_tests = VESTIBULE_BIN_DIR='$(TARGET_DIR)/debug' VESTIBULE_API_VENV='$(TARGET_DIR)/test-api-venv' \
    node --test --test-reporter=spec --test-concurrency=$(2) $(1)
# Tests in browsers, so many files at once; those that see or hear somebody by themselves.
PAGE_TESTS := $(addsuffix .test.mjs,command desk door page signal staff tls)
browser_tests = cd tests/browser && VESTIBULE_BIN_DIR='$(TARGET_DIR)/debug' \
    node --test --test-reporter=spec --test-concurrency=$(2) $(1)
# How the interoperability matrix is run, with the programs of a profile.
interop = VESTIBULE_BIN_DIR='$(TARGET_DIR)/$(1)' VESTIBULE_INTEROP_VENV='$(TARGET_DIR)/interop-venv' \
    VESTIBULE_INTEROP_WEBRTC='$(TARGET_DIR)/webrtc-peer/release/interop-webrtc-peer' node tests/interop/run.mjs
# A peer of it, in a workspace of its own.
WEBRTC_PEER := tests/interop/peers/webrtc/Cargo.toml
# Folders with JavaScript or TypeScript of ours.
JS_DIRS := $(patsubst %/package.json,%,$(wildcard tests/browser/package.json web-client/package.json))

.PHONY: help
help: ## Say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

# The built web client, which the binary embeds.
CLIENT := web-client/app/dist/index.html
CLIENT_SOURCES := $(shell find web-client -path '*/node_modules' -prune -o -path '*/dist' -prune -o -type f -print)

.PHONY: run
run: binaries ## Build everything and start the server with a demo clinic
	$(TARGET_DIR)/release/vestibule --demo $(ARGS)

.PHONY: client
client: ## Build the web client
	@scripts/setup.sh run
	@$(MAKE) --no-print-directory $(CLIENT)

$(CLIENT): $(CLIENT_SOURCES)
	cd web-client && npm run build
	@touch $@

.PHONY: test
test: test-rust test-client test-api test-browser test-interop ## Run every test; as root, install what they need (browsers)

.PHONY: test-rust
test-rust: client
	@scripts/setup.sh test
	cargo test --workspace --locked

.PHONY: test-client
test-client:
	@scripts/setup.sh run
	cd web-client && npm test

# All programs at once, for the tests that use them and for who runs them: features are unified over what is built, so
# another selection would build much of it again.
.PHONY: binaries
binaries: client
	@scripts/setup.sh rust
	cargo build --release --workspace --exclude vestibule-sim --exclude vestibule-visit --bins --locked

# The programs that tests start are made as the tests are: little is left to compile after `cargo test`, and what is asserted
# of the code holds for them, too.
.PHONY: test-binaries
test-binaries: client
	@scripts/setup.sh rust
	cargo build --profile test --workspace --bins --tests --locked

.PHONY: test-api
test-api: test-binaries
	@scripts/setup.sh test-api
	$(call api_tests,$(filter-out $(LOAD_TESTS),$(wildcard tests/api/*.test.mjs)),2)
	$(call api_tests,$(LOAD_TESTS),1)

.PHONY: test-browser
test-browser: test-binaries
	@scripts/setup.sh test
	$(call browser_tests,$(PAGE_TESTS),2)
	$(call browser_tests,$(filter-out $(PAGE_TESTS),$(notdir $(wildcard tests/browser/*.test.mjs))),1)

.PHONY: webrtc-peer
webrtc-peer:
	@scripts/setup.sh rust
	cargo build --release --locked --manifest-path $(WEBRTC_PEER) --target-dir '$(TARGET_DIR)/webrtc-peer'

# A few calls of peers that are not ours, each peer and each network once; all of them are `make interop`.
.PHONY: test-interop
test-interop: test-binaries
	@scripts/setup.sh interop
	$(call interop,debug) --short

.PHONY: interop
interop: binaries webrtc-peer ## Every peer with every other, in every network, into docs/interop.md
	@scripts/setup.sh interop
	$(call interop,release) --write docs/interop.md

.PHONY: test-sim
test-sim: ## 100,000 visits under every order of events, from seeds; SIM_SEEDS for more
	@scripts/setup.sh rust
	VESTIBULE_SIM_SEEDS=$(SIM_SEEDS) cargo test --release --locked --package vestibule-signaling --test sim

.PHONY: test-media
test-media: binaries webrtc-peer ## Conversations on bad lines, a minute each from three seeds, and all of the interoperability matrix
	@scripts/setup.sh interop
	$(call interop,release)
	cargo run --release --locked --package vestibule-sim --bin media-report -- --assert

.PHONY: media-report
media-report: ## The same, into docs/media.md with its charts
	@scripts/setup.sh rust
	cargo run --release --locked --package vestibule-sim --bin media-report -- --write docs/media.md

.PHONY: fallback-report
fallback-report: ## Visits on lines that fail, ten seeds each, into docs/fallback.md with a chart
	@scripts/setup.sh rust
	cargo run --release --locked --package vestibule-visit --bin fallback-report -- --write docs/fallback.md --assert

.PHONY: test-crash
test-crash: client ## Kill writers 200 times on each database, and look for halves
	@scripts/setup.sh test
	VESTIBULE_TEST_CRASH_ROUNDS=200 cargo test --locked --package vestibule --bin vestibule store::tests::crash

.PHONY: check
check: client ## Format, lints, dependency rules, types
	@scripts/setup.sh check
	cargo fmt --all --check
	cargo fmt --check --manifest-path $(WEBRTC_PEER)
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@# Nothing is linked, so libFuzzer itself is not compiled, either.
	CUSTOM_LIBFUZZER_PATH=./libFuzzer.a cargo check --manifest-path tests/fuzz/Cargo.toml --target-dir '$(TARGET_DIR)' --locked
	cargo deny --log-level error check bans licenses sources
	@for dir in $(JS_DIRS); do \
	    (set -x; cd "$$dir" && npm run --if-present check) || exit 1; \
	done

.PHONY: audit
audit: ## Known advisories for our dependencies; tells, never fails
	@scripts/setup.sh check
	-cargo deny check advisories
	-@for dir in $(JS_DIRS); do (set -x; cd "$$dir" && npm audit); done

.PHONY: bench
bench: ## Benchmarks of the path of a packet: without sockets, with them, and of what receivers report
	@scripts/setup.sh rust
	cargo bench --locked --package vestibule-media-engine --bench saturation --bench feedback --bench churn --bench forward

.PHONY: bench-api
bench-api: client ## Benchmark of the API: a visit and two links, by 50 clients, on both databases
	@scripts/setup.sh test
	cargo bench --locked --package vestibule --bench schedule

.PHONY: load
load: binaries ## Load the server that `make run` started; 20 visits, or LOAD_ARGS='rooms 10x4'
	@scripts/load.sh '$(TARGET_DIR)/release' '$(DATA)' $(LOAD_ARGS)

.PHONY: load-compare
load-compare: binaries ## What a packet costs here and at others, on this machine; LOAD_ARGS='--rounds 5' for more
	@scripts/setup.sh load-compare
	@scripts/load-compare.sh '$(TARGET_DIR)/release' $(LOAD_ARGS)

.PHONY: fuzz
fuzz: ## Each fuzz target for FUZZ_SECONDS (60)
	@scripts/setup.sh fuzz
	@scripts/fuzz.sh $(FUZZ_SECONDS)

.PHONY: setup
setup: ## Only the set-up for test, check and fuzz
	@scripts/setup.sh test
	@scripts/setup.sh test-api
	@scripts/setup.sh interop
	@scripts/setup.sh check
	@scripts/setup.sh fuzz
