# The front door: `make` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
CARGO ?= cargo
ARGS ?=
SEEDS ?= 1000
BIN := $(or $(CARGO_TARGET_DIR),target)/debug
RUNNER := $(if $(shell command -v cargo-nextest),nextest run,test)
.PHONY: help run test sim check fmt lint docs reference build bench flights clean cargo

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: cargo ## start everything on this machine, with its own Postgres (ARGS="...")
	@echo "aevon: the first build takes a few minutes"
	@$(CARGO) run --release -p aevon -- dev $(ARGS)

test: cargo ## run all tests against a private Postgres
	@$(CARGO) build --workspace --bins
	@$(BIN)/with-postgres -- sh -c '$(CARGO) test -q --doc --workspace && $(CARGO) $(RUNNER) --workspace $(ARGS)'

sim: cargo ## simulate the whole system (SEEDS=1000, SEEDS=2000..4000, ARGS="--fault every")
	@$(CARGO) build -q --workspace --bins
	@$(BIN)/with-postgres -- $(BIN)/aevon-sim $(SEEDS) $(ARGS)

check: fmt lint docs ## check format, lints and documentation

fmt: cargo
	@$(CARGO) fmt --all --check

lint: cargo
	@$(CARGO) clippy --workspace --all-targets -- -D warnings

docs: cargo
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

reference: cargo ## write docs/settings.md, docs/metrics.md and docs/openapi.json anew
	@for page in settings.md metrics.md openapi.json; do $(CARGO) run -q -p aevon -- $${page%.*} > docs/$$page.new && mv docs/$$page.new docs/$$page || exit 1; done

build: cargo ## build the release programs
	@$(CARGO) build --release --workspace --bins

bench: build ## measure writing, sweeping and reading (ARGS="read --seconds 3")
	@$(or $(CARGO_TARGET_DIR),target)/release/aevon-bench $(or $(ARGS),all)

flights: ## play the example with flights (ARGS="...")
	@python3 examples/flights/flights.py $(ARGS)

clean: ## remove the local databases and downloads; builds stay
	@[ ! -f .aevon/elsewhere ] || grep '/aevon-[0-9a-f]*$$' .aevon/elsewhere | while read -r dir; do rm -rf -- "$$dir"; done
	@rm -rf .aevon

cargo:
	@command -v $(CARGO) > /dev/null || { echo "aevon: cargo is missing; install Rust 1.89 or newer with rustup" >&2; exit 1; }
