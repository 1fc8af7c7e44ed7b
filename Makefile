# make demo: the shop in the browser. make test: everything, without a server. make help: the rest.

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= ml,demo,postgres,oscar,dev
# Set JOBS=0 for one process.
JOBS ?= 2
PYTEST_ARGS ?=
TEST_DATABASE_URL ?= postgres://postgres@127.0.0.1:5432/shopreco
TEST_REDIS_URL ?= redis://127.0.0.1:6379/4

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MANAGE := $(BIN)/python manage.py
# The embedded mode whatever the shell says: SQLite, a cache in the process, a broker in files.
EMBEDDED := env -u DATABASE_URL -u REDIS_URL
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

.DEFAULT_GOAL := help
.PHONY: help .venv demo test test-production lint format bench openapi messages pictures clean

help: ## Show what can be made
	@grep -hE '^[a-z.][a-z.-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z.-]+):.*## /\1|/' | \
		while IFS='|' read -r name what; do printf '  %-16s %s\n' "$$name" "$$what"; done

.venv: $(STAMP) ## Create the virtual environment and install everything

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --progress-bar on -c constraints.txt -e ".[$(EXTRAS)]"
	touch $@

demo: $(STAMP) ## Load, train and serve the demo shop at http://127.0.0.1:8000
	$(MANAGE) demo

test: $(STAMP) ## Run all tests on SQLite, without any server
	$(EMBEDDED) $(PYTEST)

test-production: $(STAMP) ## Run the same tests on PostgreSQL and Redis
	DATABASE_URL=$(TEST_DATABASE_URL) REDIS_URL=$(TEST_REDIS_URL) $(PYTEST)

lint: $(STAMP) ## Check style, types, layers and migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(EMBEDDED) $(BIN)/mypy
	$(BIN)/lint-imports
	$(EMBEDDED) $(MANAGE) makemigrations --check --dry-run

format: $(STAMP) ## Write the style that lint checks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Print the figures of the demo beside their limits; needs a loaded demo
	$(BIN)/python -m benchmarks.serving
	$(BIN)/python -m benchmarks.middleware

openapi: $(STAMP) ## Write docs/openapi.yaml from the API
	$(EMBEDDED) $(MANAGE) spectacular --urlconf recommender.urls --custom-settings recommender.api.schema.SETTINGS \
		--file docs/openapi.yaml --validate --fail-on-warn

messages: $(STAMP) ## Collect and compile the translatable texts of the app and of the demo; needs GNU gettext
	cd recommender && $(EMBEDDED) $(abspath $(BIN))/python ../manage.py makemessages -l en --no-obsolete --add-location file
	for source in $(filter-out %/en/LC_MESSAGES/django.po,$(wildcard recommender/locale/*/LC_MESSAGES/django.po)); do \
		msgmerge --quiet --update --backup=none --no-fuzzy-matching $$source recommender/locale/en/LC_MESSAGES/django.po && \
		msgattrib --translated --no-obsolete --output-file=$$source $$source && \
		msgfmt --check-format --output-file=$${source%.po}.mo $$source || exit 1; done
	$(EMBEDDED) $(BIN)/python manage.py makemessages -l de -l zh_Hans --no-obsolete --add-location file \
		-i '$(VENV)*' -i recommender -i tests -i benchmarks -i build -i var
	for source in shopreco/locale/*/LC_MESSAGES/django.po; do \
		msgattrib --translated --no-fuzzy --no-obsolete --output-file=$$source $$source && \
		msgfmt --check-format --output-file=$${source%.po}.mo $$source || exit 1; done

pictures: $(STAMP) ## Take the pictures of the console in docs/images; needs Debian's chromium and chromium-driver
	$(EMBEDDED) PICTURES=docs/images $(BIN)/python -m pytest -q -m browser tests/demo/test_morning.py

clean: ## Remove what was built and the demo's data; the virtual environment stays
	rm -rf build dist var .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
