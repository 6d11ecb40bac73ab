# Commands for development. "make run" and "make test" only need Python 3.11 and make.
# They install everything else into .venv.

PYTHON ?= python3
BIN = .venv/bin
INSTALL = pip install --quiet --disable-pip-version-check

help:  ## list these commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 16


# Every day

run: .venv/run  ## install, load demo data, and serve http://127.0.0.1:8000
	@$(BIN)/python -c 'import socket; socket.create_server(("127.0.0.1", 8000))' \
	  2>/dev/null || { \
	    echo 'Port 8000 is in use. Stop the program that uses it, such as another'; \
	    echo '"make run", and try again.'; \
	    exit 1; \
	  }
	DEBUG=true $(BIN)/python manage.py migrate --verbosity 0
	DEBUG=true $(BIN)/python manage.py demo
	DEBUG=true $(BIN)/python manage.py runserver --noreload 127.0.0.1:8000

check: .venv/dev  ## lint, check formatting and types, and find missing migrations
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	DEBUG=true $(BIN)/mypy
	DEBUG=true $(BIN)/python manage.py makemigrations --check --dry-run

test: .venv/dev  ## run all tests except the browser tests, on SQLite and PostgreSQL
	$(BIN)/python -m tests

test-browser: .venv/dev  ## run the browser tests in Chromium
	$(BIN)/python -m tests --browser

mutants: .venv/dev  ## break the code deliberately, and check that tests fail
	$(BIN)/python -m tests.mutants $(ONLY)


# Generated files

access: .venv/dev  ## write docs/access.md: how each URL responds to each role
	WRITE_DOCUMENTS=1 $(BIN)/python -m tests \
	  tests.test_matrix.MatrixTests.test_the_table_of_access_is_as_documented

pictures: .venv/dev  ## take screenshots of all pages, and update docs/pictures
	$(BIN)/python -m tests --pictures

messages: .venv/run  ## collect the texts to translate, and compile the translations
	DEBUG=true $(BIN)/python manage.py makemessages --all \
	  --no-wrap --no-location --no-obsolete \
	  --ignore ".venv/*" --ignore "tests/*" --ignore "benchmarks/*"
	sed -i '/^"\(POT-Creation-Date\|Report-Msgid-Bugs-To\)/d' \
	  orgadmin/locale/*/LC_MESSAGES/django.po
	DEBUG=true $(BIN)/python manage.py compilemessages --ignore ".venv/*"


# Dependencies

requirements:  ## update requirements*.txt to the newest versions (needs pip-tools)
	for name in requirements requirements-dev requirements-benchmarks; do \
	  pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras \
	    --annotation-style=line --no-header --no-emit-options --no-emit-index-url \
	    --no-emit-find-links --no-emit-trusted-host \
	    $$name.in --output-file $$name.txt || exit 1; \
	done

audit: .venv/tools  ## check for vulnerable dependencies (needs network access)
	.venv/tools/bin/pip-audit --strict --disable-pip --no-deps \
	  --requirement requirements.txt

sbom: .venv/tools  ## write sbom.json, a software bill of materials (CycloneDX)
	.venv/tools/bin/cyclonedx-py requirements --pyproject pyproject.toml \
	  --output-reproducible --output-file sbom.json requirements.txt

licenses: .venv/tools .venv/run  ## write docs/licenses.md, the licenses of dependencies
	@printf '%s\n' '# Licenses' '' 'Written by `make licenses`.' '' > docs/licenses.md
	.venv/tools/bin/pip-licenses --python $(BIN)/python --format markdown \
	  --packages $$(grep -oE '^[a-z0-9-]+==' requirements.txt | tr -d =) \
	  >> docs/licenses.md


# Measurements

benchmark: .venv/dev  ## measure all sizes on both databases (an hour, 10 GB of disk)
	$(BIN)/$(INSTALL) --require-hashes -r requirements-benchmarks.txt
	$(BIN)/python -m benchmarks --output benchmarks.jsonl
	$(BIN)/python -m benchmarks.pictures benchmarks.jsonl

faults: .venv/dev  ## measure how the site behaves during faults (10 minutes)
	$(BIN)/python -m benchmarks.faults


# Environments. An empty file shows that the requirements are installed.

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Python 3.11 or newer is required: apt-get install python3'; \
	  exit 1; \
	}
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'The venv module is missing: apt-get install python3-venv'; \
	  exit 1; \
	}
	$(PYTHON) -m venv .venv

.venv/run: .venv/bin/python requirements.txt
	$(BIN)/$(INSTALL) --require-hashes -r requirements.txt
	@touch $@

.venv/dev: .venv/run requirements-dev.txt
	$(BIN)/$(INSTALL) --require-hashes -r requirements-dev.txt
	@touch $@

.venv/tools: .venv/bin/python
	$(PYTHON) -m venv $@
	$@/bin/$(INSTALL) cyclonedx-bom==7.5.0 pip-audit==2.10.1 pip-licenses==5.5.5

.PHONY: help run check test test-browser mutants access pictures messages \
  requirements audit sbom licenses benchmark faults
.DELETE_ON_ERROR:
