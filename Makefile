# surefoot: build, test, lint, install. `make help` lists the targets.
# Everything made lands in build/. Overridable: CC CFLAGS LDFLAGS PREFIX DESTDIR, SPEC (a spec file or folder),
# ARGS (options for busted).

CC = gcc
CFLAGS = -O2 -g
LDFLAGS =
PREFIX = /usr/local
DESTDIR =
SPEC = spec
ARGS =

# What Debian 12 needs. Nothing here is enabled or configured by us; Debian's nginx may start itself on port 80.
PACKAGES = gcc libc6-dev make pkg-config git ca-certificates curl openssl \
  lua5.4 liblua5.4-dev luajit2 libluajit2-5.1-dev libcurl4-openssl-dev lua-cjson lua-argparse \
  lua-busted lua-check lua-socket luarocks nginx libnginx-mod-http-lua lua-resty-core lua-resty-lrucache \
  clang libclang-rt-14-dev clang-format clang-tidy cppcheck valgrind strace

INSTALLED = $(shell dpkg-query -W -f='$${db:Status-Status}:$${Package}\n' $(PACKAGES) 2>/dev/null | sed -n 's/^installed://p')
MISSING = $(if $(shell command -v dpkg-query),$(filter-out $(INSTALLED),$(PACKAGES)))
APT = $(if $(filter-out 0,$(shell id -u)),sudo )env DEBIAN_FRONTEND=noninteractive apt-get -q

WARNINGS = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wundef -Wpointer-arith -Wmissing-prototypes -Werror
COMPILE = -std=gnu11 -fPIC -fvisibility=hidden $(WARNINGS) $(shell pkg-config --cflags libcurl 2>/dev/null)
LIBRARIES = $(shell pkg-config --libs libcurl 2>/dev/null || echo -lcurl) -lm -lpthread
LUA54 = $(shell pkg-config --cflags lua5.4 2>/dev/null || echo -I/usr/include/lua5.4)
LUAJIT = $(shell pkg-config --cflags luajit 2>/dev/null)
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

SOURCES := $(sort $(wildcard csrc/*/*.c))
HEADERS := $(sort $(wildcard csrc/*/*.h))
VARIANTS := lua5.4 $(if $(LUAJIT),luajit)
CLI := $(if $(wildcard lua/surefoot/cli/init.lua),build/surefoot)

all: $(VARIANTS:%=build/%/surefoot/core.so) $(CLI) ## build the module for Lua 5.4 and LuaJIT, and the command line

# $(1) variant, $(2) Lua's include flags, $(3) flags for compiling and linking
define variant
build/$(1)/surefoot/core.so: $(SOURCES:csrc/%.c=build/$(1)/obj/%.o) build/$(1)/command
	@mkdir -p $$(@D)
	$$(CC) -shared -Wl,-z,nodelete $$(CFLAGS) $(3) $$(LDFLAGS) -o $$@ $$(filter %.o,$$^) $$(LIBRARIES)

build/$(1)/obj/%.o: csrc/%.c build/$(1)/command
	@mkdir -p $$(@D)
	$$(CC) $$(COMPILE) $(2) $$(CFLAGS) $(3) -MMD -MP -c -o $$@ $$<

# Changes when the commands or the list of sources do; everything of the variant is then made anew.
build/$(1)/command: FORCE
	@mkdir -p $$(@D)
	@echo '$$(CC) $$(COMPILE) $(2) $$(CFLAGS) $(3) $$(LDFLAGS) $$(LIBRARIES) $$(SOURCES)' | cmp -s - $$@ || \
	  echo '$$(CC) $$(COMPILE) $(2) $$(CFLAGS) $(3) $$(LDFLAGS) $$(LIBRARIES) $$(SOURCES)' > $$@

-include $(SOURCES:csrc/%.c=build/$(1)/obj/%.d)
endef

$(eval $(call variant,lua5.4,$(LUA54),))
$(eval $(call variant,luajit,$(LUAJIT),))
$(eval $(call variant,asan,$(LUA54),$(SANITIZE)))

# The machine may lack everything until `deps` has run, so these look around in a second make.
test asan: deps
	@$(MAKE) --no-print-directory run-$@

run-test: all
	@lua5.4 spec/support/suite.lua $(VARIANTS) -- $(SPEC) $(ARGS)

deps: ## install what is missing (Debian 12, apt)
	@$(if $(MISSING),echo "installing: $(MISSING)"; $(APT) update && $(APT) install -y --no-install-recommends $(MISSING),:)

clean: ## remove build/
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

FORCE:
.PHONY: all test run-test asan run-asan deps clean help FORCE
