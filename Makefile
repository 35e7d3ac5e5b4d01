# Tasks of this repository; `make help` lists them.
#
# Long-running recipes are a single simple command: make forwards signals only to that.

PYTHON ?= python3
DOCKER ?= docker
VENV := .venv/bin
BENCHMARKS := redaction crash_groups crash_grouping catch_up end_to_end_latency initial_sync idle_usage storage_size viewer_load page_latency \
	server_memory legacy_import api_rates growth
# The first lock constrains the others, so that all agree on versions.
LOCKS := requirements-dev requirements requirements-demo requirements-frontend requirements-build

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo run test test-all test-setup test-all-setup lint deploy-check manifests bench image lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

install: ## install Python packages into .venv and download the front-end libraries
	@$(PYTHON) -B tools/install.py

install-dev:
	@$(PYTHON) -B tools/install.py --dev

demo: install ## run everything on this machine, with a simulated DQM² and an embedded PostgreSQL
	@$(VENV)/python -B -m tools.demo

run: install ## run the grabbers and the web server with the settings in .env
	@$(VENV)/python -m runtime.run_all

test-setup test-all-setup:
	@$(PYTHON) -B tools/install.py --dev --system-packages $(@:-setup=)

# Without bytecode every process of the tests would compile all modules. An empty value is that of an unset variable.
test test-all: export PYTHONDONTWRITEBYTECODE =
# Hypothesis would import trio in every worker for its plugin.
test test-all: export HYPOTHESIS_NO_PLUGINS = 1

test: test-setup lint deploy-check ## run all checks and tests; as root it installs missing Debian packages
	$(VENV)/pytest -n 3 --dist worksteal -m "not long"

test-all: test-all-setup lint deploy-check ## run all checks and tests, including those that take minutes
	$(VENV)/pytest -n 3 --dist worksteal --hypothesis-profile new-examples

lint: install-dev ## check format, lint rules and types
	$(VENV)/ruff format --check
	$(VENV)/ruff check
	$(VENV)/mypy --strict

deploy-check: install-dev ## check manifests, Dockerfile, systemd units, scripts, alert rules and dashboard
	@$(VENV)/python -m tools.deploy_check

manifests: install-dev ## render a cluster's manifests into build/: CLUSTER=test4|preproduction|production POSTGRES_PORT=… TAG=…
	@$(VENV)/python -m tools.render_manifests --cluster $(CLUSTER) $(if $(TAG),--tag $(TAG)) \
		$(if $(POSTGRES_PORT),--postgres-port $(POSTGRES_PORT)) $(if $(LOG_CLAIM),--log-claim $(LOG_CLAIM)) \
		$(if $(GRID_CAS),--grid-cas) $(NOTIFY_PORTS:%=--notify-port %)

bench: $(BENCHMARKS:%=bench-%) ## run all benchmarks

bench-%: install-dev
	$(VENV)/python -m benchmarks.$*

# Podman drops HEALTHCHECK from images in its default format.
image: ## build the container image of this version; DOCKER=podman uses Podman
	BUILDAH_FORMAT=docker $(DOCKER) build --build-arg COMMIT="$$(git describe --always --dirty --abbrev=12 --exclude='*')" \
		--tag "registry.cern.ch/cmsweb/dqmsquare_mirror:v$$($(PYTHON) -c 'from runtime import version; print(version.NUMBER)')" .

lock: install-dev ## resolve requirements*.in into requirements*.txt with versions and hashes
	@set -e; for name in $(LOCKS); do \
		$(VENV)/uv pip compile --quiet --python-platform linux --python-version 3.11 --generate-hashes --no-annotate \
			--no-emit-index-url --custom-compile-command "make lock" $$constraints $$name.in --output-file $$name.txt; \
		constraints="--constraints requirements-dev.txt"; \
	done

clean: ## remove everything that was installed or generated here, including the demo's data
	$(PYTHON) -B -m tools.demo.clean
	rm -rf .venv build dist static/vendor .mypy_cache .ruff_cache .pytest_cache .hypothesis
