# The front door: `make` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
CARGO ?= cargo
ARGS ?=
DEMO ?=
SEEDS ?= 1000
TIME ?= 60
ROUNDS ?= 100
SEED ?=
BIN := $(or $(CARGO_TARGET_DIR),target)/debug
BENCH = $(or $(CARGO_TARGET_DIR),target)/release/aevon-bench
QUICK ?=
TOOLS := .aevon/tools/bin
RUNNER := $(if $(shell command -v cargo-nextest),nextest run,test)
.PHONY: help run test sim crashes fuzz contract explorer examples check fmt lint docs site tutorial reference chart stack deny instructions build bench bench-soak bench-growth flights clean cargo bins tools

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start everything on this machine, with its own Postgres (DEMO=1 streams events, ARGS="...")
	@[ -x $(BIN)/aevon ] || echo "aevon: the first build takes 10 to 20 minutes on two cores; \`make test\` uses the same"
	@$(MAKE) --no-print-directory -s bins
	@$(BIN)/aevon dev $(if $(DEMO),--demo) $(ARGS)

test: bins ## run all tests against a private Postgres
	@$(BIN)/with-postgres -- sh -c '$(CARGO) test -q --doc --workspace && $(CARGO) $(RUNNER) --workspace $(ARGS)'

sim: bins ## simulate the whole system (SEEDS=1000, SEEDS=2000..4000, ARGS="--fault every")
	@$(BIN)/with-postgres -- $(BIN)/aevon-sim $(SEEDS) $(ARGS)

crashes: bins ## kill processes of ours and of Postgres under load (ROUNDS=100, SEED=7)
	@AEVON_CRASH_ROUNDS=$(ROUNDS) AEVON_CRASH_SEED=$(SEED) $(CARGO) test -q --workspace --test system -- crashes::no_event --nocapture

fuzz: cargo ## feed parsers what may break them, coverage-guided (TIME=60 seconds each); with nightly Rust
	@command -v cargo-fuzz > /dev/null || $(CARGO) install -q --locked cargo-fuzz
	@for target in $(notdir $(wildcard crates/aevon-fuzz/fuzz/corpus/*)); do \
	  mkdir -p target/fuzz/$$target && $(CARGO) +nightly fuzz run --fuzz-dir crates/aevon-fuzz/fuzz --target-dir target/fuzz/build $$target \
	    target/fuzz/$$target crates/aevon-fuzz/fuzz/corpus/$$target -- -max_total_time=$(TIME) -timeout=10 -rss_limit_mb=4096 || exit 1; done

contract: bins tools ## send services what their OpenAPI documents allow, and what they don't (TIME=60 seconds each)
	@$(BIN)/with-postgres -- $(TOOLS)/python deploy/contract.py $(BIN) $(TIME)

explorer: bins ## build the page of the explorer anew, and try it in a browser; needs Node, and Chromium
	@services/projection-svc/explorer/check.sh $(BIN)

examples: bins ## make clients of the OpenAPI document, and drive each example for real (ARGS=nginx); needs Node
	@examples/check.sh $(BIN) $(ARGS)

check: fmt lint docs ## check format, lints and documentation

fmt: cargo
	@$(CARGO) fmt --all --check

lint: cargo
	@$(CARGO) clippy --workspace --all-targets -- -D warnings

docs: cargo
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

site: ## make a site of docs/ in .aevon/site; a dead link fails
	@deploy/tools.sh --python
	@$(TOOLS)/mkdocs build --clean

tutorial: bins ## do what docs/tutorial.md and docs/how-to/ say, and compare what comes of it
	@python3 deploy/tutorial.py $(BIN) docs/tutorial.md
	@for page in $(filter-out %/index.md,$(wildcard docs/how-to/*.md)); do \
	  $(BIN)/with-postgres -- python3 deploy/tutorial.py $(BIN) $$page || exit 1; done

reference: bins ## write what docs/ has of settings, metrics, verbs and routes anew
	@for page in settings.md metrics.md cli.md openapi.json; do $(BIN)/aevon $${page%.*} > docs/$$page.new && mv docs/$$page.new docs/$$page || exit 1; done

chart: bins tools ## render and check the Helm chart (ARGS="--update" writes its golden files)
	@$(TOOLS)/python helm/check.py $(BIN) $(ARGS)

stack: bins tools ## check images, compose, alerts, dashboard and workflows, and run them here; as root
	@$(TOOLS)/python deploy/check.py
	@for part in stack telemetry; do $(BIN)/with-postgres -- $(TOOLS)/python deploy/$$part.py $(BIN) || exit 1; done

deny: cargo tools ## check the licences and sources of what is depended on
	@$(TOOLS)/cargo-deny --locked --log-level error check licenses bans sources

instructions: cargo ## count instructions of hot functions against their baseline (ARGS=--update writes it)
	@crates/aevon-hot/needs.sh
	@$(CARGO) build --release --workspace --bin aevon-hot
	@$(or $(CARGO_TARGET_DIR),target)/release/aevon-hot check $(ARGS)

build: cargo ## build the release programs
	@$(CARGO) build --release --workspace --bins

bench: build ## measure every goal beside its limit (QUICK=1; ARGS="read --seconds 3" one section)
	@$(BENCH) $(or $(ARGS),goals $(if $(QUICK),--quick))

bench-soak: build ## ten minutes of everything at once (ARGS="--minutes 10 --rate 60000")
	@$(BENCH) soak $(ARGS)

bench-growth: build ## rates and latencies as a log grows (ARGS="--events 1000000,50000000")
	@$(BENCH) growth $(ARGS)

flights: ## play the example with flights (ARGS="...")
	@python3 examples/flights/flights.py $(ARGS)

clean: ## remove the local databases and downloads; builds stay
	@[ ! -f .aevon/elsewhere ] || grep '/aevon-[0-9a-f]*$$' .aevon/elsewhere | while read -r dir; do rm -rf -- "$$dir"; done
	@rm -rf .aevon

cargo:
	@command -v $(CARGO) > /dev/null || { echo "aevon: cargo is missing; install Rust 1.89 or newer with rustup" >&2; exit 1; }

bins: cargo
	@$(CARGO) build --workspace --bins

tools:
	@deploy/tools.sh
