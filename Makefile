# `make` lists the targets. Each one that needs something installed installs it first (tests/setup.sh), once.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo demo-serve build test test-rust test-sdk optillm lint fmt doc deny bench fuzz soak hostile audit image-steps clean

FUZZ_SECONDS ?= 60
# CI says --dev: a build without optimization is there much sooner, and a short run needs no speed.
FUZZ_FLAGS ?=
FUZZ_DIR := tests/fuzz
SOAK_MINUTES ?= 10
# Empty for the dev build.
SOAK_FLAGS ?= --release
export PATH := $(PATH):$(HOME)/.cargo/bin

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A dev build: it is there in half the time of a release build, which links with LTO on one core, and nobody measures a demo.
demo: ## start the gateway with its Bedrock stand-in and stream one chat through it with the OpenAI SDK
	@tests/setup.sh system python
	cargo build --locked
	.venv/bin/python tests/sdk/python/gateway.py .venv/bin/python tests/sdk/demo.py

demo-serve: ## the same gateway in the foreground, on 127.0.0.1:8080 (or ADIT_LISTEN), until Ctrl-C
	@tests/setup.sh system
	cargo run --locked -- demo

build: ## release binary: target/release/adit
	@tests/setup.sh system
	cargo build --release --locked

test: ## all tests: Rust, curl, the Python and Node SDKs against the built binary, and what deploys it
	@tests/setup.sh
	@tests/run.sh

test-rust: ## only the Rust tests
	@tests/setup.sh system redis
	@tests/run.sh rust

test-sdk: ## only the tests from outside: curl, Python, Node
	@tests/setup.sh
	@tests/run.sh curl python node

# Not part of `make test`: the real server and what it imports are large.
optillm: ## approaches with a real OptiLLM server beside the gateway, over the sandbox
	@tests/setup.sh system python optillm
	cargo build --locked
	.venv/bin/python -m pytest tests/sdk/python/test_optillm.py -p no:cacheprovider

lint: fmt deny ## formatting, clippy, docs and the dependency policy, all warnings being errors
	@tests/setup.sh system
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

fmt:
	cargo fmt --check

# Licences, sources and banned crates. The advisories need their database from the network: `cargo deny check`.
deny:
	@if command -v cargo-deny >/dev/null; then cargo deny --offline check bans licenses sources; else echo 'deny: cargo-deny is not installed, skipped'; fi

bench: ## criterion benches
	@tests/setup.sh system
	cargo bench --locked

# No sanitizer: the crate has no unsafe code for one to watch, and the dependencies build in half the time.
fuzz: ## every fuzz target for FUZZ_SECONDS (60); needs a nightly toolchain, installs cargo-fuzz
	@tests/setup.sh system
	@cargo +nightly --version >/dev/null 2>&1 || { echo 'fuzz: no nightly toolchain: rustup toolchain install nightly'; exit 1; }
	@command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
	@set -e; targets=$$(cargo +nightly fuzz list --fuzz-dir $(FUZZ_DIR)); \
	for target in $$targets; do \
		echo "fuzz: $$target for $(FUZZ_SECONDS) s"; \
		cargo +nightly fuzz run --fuzz-dir $(FUZZ_DIR) --sanitizer none $(FUZZ_FLAGS) "$$target" -- -max_total_time=$(FUZZ_SECONDS) -max_len=65536 -print_final_stats=0; \
	done; echo "fuzz: $$(echo $$targets | wc -w) targets, no crash"

# Not part of `make test`: it is a release build from nothing.
image-steps: ## perform the steps of the Dockerfile without Docker, and run what comes out as the image would
	@tests/setup.sh system python
	.venv/bin/python tests/deploy/dockerfile_steps.py

# Some 5,000 sockets in the gateway, and as many in the test, which plays both sides of it.
soak: ## 2,000 idle streams and 200 stuck readers for SOAK_MINUTES (10): memory for each, growth, files left behind
	@tests/setup.sh system
	@ulimit -n 8192 && SOAK_MINUTES=$(SOAK_MINUTES) cargo test --locked $(SOAK_FLAGS) --test soak -- --ignored --nocapture

hostile: ## 10,000 generated bad requests on raw sockets (HOSTILE_REQUESTS, HOSTILE_SEED): no crash, no hang, nobody gets another's answer
	@tests/setup.sh system
	@HOSTILE_REQUESTS=$${HOSTILE_REQUESTS:-10000} cargo test --locked --test hostile -- --nocapture thousands 2>&1 | grep -av ' DEBUG '; exit $${PIPESTATUS[0]}

audit: ## 100,000 requests of every fate through rotation of the audit log (AUDIT_REQUESTS): a line for each, and the tokens of the metrics
	@tests/setup.sh system
	@AUDIT_REQUESTS=$${AUDIT_REQUESTS:-100000} cargo test --locked --test audit -- --nocapture every_request 2>&1 | grep -av ' DEBUG \| INFO '; exit $${PIPESTATUS[0]}

clean: ## remove what was built and installed here
	cargo clean
	rm -rf .venv .venv-litellm .venv-optillm tests/sdk/node/node_modules
