# surefoot: build, test, lint, install. `make help` lists the targets; everything made lands in build/.
# Overridable: CC CFLAGS LDFLAGS PREFIX DESTDIR
#   LUA    versions to install for (make install LUA='5.1 5.3'); what is there for 5.1 serves LuaJIT and nginx, too
# and for the tests
#   SPEC   spec files or folders (make test SPEC=spec/policy)
#   ARGS   options for busted (make test ARGS='--filter backoff')
# V=1 shows the compiler's commands.

CC = gcc
CFLAGS = -O2 -g
LDFLAGS =
PREFIX = /usr/local
DESTDIR =

# Some recipes go elsewhere: where to install must mean the same in all of them.
absolute = $(if $(filter-out /%,$(firstword $(1))),$(CURDIR)/)$(1)
override PREFIX := $(call absolute,$(PREFIX))
override DESTDIR := $(call absolute,$(DESTDIR))

LUA = 5.4 $(if $(LUAJIT)$(LUA51),5.1)
SPEC = $(filter-out spec/hard,$(patsubst %/,%,$(wildcard spec/*/))) $(wildcard spec/*_spec.lua)
ARGS =
FUZZ_SECONDS = 60
STRESS = 60

# What Debian 12 and 13 need; of two names either will do, and the first that there is is installed. Nothing is enabled
# or configured by us (Debian's nginx may start itself on port 80).
PACKAGES = gcc libc6-dev make pkg-config git ca-certificates curl openssl procps \
  lua5.4 liblua5.4-dev luajit2|luajit libluajit2-5.1-dev|libluajit-5.1-dev libcurl4-openssl-dev lua-cjson lua-argparse \
  lua5.1 liblua5.1-0-dev lua5.2 liblua5.2-dev lua5.3 liblua5.3-dev lua-cqueues lua-copas lua-luv neovim \
  lua-busted lua-check lua-socket luarocks nginx libnginx-mod-http-lua lua-resty-core lua-resty-lrucache wrk \
  clang libclang-rt-dev|libclang-rt-14-dev clang-format clang-tidy cppcheck valgrind strace tmux groff-base

# Big, and asked for by few specs; the others are run without them.
OPTIONAL = chromium

WARNINGS = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wundef -Wpointer-arith -Wmissing-prototypes -Werror
CURL := $(shell pkg-config --cflags libcurl 2>/dev/null)
COMPILE = -std=gnu11 -fPIC -fvisibility=hidden $(WARNINGS) $(CURL)
LINK = -shared -Wl,-z,nodelete
LIBRARIES = -lcurl -lm -lpthread
LUA54 := $(shell pkg-config --cflags lua5.4 2>/dev/null || echo -I/usr/include/lua5.4)
LUAJIT := $(shell pkg-config --cflags luajit 2>/dev/null)
LUA51 := $(shell pkg-config --cflags lua5.1 2>/dev/null)
LUA52 := $(shell pkg-config --cflags lua5.2 2>/dev/null)
LUA53 := $(shell pkg-config --cflags lua5.3 2>/dev/null)
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

SOURCES := $(sort $(wildcard csrc/*/*.c))
PURE := $(sort $(wildcard csrc/policy/*.c csrc/wire/*.c))
FLOORS := $(filter-out csrc/binding/%,$(SOURCES))
TESTS := $(sort $(wildcard spec/*/*_test.c))
LOADS := $(sort $(wildcard spec/bench/*.c))
# The bench of lines takes long, and has a target of its own.
BENCHES := $(filter-out spec/bench/lines_bench.lua,$(wildcard spec/bench/*_bench.lua))
FUZZERS := $(sort $(wildcard spec/fuzz/*_fuzz.c))
FORMATTED := $(sort $(wildcard csrc/*/*.[ch] spec/*/*.[ch]))
VARIANTS := lua5.4 $(if $(LUAJIT),luajit)
OTHERS := $(foreach one,5.1 5.2 5.3,$(if $(LUA$(subst .,,$(one))),lua$(one)))
say = $(if $(V),,@echo '  $(1) $@';)
SUITE = lua5.4 spec/support/suite.lua

all: $(VARIANTS:%=build/%/surefoot/core.so) build/surefoot ## build the module for Lua 5.4 and LuaJIT, and the command line

# $(1) variant, $(2) Lua's include flags, $(3) flags for compiling and linking
define variant
build/$(1)/surefoot/core.so: $(SOURCES:csrc/%.c=build/$(1)/obj/%.o) build/$(1)/commands
	@mkdir -p $$(@D)
	$$(call say,LINK)$$(CC) $$(LINK) $$(CFLAGS) $(3) $$(LDFLAGS) -o $$@ $$(filter %.o,$$^) $$(LIBRARIES)

build/$(1)/obj/%.o: csrc/%.c build/$(1)/commands
	@mkdir -p $$(@D)
	$$(call say,CC)$$(CC) $$(COMPILE) $(2) $$(CFLAGS) $(3) -MMD -MP -c -o $$@ $$<

# Tests in C run on all floors below the binding; headers that they share hold more than each one uses.
build/$(1)/test/%: spec/%.c $(FLOORS:csrc/%.c=build/$(1)/obj/%.o) build/$(1)/commands
	@mkdir -p $$(@D)
	$$(call say,LINK)$$(CC) $$(COMPILE) -Wno-unused-function $$(CFLAGS) $(3) $$(LDFLAGS) -MMD -MP -o $$@ $$(filter %.c %.o,$$^) $$(LIBRARIES)

# Changes when a command or the list of sources does; everything of the variant is then made anew.
build/$(1)/commands: FORCE
	@mkdir -p $$(@D)
	@echo '$$(CC) $$(COMPILE) $(2) $$(CFLAGS) $(3) $$(LINK) $$(LDFLAGS) $$(LIBRARIES) $$(SOURCES)' > $$@.new
	@cmp -s $$@ $$@.new && rm $$@.new || mv $$@.new $$@

-include $(SOURCES:csrc/%.c=build/$(1)/obj/%.d) $(patsubst spec/%.c,build/$(1)/test/%.d,$(TESTS) $(LOADS))
endef

$(eval $(call variant,lua5.4,$(LUA54),))
$(eval $(call variant,luajit,$(LUAJIT),))
$(eval $(call variant,lua5.1,$(LUA51),))
$(eval $(call variant,lua5.2,$(LUA52),))
$(eval $(call variant,lua5.3,$(LUA53),))
$(eval $(call variant,asan,$(LUA54),$(SANITIZE) -DSF_FAULTS))
$(eval $(call variant,asan-luajit,$(LUAJIT),$(SANITIZE) -DSF_FAULTS))

# The interpreter for the build with sanitizers. Their library must be loaded first, but only here: programs that link
# libcurl hang in setlocale under it, so the processes that this one starts go without.
build/asan/lua5.4: build/asan/surefoot/core.so Makefile
	@echo '#include <stdlib.h>' > $@.c
	@echo '__attribute__((constructor)) static void alone(void) { unsetenv("LD_PRELOAD"); }' >> $@.c
	@$(CC) -shared -fPIC -o $@.so $@.c
	@printf '%s\n' '#!/bin/sh' \
	  'export SUREFOOT_BUILD=build/asan UBSAN_OPTIONS=print_stacktrace=1' \
	  "exec env LD_PRELOAD='$$($(CC) -print-file-name=libasan.so) $(CURDIR)/$@.so' lua5.4 \"\$$@\"" > $@
	@chmod +x $@

# What lets Lua's own memory end, in the specs of spec/hard.
build/asan/spec/hard/failing.so: spec/hard/failing.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(COMPILE) $(LUA54) $(LINK) -O1 -g -o $@ $<

build/surefoot: Makefile
	@mkdir -p $(@D)
	@printf '%s\n' '#!/usr/bin/env lua5.4' \
	  'package.path = "$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;" .. package.path' \
	  'package.cpath = "$(CURDIR)/build/lua5.4/?.so;" .. package.cpath' \
	  'require "surefoot.cli.program"' > $@
	@chmod +x $@

# The machine may lack everything until `deps` has run, so these look around in a second make.
demo test test-all lint format asan bench bench-lines simulate test-hard: deps
	@$(MAKE) --no-print-directory run-$@

demo: ## install what is missing, build, start the simulated provider, show the main job
test: ## install what is missing, build, run all specs on Lua 5.4 and LuaJIT
test-all: ## the same on all of Lua 5.1 to 5.4 and LuaJIT
lint: ## luacheck, clang-format, clang-tidy, cppcheck
format: ## lay out the C sources
asan: ## the specs under AddressSanitizer and UBSan
bench: ## the benchmarks of spec/bench
bench-lines: ## many lines against one, the story's table: three quarters of an hour (ARGS=--quick: seconds)
simulate: ## surefoot simulate: fleets of clients on modelled lines, plots in build/simulate (ARGS='S1 S5': these)
test-hard: ## the long runs: fuzzers, ThreadSanitizer, failing allocator, nginx, greedy collector, valgrind

run-demo: all
	@lua5.4 -l spec.helper examples/demo.lua

run-test: all $(TESTS:spec/%.c=build/lua5.4/test/%)
	@$(SUITE) $(VARIANTS) -- $(SPEC) $(ARGS)

run-test-all: all $(OTHERS:%=build/%/surefoot/core.so) $(TESTS:spec/%.c=build/lua5.4/test/%)
	@$(foreach one,$(filter-out $(OTHERS),lua5.1 lua5.2 lua5.3),echo 'left out, since its headers are missing: $(one)';) \
	  SUREFOOT_ALL=1 $(SUITE) $(VARIANTS) $(OTHERS) -- $(SPEC) $(ARGS)

run-asan: build/asan/lua5.4 $(TESTS:spec/%.c=build/asan/test/%)
	@$(SUITE) $(CURDIR)/build/asan/lua5.4 -- $(SPEC) --exclude-tags=once $(ARGS)

run-bench: all $(LOADS:spec/%.c=build/lua5.4/test/%)
	@for bench in $(or $(BENCHES),$(error spec/bench holds no *_bench.lua)); do \
	  echo "== $$bench"; lua5.4 -l spec.helper $$bench || exit 1; done

run-bench-lines: all
	@lua5.4 -l spec.helper spec/bench/lines_bench.lua $(ARGS)

run-simulate: all
	@$(lastword $(VARIANTS)) -l spec.helper lua/surefoot/cli/program.lua simulate --svg build/simulate \
	  --json build/simulate/table.json $(ARGS)

run-lint:
	luacheck --quiet --no-color .
	clang-format --dry-run -Werror $(FORMATTED)
	cppcheck --quiet --std=c11 --enable=warning,portability,performance --inline-suppr --error-exitcode=1 \
	  --suppress=normalCheckLevelMaxBranches csrc
	clang-tidy --quiet $(SOURCES) -- $(COMPILE) $(LUA54) -include spec/support/lint.h
	clang $(COMPILE) -Icsrc -fsyntax-only $(FUZZERS)

run-format:
	clang-format -i $(FORMATTED)

reference: all ## write the configuration reference into the README
	@lua5.4 -l spec.helper spec/support/reference.lua

build/fuzz/%: spec/fuzz/%.c $(PURE) $(wildcard csrc/*/*.h)
	@mkdir -p $@_corpus
	$(call say,CC)clang $(COMPILE) -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Icsrc -o $@ $< $(PURE) -lm

run-fuzz: $(FUZZERS:spec/fuzz/%.c=build/fuzz/%)
	@for fuzzer in $(FUZZERS:spec/fuzz/%.c=%); do \
	  echo "== $$fuzzer, $(FUZZ_SECONDS) s"; \
	  build/fuzz/$$fuzzer -max_total_time=$(FUZZ_SECONDS) -verbosity=0 -artifact_prefix=build/fuzz/ \
	    build/fuzz/$${fuzzer}_corpus $$(ls -d spec/fuzz/corpus/$$fuzzer 2>/dev/null) || exit 1; done

run-test-hard: run-fuzz run-tsan run-stress run-failing run-asan-nginx run-greedy run-valgrind

# The only code with two threads of its own is the doorbell; a region may be shared by threads of the program's.
build/tsan/%: spec/%.c $(FLOORS) $(wildcard csrc/*/*.h spec/engine/*.h) Makefile
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(COMPILE) -Wno-unused-function -Wno-tsan -O1 -g -fsanitize=thread -o $@ $< $(FLOORS) $(LIBRARIES)

run-tsan: build/tsan/engine/doorbell_test build/tsan/share/region_test build/tsan/share/stress_test
	@echo "== threads under ThreadSanitizer: the doorbell's, and those that share a region"
	@TSAN_OPTIONS=halt_on_error=1 setarch -R build/tsan/engine/doorbell_test
	@for test in region stress; do TSAN_OPTIONS=halt_on_error=1 setarch -R build/tsan/share/$${test}_test threads || exit 1; done

run-stress: all $(TESTS:spec/%.c=build/lua5.4/test/%)
	@echo "== processes that share an allowance and are killed"
	@SUREFOOT_STRESS=$(STRESS) build/lua5.4/test/share/stress_test

run-asan-nginx: all build/asan-luajit/surefoot/core.so
	@echo "== nginx with a module under sanitizers"
	@SUREFOOT_NGINX_BUILD=build/asan-luajit SUREFOOT_NGINX_PRELOAD=$$($(CC) -print-file-name=libasan.so) \
	  $(SUITE) lua5.4 -- spec/nginx $(ARGS)

run-failing: all build/asan/lua5.4 build/asan/spec/hard/failing.so $(TESTS:spec/%.c=build/asan/test/%)
	@for script in $(wildcard spec/hard/*.sh); do echo "== $$script"; bash $$script || exit 1; done
	@echo "== long specs, sanitizers and failing allocations"
	@$(if $(wildcard spec/hard/*_spec.lua),$(SUITE) $(CURDIR)/build/asan/lua5.4 -- spec/hard,:)

run-greedy: all build/asan/lua5.4 $(TESTS:spec/%.c=build/asan/test/%)
	@echo "== all specs, a collector that never rests"
	@SUREFOOT_GC=greedy $(SUITE) $(CURDIR)/build/asan/lua5.4 -- $(SPEC) --exclude-tags=once $(ARGS)

# Leaks of C are LeakSanitizer's: the child of a fork leaves what was its parent's, which valgrind cannot tell apart.
run-valgrind: all $(TESTS:spec/%.c=build/lua5.4/test/%)
	@echo "== all tests in C under valgrind"
	@for test in $(TESTS:spec/%.c=build/lua5.4/test/%); do valgrind -q --error-exitcode=9 $$test || exit 1; done
	@echo "== all specs under valgrind"
	@$(SUITE) 'valgrind -q --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=9 lua5.4' -- \
	  $(SPEC) --exclude-tags=once $(ARGS)

# $(1) Lua version, $(2) the variant that serves it
define install
install-$(1): build/$(2)/surefoot/core.so
	cd lua && find surefoot -type f -exec install -D -m 644 {} '$$(DESTDIR)$$(PREFIX)/share/lua/$(1)/{}' ';'
	install -D -m 644 $$< '$$(DESTDIR)$$(PREFIX)/lib/lua/$(1)/surefoot/core.so'
endef

$(eval $(call install,5.4,lua5.4))
$(eval $(call install,5.3,lua5.3))
$(eval $(call install,5.2,lua5.2))
$(eval $(call install,5.1,$(if $(LUAJIT),luajit,lua5.1)))

# What the program says of itself, and where man and the shells look for it below $(PREFIX)/share.
PAGES = manual:man/man1/surefoot.1 complete-bash:bash-completion/completions/surefoot \
  complete-zsh:zsh/site-functions/_surefoot complete-fish:fish/vendor_completions.d/surefoot.fish

# The program runs on the first of LUA.
PROGRAM = $(firstword $(LUA))
INTERPRETER = $(if $(filter 5.1,$(PROGRAM)),$(if $(LUAJIT),luajit,lua5.1),lua$(PROGRAM))

install: $(LUA:%=install-%) build/surefoot ## install under $(DESTDIR)$(PREFIX), for Lua 5.4, 5.1 and LuaJIT or for LUA='5.2 5.3'
	sed -e '1s|lua5.4|$(INTERPRETER)|' -e 's|$(CURDIR)/lua/|$(PREFIX)/share/lua/$(PROGRAM)/|g' \
	  -e 's|$(CURDIR)/build/lua5.4/|$(PREFIX)/lib/lua/$(PROGRAM)/|g' build/surefoot | \
	  install -D -m 755 /dev/stdin '$(DESTDIR)$(PREFIX)/bin/surefoot'
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && for page in $(PAGES); do \
	  $(INTERPRETER) -e 'package.path = "lua/?.lua;lua/?/init.lua;" .. package.path' \
	    -e 'package.cpath = "build/$(INTERPRETER)/?.so;" .. package.cpath' lua/surefoot/cli/program.lua \
	    $$(echo "$${page%%:*}" | tr - ' ') >"$$folder/page" || { echo 'no man page and no completions' >&2; exit 0; }; \
	  echo "install -D -m 644 $${page%%:*} '$(DESTDIR)$(PREFIX)/share/$${page#*:}'"; \
	  install -D -m 644 "$$folder/page" '$(DESTDIR)$(PREFIX)/share/'"$${page#*:}" || exit 1; done

uninstall: ## remove what `make install` with the same PREFIX, DESTDIR and LUA put there
	rm -f '$(DESTDIR)$(PREFIX)/bin/surefoot' \
	  $(foreach one,$(PAGES),'$(DESTDIR)$(PREFIX)/share/$(lastword $(subst :, ,$(one)))')
	rm -rf $(foreach one,$(LUA),'$(DESTDIR)$(PREFIX)/share/lua/$(one)/surefoot' '$(DESTDIR)$(PREFIX)/lib/lua/$(one)/surefoot')

# Asked once, and only by `deps` and `deps-optional`.
INSTALLED = $(eval INSTALLED := $(shell dpkg-query -W -f='$${db:Status-Status}:$${Package}\n' \
  $(subst |, ,$(PACKAGES) $(OPTIONAL)) 2>/dev/null | sed -n 's/^installed://p'))$(INSTALLED)
missing = $(strip $(foreach one,$(1),$(if $(filter $(subst |, ,$(one)),$(INSTALLED)),,$(one))))
COMMA = ,
APT = $(if $(filter-out 0,$(shell id -u)),sudo) env DEBIAN_FRONTEND=noninteractive apt-get -q
bring = $(if $(shell command -v apt-get),$(if $(call missing,$(1)),$(APT) update && \
  $(APT) satisfy -y --no-install-recommends '$(patsubst %,%$(COMMA),$(call missing,$(1)))',:),echo 'no apt here: these are needed: $(1)')

deps: ## install what is missing (Debian 12 and 13, apt)
	@$(call bring,$(PACKAGES))

deps-optional: deps ## and what only few specs want: chromium, for the gateway's status page
	@$(call bring,$(OPTIONAL))

rockspec: ## bring the rockspec's list of C sources up to date
	@printf '        "%s",\n' $(SOURCES) | sed -i -e '/^ *"csrc\//d' -e '/sources = {/r /dev/stdin' rockspec/surefoot-scm-1.rockspec

clean: ## remove build/
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

FORCE:
.PHONY: all reference demo test test-all lint format asan bench bench-lines simulate test-hard deps deps-optional \
  install uninstall rockspec clean help FORCE run-demo run-test run-test-all run-lint run-format run-asan run-bench \
  run-bench-lines run-simulate run-fuzz run-test-hard run-tsan run-asan-nginx run-failing run-greedy run-valgrind
