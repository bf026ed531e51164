# Everything a person or a CI does with the project. `make help` lists it.
HOST    := $(shell rustc -vV | sed -n 's/^host: //p')
# Static, at a fixed address: no dynamic linker and no relocations to pay for
# each time a plugin is executed.
STATIC  := RUSTFLAGS='-C target-feature=+crt-static -C relocation-model=static'
TARGET  := $(or $(CARGO_TARGET_DIR),target)
SLASH24 := $(TARGET)/$(HOST)/release/slash24

.PHONY: help build
help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

build: ## the executable, static and optimised
	$(STATIC) cargo build --release --target $(HOST) -p slash24
	@echo "built $(SLASH24)"
