# `make run` and `make test` are all that a fresh clone needs, with Python 3.11 or newer and a package index.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes
# What each install was made of: a copy of it is its stamp.
RUNTIME := requirements.lock pyproject.toml
TOOLS := requirements-dev.lock pyproject.toml

.PHONY: help setup tools run lint test test-slow test-nightly kafka kafka-cluster bench-peers lock
.DEFAULT_GOAL := help

help:
	@echo "make run           install what is missing, start everything with the sample book"
	@echo "make test          lint, types and the fast tests"
	@echo "make setup         install into $(VENV) only"
	@echo "make lint          ruff, mypy, floors and tidiness"
	@echo "make test-slow     the slow half of the tests"
	@echo "make test-nightly  long soak runs"
	@echo "make kafka         run one broker of Apache Kafka in the foreground (needs Java 17 and Maven)"
	@echo "make kafka-cluster run three, with replication"
	@echo "make bench-peers   install what 'usance bench kafka' and 'bench proof' are compared with, beside $(VENV) (a JDK and Maven, and Go, for one each)"
	@echo "make lock          resolve the dependencies anew (needs uv)"

$(BIN)/python:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "Python 3.11 or newer is needed: install it, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); echo "venv failed: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }

setup: $(BIN)/python
	@cat $(RUNTIME) | cmp -s - $(VENV)/setup.stamp || { \
		echo "Installing into $(VENV) ..." && \
		$(PIP) -r requirements.lock && \
		$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation -e . && \
		cat $(RUNTIME) > $(VENV)/setup.stamp; }
	@$(BIN)/python tools/build_native.py

tools: setup
	@cat $(TOOLS) | cmp -s - $(VENV)/tools.stamp || { \
		echo "Installing the test tools into $(VENV) ..." && \
		$(PIP) -r requirements-dev.lock && \
		cat $(TOOLS) > $(VENV)/tools.stamp; }

run: setup
	$(BIN)/usance start --demo

lint: tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src tools
	$(BIN)/pytest tests/test_tidy.py

test: lint
	$(BIN)/pytest -n auto --deselect tests/test_tidy.py

test-slow: tools
	$(BIN)/pytest -n auto -m "slow and not nightly"

test-nightly: tools
	$(BIN)/pytest -m nightly

kafka: setup
	@$(BIN)/python -m usance.testing.kafka_broker 1

kafka-cluster: setup
	@$(BIN)/python -m usance.testing.kafka_broker 3

# Peers pin other clients than ours: an environment of their own, that nothing but the bench uses.
bench-peers: setup
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements-peers.lock
	@mvn --batch-mode --quiet --file tools/kafka/streams/pom.xml dependency:copy-dependencies \
		-DoutputDirectory=$(CURDIR)/.venv-peers/jars
	@javac -cp '.venv-peers/jars/*' -d .venv-peers/classes tools/kafka/streams/Job.java
	@$(BIN)/python -m usance.testing.bench_tessera

# None of these files may say where packages were downloaded from: that is the reader's own index.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" --group build \
		pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" --group build --group dev \
		--constraint requirements.lock pyproject.toml -o requirements-dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" --group pyproject.toml:bench-peers -o requirements-peers.lock
