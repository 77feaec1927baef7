# Everything needs nothing but Python 3.11 or newer, git and make; all of it lands in .venv.
#
#   make demo                      make test PYTEST_ARGS="-k order -x"
#   make faults FAULTS_ARGS="--runs 1 --seconds 60 --seed 7"
#   make bench-short BENCH_ARGS=--on-my-server
#   make test JOBS=2               CDC_TEST_PG_BIN=/usr/lib/postgresql/15/bin make test

SHELL = /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:

# More than cores: tests wait for clocks, processes and locks for a third of their time.
JOBS ?= 4
PYTEST_ARGS ?=
FAULTS_ARGS ?=
BENCH_ARGS ?=
MUTANTS_ARGS ?=
# A database that happens to be named in the environment is none of our business. What is compiled is kept:
# without, to collect the tests takes each worker 11 s of CPU instead of 5.
CLEAN_ENV = env -u PYTHONDONTWRITEBYTECODE $$(env | grep -Eo '^(CDC_|PG)[A-Za-z0-9_]*=' | grep -v '^CDC_TEST_' | tr -d = | sed 's/^/-u /')
# But for one, with --on-my-server.
BENCH_ENV = $(CLEAN_ENV) $${CDC_DATABASE_URL:+CDC_DATABASE_URL="$$CDC_DATABASE_URL"}

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

.PHONY: demo
demo: .venv/.installed ## from COMMIT to POST on a PostgreSQL of its own, with a closing account
	@$(CLEAN_ENV) .venv/bin/cdc demo

.PHONY: test
test: .venv/.installed ## all tests, on the embedded PostgreSQL
	@$(CLEAN_ENV) .venv/bin/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder $(PYTEST_ARGS)

# What no release of the server can change: no SQL, or SQL that others of these tests send.
APART = bench deliver demo deploy docs faults house lanes mapping message mutants settings telemetry \
      $(addprefix fuzz/test_,answers.py words.py) \
      $(addprefix sandbox/test_,account.py protocol.py receiver.py suite.py) \
      $(addprefix cli/test_,examples.py exposed.py fit.py proxy.py root.py webhook_list.py webhook_pause.py \
        webhook_secrets.py webhook_tls.py webhook_trial.py webhook_update.py) \
      $(addprefix web/test_,accepted.py browser.py company_browser.py document.py embedding.py guide.py oidc.py \
        render.py) \
      $(addprefix daemon/test_,answers.py container.py memory.py proxy.py sealed.py stop.py \
        supervisor.py tls_profiles.py)

.PHONY: test-server
test-server: ## ... those that speak to the server (with CDC_TEST_PG_BIN: to another release of it)
	@$(MAKE) test PYTEST_ARGS="$(addprefix --ignore=tests/,$(APART)) $(PYTEST_ARGS)"

.PHONY: long
long: .venv/.installed ## the tests that take minutes: very many webhooks, rows, dead entries of indexes, examples
	@$(CLEAN_ENV) CDC_TEST_LONG=1 .venv/bin/python -m pytest -m "long or hypothesis" -s --timeout 1200 $(PYTEST_ARGS)

# Where a session's settings could show.
ODD = $(addprefix tests/capture/test_,contract.py late.py odd_writer.py one_change.py parents.py \
      partitions.py remove.py statements.py) \
      $(addprefix tests/cli/test_,delivery.py explain.py status.py triggers.py) \
      $(addprefix tests/daemon/test_,dispatch.py plans.py retries.py) \
      $(addprefix tests/schema/test_,foreign_ground.py privileges.py rights.py uninstall.py) \
      tests/webhooks

.PHONY: test-odd
test-odd: .venv/.installed ## some of them on a server whose settings are all unusual: DateStyle, planner, ...
	@CDC_TEST_ODD=1 $(MAKE) test PYTEST_ARGS="$(ODD) $(PYTEST_ARGS)"

.PHONY: bulk
bulk: .venv/.installed ## three bulk updates of 100,000 rows, some failing at first: all accounted for
	@$(CLEAN_ENV) .venv/bin/python -m tests.bench.bulk

.PHONY: clients
clients: .venv/.installed ## our HTTP client against aiohttp's and a bare socket: CPU per POST
	@$(CLEAN_ENV) .venv/bin/python -m tests.bench.clients

.PHONY: writers
writers: .venv/.installed ## what capture costs writers while no daemon runs, against no triggers
	@$(CLEAN_ENV) .venv/bin/python -m tests.bench.writers

.PHONY: writers-page
writers-page: .venv/.installed ## what a writer sees with capture and without it: statement x observation
	@$(CLEAN_ENV) .venv/bin/python -m pytest -q tests/writers/test_conformance.py $(PYTEST_ARGS)
	@cat build/writers-*.md

.PHONY: cost
cost: .venv/.installed ## what a change costs: time in its statement by size, bytes in our tables, memory
	@$(CLEAN_ENV) .venv/bin/python -m tests.bench.cost

.PHONY: spent
spent: .venv/.installed ## CPU a delivered change at 20 to 4,000/s by process, beside LISTEN and POST (4 min)
	@$(CLEAN_ENV) .venv/bin/python -m tests.bench.spent $(BENCH_ARGS)

.PHONY: wanted
wanted: .venv/.installed ## what filters, changed fields, values and deletes cost a writer: docs/performance.md
	@$(CLEAN_ENV) .venv/bin/python -m tests.bench.wanted

.PHONY: pages
pages: .venv/.installed ## what pages of API and console cost, with 10,000,000 rows of log (10 min, 4 GB of disk)
	@$(CLEAN_ENV) .venv/bin/python -m tests.bench.pages $(BENCH_ARGS)

.PHONY: bench
bench: .venv/.installed ## all workloads and their baselines, into docs/performance.md (25 min)
	@$(BENCH_ENV) .venv/bin/python -m tests.bench $(if $(findstring --workload,$(BENCH_ARGS)),,--report docs) $(BENCH_ARGS)

.PHONY: bench-short
bench-short: .venv/.installed ## the most important of them, smaller: about a minute
	@$(BENCH_ENV) .venv/bin/python -m tests.bench --short $(BENCH_ARGS)

.PHONY: faults
faults: .venv/.installed ## daemons, PostgreSQL and connections killed at random under load: all accounted for (30 min)
	@$(CLEAN_ENV) .venv/bin/python -m tests.faults $(FAULTS_ARGS)

.PHONY: takeover
takeover: .venv/.installed ## how soon the work of a dead or a stopped daemon is taken over
	@$(CLEAN_ENV) .venv/bin/python -m tests.faults.takeover $(FAULTS_ARGS)

.PHONY: isolation
isolation: .venv/.installed ## what endpoints that hang do to the latency of the others
	@$(CLEAN_ENV) .venv/bin/python -m tests.bench.isolation $(FAULTS_ARGS)

.PHONY: mutants
mutants: .venv/.installed ## 60 small wrong changes of the daemon, one at a time: those that no test notices
	@$(CLEAN_ENV) .venv/bin/python -m tests.mutants $(MUTANTS_ARGS)

.PHONY: check
check: .venv/.installed ## style, types, layers, house rules
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/bandit -q -c pyproject.toml -r cdc
	.venv/bin/mypy --strict cdc tests
	.venv/bin/lint-imports
	@$(CLEAN_ENV) .venv/bin/python -m pytest tests/house -q

.PHONY: format
format: .venv/.installed ## put the code into the house's form
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

.PHONY: docs
docs: .venv/.installed ## write the parts of docs/ that follow from the code
	.venv/bin/python -m tests.house.guide_tables
	.venv/bin/python -m tests.house.rendered_sql
	.venv/bin/python -m tests.house.api_document

.PHONY: pictures
pictures: .venv/.installed ## the pictures of console.md and portal.md, taken by tests in a browser
	@$(CLEAN_ENV) CDC_TEST_PICTURES=docs/images .venv/bin/python -m pytest -q tests/web -k 'wish or company_sees'

.PHONY: audit
audit: .venv/.installed ## known vulnerabilities of the pinned packages; says so if that cannot be found out
	@sh .ci/audit

.PHONY: signing
signing: .venv/.installed ## what signing costs, compared with its parts
	@.venv/bin/python -m tests.bench.signing

.PHONY: dist
dist: .venv/.installed ## build the wheel into dist/
	.venv/bin/python -m hatchling build -t wheel

.PHONY: clean
clean: ## remove everything that make made
	rm -rf .venv .venv-audit .mutants dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find cdc tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp holds the clone's path: a virtual environment does not survive being moved.
ifneq "$(shell cat .venv/.installed 2>/dev/null)" "$(CURDIR)"
.PHONY: .venv/.installed
endif

.venv/.installed: pyproject.toml constraints.txt
	@sh .ci/install
