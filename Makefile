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

.PHONY: help demo test check bench install-packages clean

help:
	@echo 'make demo              bake, plan, apply and run jobs on real nodes of this machine'
	@echo 'make test              every test, those on real nodes included'
	@echo 'make check             format, lints and docs'
	@echo 'make bench             the kernels against their peers, one table; BENCH="pi knn" for some of it'
	@echo 'make install-packages  what packages.txt lists'
	@echo 'make clean             what cargo built'

demo: install-packages
	$(CARGO) build --release --bin ewulf
	$(SUDO) $(EWULF) demo

# Real nodes, bridges and mounts: one test binary at a time, and within it as its tests allow.
test: install-packages
	@status=0; $(RUNNER) $(CARGO) test --release $(EVERYTHING) || status=$$?; \
	$(SUDO) $(EWULF) --local-state $(TEST_CLOUD) local reset --yes >/dev/null 2>&1; exit $$status

# The profile of `make test`, so that what both need is built once.
check: install-packages
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release $(EVERYTHING) --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --release --no-deps $(EVERYTHING)

# One rank a core and nothing beside it gives the figures their meaning: run it on a quiet machine.
bench: install-packages
	@.ci/packages src/kernels/benches/packages.txt
	$(CARGO) bench -p ewulf-kernels --features mpi -- $(BENCH)

install-packages:
	@.ci/packages

clean:
	$(CARGO) clean
