# What a newcomer types. `make demo` and `make test` install what they need and need nothing running.
.DEFAULT_GOAL := help
.PHONY: help setup setup-kafka demo test simulate e2e e2e-rdkafka e2e-tools e2e-cluster soak lint generate bench bench-operator bench-kafka bench-handoff bench-cluster clean

CARGO ?= cargo
# What is built once is built faster so, and takes half of the disk; `cargo` alone, as one types it again and again, keeps its own way.
export CARGO_INCREMENTAL ?= 0
# A test binary that hangs is aborted, and says in which test.
BOUNDED := --config 'target."cfg(unix)".runner="scripts/bounded"'
# Most tests wait more than they compute.
THREADS := RUST_TEST_THREADS=$(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
# Benchmarks optimise our own crates too; dependencies keep their artifacts.
BENCH_ENV := CARGO_PROFILE_DEV_OPT_LEVEL=3 CARGO_PROFILE_DEV_OVERFLOW_CHECKS=false

help: ## Show this
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## Install the linker that the build uses, where it is missing (Debian, Ubuntu)
	@scripts/setup

setup-kafka:
	@scripts/setup-kafka

demo: setup ## Half a million taxi trips, counted by borough every five seconds
	@scripts/demo

test: setup lint ## Formatting, lints, tests; generated files; examples; commands in the documents
	$(THREADS) $(CARGO) $(BOUNDED) test --workspace --all-targets --no-fail-fast
	$(CARGO) test --workspace --doc

SEEDS ?= 10000
SEED ?= 1
simulate: setup ## Play SEEDS=10000 histories of workers in which things go wrong (or FIRST..=LAST); SEED=17 plays one
ifeq ($(origin SEED),command line)
	THALWEG_SEED=$(SEED) $(CARGO) test --workspace --bin thalweg -- \
		--exact cluster::simulation::one_history --ignored --nocapture
else
	THALWEG_SEEDS=$(SEEDS) $(CARGO) test --workspace --bin thalweg -- \
		--exact cluster::simulation::whatever_goes_wrong_the_output_is_that_of_a_worker_to_which_nothing_happens --nocapture
endif

e2e: setup setup-kafka ## What needs a real Kafka, and a real Kubernetes (as root): kills, outages, bad input, TLS, lost nodes
	@scripts/e2e

RDKAFKA := --features thalweg/rdkafka
e2e-rdkafka: setup setup-kafka ## What needs a real Kafka, once more through librdkafka (Debian's make, libssl-dev, zlib1g-dev)
	$(CARGO) test --workspace --all-targets --no-run $(RDKAFKA)
	$(CARGO) $(BOUNDED) test --workspace $(RDKAFKA) --test kafka --test kafka_client -- --test-threads 4

e2e-tools: setup ## What needs a browser or a Prometheus (Debian's chromium and prometheus are installed)
	@command -v chromium prometheus promtool > /dev/null || apt-get install -y --no-install-recommends chromium prometheus
	$(CARGO) test --workspace --all-targets --no-run
	$(CARGO) test --workspace --test fake_api -- --ignored page
	$(CARGO) test --workspace --bin thalweg -- --ignored record_trace

e2e-cluster: setup setup-kafka ## All that needs a Kubernetes, the autoscaler too (as root; builds it once, some six minutes)
	e2e/cluster/test

MINUTES ?= 10
soak: setup setup-kafka ## Workers under fire for MINUTES=10, faults drawn from SEED=1; prints what was lost: {…"clean": true}
	@scripts/s3-server install
	@$(CARGO) test --workspace --all-targets --no-run
	@SOAK_MINUTES=$(MINUTES) SOAK_SEED=$(SEED) $(CARGO) --config 'target."cfg(unix)".runner="scripts/soak"' \
		test --workspace --test soak

lint: setup ## Formatting and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --workspace --test kafka --test kafka_client --test cluster --test workers --test soak --test handoff -- -D warnings

generate: setup ## Write what is generated: the resource definitions of the chart, docs/reference
	$(CARGO) test --workspace --test generated --no-run
	$${CARGO_TARGET_DIR:-target}/debug/crdgen charts/thalweg/templates/crds crds/src/definition/schemas.json
	THALWEG_WRITE=1 $(CARGO) test --workspace --bin thalweg reference
	THALWEG_WRITE=1 $(CARGO) test --workspace --test operator_reference
	THALWEG_WRITE=1 $(CARGO) test --workspace --test traces

bench: setup ## Measure against Flink and against ourselves; prints and writes target/bench.json and bench-own.json
	$(BENCH_ENV) scripts/bench

bench-operator: setup ## 2,000 pipelines on a real API server: time, memory, writes, as JSON (builds Kubernetes once)
	@scripts/bench-operator

bench-kafka: setup setup-kafka ## Measure against Kafka Streams on a real broker; prints and writes target/bench-kafka.json
	$(BENCH_ENV) scripts/bench-kafka

bench-handoff: setup ## How long a unit with 150 MB of state pauses while it is handed over (HANDOFF_STATE=s3: in a bucket)
	@scripts/s3-server install
	@$(CARGO) test --workspace --all-targets --no-run
	@E2E_HOST=127.0.0.1 $(CARGO) test --workspace --test handoff

bench-cluster: setup setup-kafka ## How long units are silent whose pod is deleted, or that move: p99 of ten times each (as root)
	e2e/cluster/test --ignored

clean: ## Remove what was built
	$(CARGO) clean
