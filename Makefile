# A thin front for Meson: every build lives below build/, the rules live in meson.build and tools/.
#
#   make            release build: build/release/src/holdfast
#   make check      install what the tests need, build and run everything; the last line is "N passed, N failed"
#   make demo       install what it needs, build a release, and show one database lost and found again
#   make bench      figures against peers measured in the same run      (BENCH_ARGS="--size 500M --only full,restore")
#   make fuzz       every fuzz target under libFuzzer                   (FUZZ_SECONDS=20 each)
#   make soak       the long form of the tests                          (SOAK_MINUTES=60 SOAK_SEED=100 SOAK_ROUNDS=200)
#   make asan|tsan  sanitizer builds in build/asan, build/tsan          (then: meson test -C build/asan)
#   make tidy|format|check-fast|install|clean

.DEFAULT_GOAL := all
.PHONY: all check check-fast demo bench fuzz soak asan tsan tidy format install clean

PREFIX ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 20
SOAK_MINUTES ?= 60
SOAK_SEED ?= 100
SOAK_ROUNDS ?= 200
MESON ?= meson
# Fails with what to do when the tools are missing, instead of "command not found".
NEED_TOOLS = command -v $(MESON) >/dev/null 2>&1 || { echo "meson is missing: run tools/install-deps build" >&2; exit 1; }
# Configures a directory once; Meson itself notices later changes of its files.
define configure
	@$(NEED_TOOLS)
	@test -f $(1)/build.ninja || $(2) $(MESON) setup $(1) --prefix=$(PREFIX) $(3)
endef

all:
	$(call configure,build/release,,--buildtype=release)
	$(MESON) compile -C build/release

check:
	tools/install-deps build test
	tools/run-tests

# What to run before a commit: no sanitizers, no long tests.
check-fast:
	tools/run-tests --only release,check

demo:
	tools/install-deps build demo
	$(MAKE) all
	tools/demo --holdfast build/release/src/holdfast --tools build/release/bench

bench:
	tools/install-deps build bench
	$(MAKE) all
	python3 bench/run.py --build build/release $(BENCH_ARGS)

fuzz:
	tools/install-deps build test
	tools/run-tests --only fuzz --fuzz-seconds $(FUZZ_SECONDS)

soak:
	tools/install-deps build test
	SOAK_MINUTES=$(SOAK_MINUTES) SOAK_SEED=$(SOAK_SEED) SOAK_ROUNDS=$(SOAK_ROUNDS) tools/soak

asan:
	$(call configure,build/asan,CC=clang-14,-Db_sanitize=address$(comma)undefined -Db_lundef=false -Dfuzz=replay)
	$(MESON) compile -C build/asan

tsan:
	$(call configure,build/tsan,CC=clang-14,-Db_sanitize=thread -Db_lundef=false)
	$(MESON) compile -C build/tsan

tidy:
	tools/install-deps build test
	tools/tidy

format:
	tools/format

install: all
	DESTDIR=$(DESTDIR) $(MESON) install -C build/release --no-rebuild

clean:
	rm -rf build

comma := ,
