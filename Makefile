# What can be done with this repository; `make help` prints the targets.
#
# A recipe that runs for long is one simple command: only then make hands a signal on to it.

PYTHON ?= python3
DOCKER ?= docker
VENV := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo run setup setup-tests test test-all lint deploy-check manifests image bench soak pictures lighthouse clean

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: setup ## the whole mirror on this machine, with a DQM² and a PostgreSQL that it brings along
	@$(VENV)/python -B -m tools.demo

run: setup ## the real thing, by .env: both grabbers and the web server
	@$(VENV)/python -m runtime.run_all

setup: ## install what demo and run need: .venv and the front-end libraries
	@$(PYTHON) -B tools/install.py

setup-tests:
	@$(PYTHON) -B tools/install.py tests

test: lint deploy-check ## every check: format, lint, types, what is deployed, and tests
	$(VENV)/pytest -n 3 --dist worksteal -m "not long"

test-all: lint deploy-check ## every check, and the tests that take minutes
	$(VENV)/pytest

lint: setup-tests ## format, lint and types alone
	$(VENV)/ruff format --check
	$(VENV)/ruff check
	$(VENV)/mypy --strict

deploy-check: setup-tests ## what is deployed: manifests, image, units, scripts, alerts
	@$(VENV)/python -m tools.deploy_check

manifests: setup ## Kubernetes manifests of a cluster into build/: CLUSTER=test4|preproduction|production TAG=…
	@$(VENV)/python -m tools.render_manifests --cluster $(CLUSTER) $(if $(TAG),--tag $(TAG)) \
		$(if $(POSTGRES_PORT),--postgres-port $(POSTGRES_PORT)) $(if $(LOG_CLAIM),--log-claim $(LOG_CLAIM)) \
		$(if $(GRID_CAS),--grid-cas)

# Without BUILDAH_FORMAT, Podman's images have no HEALTHCHECK.
image: ## the image of this version, by docker; DOCKER=podman takes that
	BUILDAH_FORMAT=docker $(DOCKER) build --build-arg COMMIT="$$(git describe --always --dirty --abbrev=12 --exclude='*')" \
		--tag "registry.cern.ch/cmsweb/dqmsquare_mirror:v$$($(PYTHON) -c 'from runtime import version; print(version.NUMBER)')" .

bench: setup-tests ## how fast it is, measured
	$(VENV)/python -m benchmarks.redaction
	$(VENV)/python -m benchmarks.catch_up
	$(VENV)/python -m benchmarks.end_to_end_latency
	$(VENV)/python -m benchmarks.initial_sync
	$(VENV)/python -m benchmarks.idle_usage
	$(VENV)/python -m benchmarks.storage_size
	$(VENV)/python -m benchmarks.viewer_load
	$(VENV)/python -m benchmarks.page_latency
	$(VENV)/python -m benchmarks.server_memory
	$(VENV)/python -m benchmarks.legacy_import

soak: setup-tests ## an hour of simulated life at 60 times its speed, more by SOAK_HOURS
	@$(VENV)/pytest tests/test_grabber_soak.py

pictures: setup-tests ## pictures of every page in both themes, into docs/pictures
	@$(VENV)/python -m tools.screenshots.pictures

lighthouse: setup-tests ## Lighthouse's figures of the live page and the timeline
	@$(VENV)/python -m tools.screenshots.lighthouse

clean: ## remove what was installed and made here, the demo's data too
	$(PYTHON) -B -m tools.demo.clean
	rm -rf .venv build dist static/vendor .mypy_cache .ruff_cache .pytest_cache .hypothesis
