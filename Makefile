# Everything a person or a CI does with the project. `make help` lists it.
HOST    := $(shell rustc -vV | sed -n 's/^host: //p')
TARGET  := $(or $(CARGO_TARGET_DIR),target)
# Static, at a fixed address: no dynamic linker and no relocations to pay for each time
# a plugin is executed. What it runs lies side by side, for which functions need names
# of their own (v0). And as few pieces as can be: each that the kernel maps, or whose
# rights it changes (RELRO), costs some 10 us a call.
LAYOUT  := $(CURDIR)/slash24/calls.ld
STATIC  := RUSTFLAGS='-C target-feature=+crt-static -C relocation-model=static -C relro-level=off -C symbol-mangling-version=v0 -C link-arg=-Wl,--no-rosegment,-T,$(LAYOUT)'
SLASH24 := $(TARGET)/$(HOST)/release/slash24

.PHONY: help dependencies build demo test lint unit netns vm bench bench-vm deny clean
.DEFAULT_GOAL := help

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

dependencies: ## install what building and testing need (Debian packages)
	@scripts/install-dependencies

build: ## the executable, static and optimised
	$(STATIC) cargo build --release --target $(HOST) -p slash24
	@ls -l $(SLASH24)

demo: ## two hosts, two networks, packets across, nothing left
	@scripts/install-dependencies demo
	@$(MAKE) --no-print-directory build
	SLASH24_BIN=$(abspath $(SLASH24)) cargo run -q -p slash24-netns --example demo

test: dependencies lint build unit netns ## everything that must hold

lint:
	cargo fmt --all --check
	cargo clippy -q --workspace --all-targets -- -D warnings

unit:
	cargo test --workspace --exclude slash24-netns
	cargo test -p slash24-netns --doc

netns:
	SLASH24_BIN=$(abspath $(SLASH24)) cargo test -p slash24-netns --test all

vm: dependencies build ## of the tests only those that need another kernel (make test has them)
	SLASH24_BIN=$(abspath $(SLASH24)) cargo test -p slash24-netns --test all -- '[vm]'

bench: dependencies build ## measure against the reference, netavark and the floor (BENCH=--quick)
	$(STATIC) cargo build --release --target $(HOST) -p slash24-benches
	$(TARGET)/$(HOST)/release/bench $(BENCH)

bench-vm: dependencies build ## as bench, for links that need another kernel: ratios only
	$(STATIC) cargo build --release --target $(HOST) -p slash24-benches
	@# Loading drivers from emulated disks takes longer than the bench waits for a link.
	tests/vm/run sh -c 'modprobe -a veth ipvlan 8021q && exec "$$@"' sh \
		$(TARGET)/$(HOST)/release/bench --only ipvlan-v4 --only vlan-v4 \
		--only crowd-ipvlan --only crowd-vlan --without floor --without floor-plain \
		--without netavark --output /tmp/bench-vm.json $(BENCH)

deny: ## licences and sources of the dependencies (builds cargo-deny if it is missing)
	@command -v cargo-deny >/dev/null || cargo install -q --locked cargo-deny@0.20.2
	cargo deny check --hide-inclusion-graph licenses bans sources

clean: ## remove what was built
	cargo clean
