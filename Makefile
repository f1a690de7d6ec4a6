# A thin front of Meson; the work is done by meson.build.
#   make          build/tacit               make run     a server on 127.0.0.1:2525 and a story that it tells
#   make check    every test; then under AddressSanitizer and UBSan all but measurements and the browser
#   make lint     cppcheck and clang-tidy
#   make fuzz     each parser, or FUZZ_TARGETS="config lane", FUZZ_SECONDS of processor time each
#   make valgrind unit tests and corpora under memcheck
#   make privacy  what the time of a reply tells about who exists
#   make bench    the same mail through tacit, Postfix, Exim and OpenSMTPD: doc/performance.md
#   make install  below PREFIX (/usr/local), configuration in SYSCONFDIR (/etc)
PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
FUZZ_SECONDS ?= 60
SOAK_SECONDS ?= 120
PROBES ?= 20000
TESTS_AT_ONCE ?= $(shell echo $$((2 * $$(nproc)))) # they mostly wait
MESON = meson
# Only what was named here and now: `make install` keeps what an earlier make was told. Meson forgets the one when the
# other changes.
named  = $(filter-out file,$(origin $(1)))
PLACES = $(if $(call named,PREFIX),--prefix=$(PREFIX) --sysconfdir=$(SYSCONFDIR),$(if \
           $(call named,SYSCONFDIR),--sysconfdir=$(SYSCONFDIR)))

all: build/tacit

deps:
	script/deps build run check

build/build.ninja:
	script/deps build
	$(MESON) setup build --prefix=$(PREFIX) --sysconfdir=$(SYSCONFDIR)

build/tacit: build/build.ninja FORCE
	ninja -C build

build-asan/build.ninja:
	script/deps build
	$(MESON) setup build-asan -Db_sanitize=address,undefined -Db_lundef=false

run: all
	script/deps run
	script/run-demo

# Once as built and once sanitized; what only measures times or shows pages in a browser, only as built.
check: all build-asan/build.ninja
	script/deps run check
	$(MESON) test -C build --print-errorlogs --num-processes $(TESTS_AT_ONCE)
	ninja -C build-asan
	$(MESON) test -C build-asan --print-errorlogs --num-processes $(TESTS_AT_ONCE) --timeout-multiplier 3

fuzz:
	script/deps build fuzz
	[ -e build-fuzz/build.ninja ] || CC=clang $(MESON) setup build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false
	ninja -C build-fuzz
	script/fuzz build-fuzz $(FUZZ_SECONDS) $(FUZZ_TARGETS)

soak: all
	TACIT=$(CURDIR)/build/tacit SOAK_SECONDS=$(SOAK_SECONDS) /usr/bin/python3 test/live/soak.py

# Time a stranger's probes, many more than in make check: PROBES=…, CHANNELS="RCPT DATA …", LEAK=ns puts a leak in.
privacy: all
	PYTHONDONTWRITEBYTECODE=1 TACIT=$(CURDIR)/build/tacit /usr/bin/python3 test/live/timing.py --probes $(PROBES) \
	  $(if $(LEAK),--leak $(LEAK)) $(CHANNELS)

# BENCH=full: longer runs and larger queues; BENCH_ROUNDS, BENCH_DIR and more: bench/bench.py.
bench: all
	script/deps bench
	script/bench

# The same, and its figures and plots into doc/performance.md.
bench-doc: bench
	script/bench-doc

lint: all
	script/deps lint
	script/lint build

# The setup is there only if valgrind was when the build was set up.
valgrind: all
	script/deps valgrind
	$(MESON) setup --reconfigure build > build/reconfigure.log
	$(MESON) test -C build --setup valgrind --print-errorlogs

format:
	git ls-files '*.c' '*.h' | xargs clang-format -i

install: build/tacit
	$(if $(strip $(PLACES)),$(MESON) configure build $(strip $(PLACES)) && ninja -C build)
	$(MESON) install -C build --no-rebuild

clean:
	rm -rf build build-asan build-fuzz run

.PHONY: all deps run check fuzz soak lint valgrind format bench bench-doc install clean FORCE
FORCE:
