# "make run" and "make test" do everything on a machine with Python 3.11 and make.
PYTHON ?= python3
BIN = .venv/bin

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 16

run: .venv/run  ## install, migrate, load the demo, serve on http://127.0.0.1:8000
	@$(BIN)/python -c 'import socket; socket.create_server(("127.0.0.1", 8000))' 2>/dev/null || \
	  { echo 'Port 8000 is in use: stop what listens there, such as another "make run"'; exit 1; }
	DEBUG=true $(BIN)/python manage.py migrate --verbosity 0
	DEBUG=true $(BIN)/python manage.py demo
	DEBUG=true $(BIN)/python manage.py runserver --noreload 127.0.0.1:8000

test: .venv/dev  ## everything that needs no browser, on SQLite and on PostgreSQL
	$(BIN)/python -m tests

test-browser: .venv/dev  ## the jobs that people do, in a real Chromium
	$(BIN)/python -m tests --browser

check: .venv/dev  ## lint, and models without a migration
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	DEBUG=true $(BIN)/python manage.py makemigrations --check --dry-run

access: .venv/dev  ## write docs/access.md, who gets what, from the addresses of the site
	WRITE_DOCUMENTS=1 $(BIN)/python -m tests tests.test_matrix.MatrixTests.test_the_table_of_access_is_as_documented

mutants: .venv/dev  ## break the code in small ways and see that a test notices; writes docs/mutants.md
	$(BIN)/python -m tests.mutants

pictures: .venv/dev  ## make the pictures in docs/pictures anew, in a real Chromium
	$(BIN)/python -m tests --pictures

messages: .venv/run  ## collect the strings, and compile the catalogues (needs gettext)
	DEBUG=true $(BIN)/python manage.py makemessages --all --no-wrap --no-location --no-obsolete \
	  --ignore ".venv/*" --ignore "tests/*" --ignore "benchmarks/*"
	sed -i '/^"\(POT-Creation-Date\|Report-Msgid-Bugs-To\)/d' orgadmin/locale/*/LC_MESSAGES/django.po
	DEBUG=true $(BIN)/python manage.py compilemessages --ignore ".venv/*"

requirements:  ## compile the pinned requirements from the *.in files (needs pip-tools)
	for name in requirements requirements-dev requirements-benchmarks; do pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	  --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
	  --annotation-style=line --upgrade $$name.in --output-file $$name.txt; done

audit: .venv/tools  ## look for known holes in what requirements.txt names (asks the public advisory database)
	.venv/tools/bin/pip-audit --strict --disable-pip --no-deps --requirement requirements.txt

licences: .venv/tools .venv/run  ## write docs/licences.md
	.venv/tools/bin/pip-licenses --python $(BIN)/python --format markdown --output-file docs/licences.md \
	  --packages $$(grep -oE '^[a-z0-9-]+==' requirements.txt | tr -d =)

benchmark: .venv/dev  ## measure all sizes on both databases, and draw docs/pictures/scale-*.svg (an hour, 10 GB)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-benchmarks.txt
	$(BIN)/python -m benchmarks --output benchmarks.jsonl
	$(BIN)/python -m benchmarks.pictures benchmarks.jsonl

faults: .venv/dev  ## stop PostgreSQL, kill processes, be slow, while people work: is anything lost? (five minutes)
	$(BIN)/python -m benchmarks.faults

lines:  ## lines of Python in the app, migrations left out
	@find orgadmin config -name '*.py' -not -path '*/migrations/*' | xargs cat | wc -l

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: apt-get install python3'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo 'The venv module is missing: apt-get install python3-venv'; exit 1; }
	$(PYTHON) -m venv .venv

.venv/tools: .venv/bin/python
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet --disable-pip-version-check pip-audit pip-licenses

.venv/run: .venv/bin/python requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

.venv/dev: .venv/run requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

.PHONY: help run test test-browser check access mutants pictures messages audit licences benchmark faults requirements lines
.DELETE_ON_ERROR:
