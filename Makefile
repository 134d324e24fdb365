# Kimberlite: `make` explains itself; `make test` is what a contributor must pass.
.DEFAULT_GOAL := help

SEED ?= 42
N    ?= 200
BASE ?= 1
T    ?= 10m
ROUNDS ?= 10
FUZZTIME ?= 100000x
GO   ?= go

.PHONY: help build test race sim sim-many sim-diff soak mutants crash s3 fuzz bench large-result lint clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build ./bin/kimberlite, static
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/kimberlite ./cmd/kimberlite

test: ## everything a contributor must pass
	$(GO) vet ./...
	$(GO) test ./...

race: ## the tests under the race detector
	$(GO) test -race ./...

sim: ## replay one simulated run: make sim SEED=0x5eed, or PLAN=file
	@$(GO) run ./sim/cmd/sim $(if $(PLAN),-plan $(PLAN),-seed $(SEED))

sim-many: ## many seeds and the gates over them: make sim-many N=200 BASE=1
	@$(GO) run ./sim/cmd/sim -n $(N) -base $(BASE)

sim-diff: ## the first difference between two runs of a seed
	@$(GO) run ./sim/cmd/sim -diff $(SEED)

soak: ## simulate fresh seeds for a while: make soak T=1h
	@$(GO) run ./sim/cmd/sim -soak $(T)

mutants: ## planted bugs that the simulator must find
	@$(GO) run ./sim/cmd/mutants

crash: ## kill -9 the real binary under load: make crash ROUNDS=10
	@$(GO) run ./internal/crash -rounds $(ROUNDS)

s3: ## the object stores against a real S3 server, versitygw, which this installs into ./bin
	GOBIN=$(CURDIR)/bin $(GO) install github.com/versity/versitygw/cmd/versitygw@v1.8.0
	$(GO) run ./internal/s3 bin/versitygw sh -c '$(GO) test ./io/object -run OnS3 -count=1 -rapid.checks=20 && $(GO) test ./io/host -run OnS3 -count=1'

fuzz: ## so many inputs for every fuzz target: make fuzz FUZZTIME=100000x
	@for t in $$($(GO) test ./fuzz -list 'Fuzz.*' | grep ^Fuzz); do \
		$(GO) test ./fuzz -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x || exit 1; done

bench: build ## measure a real server on this machine
	bin/kimberlite bench

large-result: ## read a result of many rows in little memory: make large-result ROWS=10000000
	ROWS=$(or $(ROWS),10000000) $(GO) test ./client -run TestALargeResultTakesLittleMemory -count=1 -v -timeout 30m

lint: ## gofmt, vet and staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.7.0 ./...

clean: ## remove what was built
	rm -rf bin out
