# spam-batch: `make help` lists the targets and their variables.
# A target creates .venv and installs what it needs by itself.

## PYTHON=        Python that creates .venv, 3.11 or later (python3)
## VENV=          folder of the environment (.venv)
## PIP_ARGS=      options for pip, such as an index
## DATA=          labelled CSV or TSV (the SMS data, downloaded)
## TEXT_COLUMN=   name of its text column
## LABEL_COLUMN=  name of its label column
## BPE=           folder with gpt2.tiktoken, or vocab.bpe and encoder.json (downloaded)
## WEIGHTS=       auto, gpt2, openai, huggingface, gpt2-mini, random, or a path (auto)
## MODEL=         gpt2-small, gpt2-medium, gpt2-large, gpt2-xl, starter (as WEIGHTS= allows)
## RECIPE=        default or book (default)
## RUN=           run folder, replaced by train (runs/spam)
## BUNDLE=        bundle, replaced by export (models/spam)
## DEVSET=        labelled file of another source, for bench-starter
## PYTEST_ARGS=   options of pytest for the tests (-n auto --dist loadfile)
## UNLABELLED=    files of messages without labels, for the cascade in bench
## IN=            file to label (examples/inbox.csv)
## OUT=           labelled file (labeled.csv)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_ARGS ?=

RECIPE ?= default
MODEL ?=
WEIGHTS ?= auto
DATA ?=
TEXT_COLUMN ?=
LABEL_COLUMN ?=
BPE ?=
RUN ?= runs/spam
BUNDLE ?= models/spam
IN ?= examples/inbox.csv
OUT ?= labeled.csv
DEVSET ?=
UNLABELLED ?=
SETTINGS ?=
PYTEST_ARGS ?= -n auto --dist loadfile

# onnxruntime and onnxruntime-gpu must never be installed together.
ORT := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
OPENAI := $(if $(filter openai,$(WEIGHTS)),openai)
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install train export classify test test-anywhere test-faults check coverage bench bench-train bench-memory bench-starter bench-inbox bench-export build requirements audit-deps docs clean

help: ## Show this list
	@echo 'Targets:'
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22
	@echo 'Variables, with their default in brackets:'
	@sed -nE 's/^## ([A-Z_]+=) +/  \1\t/p' $(MAKEFILE_LIST) | expand -t 22

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "spam-batch needs Python 3.11 or later; type: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.has-run: $(BIN)/python pyproject.toml constraints.txt
	$(PIP_INSTALL) -e '.[train,export,$(ORT)]'
	@touch $@

$(VENV)/.has-openai: $(VENV)/.has-run
	$(PIP_INSTALL) -e '.[openai]'
	@touch $@

$(VENV)/.has-dev: $(VENV)/.has-run
	$(PIP_INSTALL) -e '.[train,export,$(ORT),openai,dev]'
	@touch $@ $(VENV)/.has-openai

install: $(VENV)/.has-run ## Install everything for training, export and labelling into .venv

train: $(VENV)/.has-run $(if $(OPENAI),$(VENV)/.has-openai) ## Download what is needed and train a model into RUN=
	$(BIN)/spam-train fit --out '$(RUN)' --recipe '$(RECIPE)' --weights '$(WEIGHTS)' \
	  $(if $(MODEL),--model '$(MODEL)') $(if $(DATA),--data '$(DATA)') $(if $(BPE),--bpe '$(BPE)') \
	  $(if $(TEXT_COLUMN),--text-column '$(TEXT_COLUMN)') $(if $(LABEL_COLUMN),--label-column '$(LABEL_COLUMN)')

export: $(VENV)/.has-run ## Export RUN= to BUNDLE= and compare it with PyTorch
	$(BIN)/spam-export bundle --run '$(RUN)' --out '$(BUNDLE)'

classify: $(VENV)/.has-run ## Label IN= into OUT= and show the first rows
	$(BIN)/spam-batch classify '$(IN)' --out '$(OUT)' --bundle '$(BUNDLE)'
	@head -n 8 '$(OUT)'

test: $(VENV)/.has-dev ## Run the tests, without the long fault tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-anywhere: $(VENV)/.has-dev ## Run the tests of trainer and exporter under other kernels, threads and a seed (SETTINGS=)
	$(BIN)/python tests/anywhere.py $(SETTINGS) $(PYTEST_ARGS)

test-faults: $(VENV)/.has-dev ## Run every fault test: crash, disk, input, formats, bundle, environment
	$(BIN)/python -m pytest $(PYTEST_ARGS) tests/faults -m 'faults or quick'

check: $(VENV)/.has-dev ## Check style, import contracts, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy
	$(BIN)/codespell

coverage: $(VENV)/.has-dev ## Run the tests and print how much of the code they run
	$(BIN)/python -m pytest -q --cov --cov-report=term --cov-report=html:build/coverage

# What the benchmarks read: DATA=, or the SMS data, which is downloaded once.
SMS := data/SMSSpamCollection.tsv
SMS_FILE := $(if $(DATA),,$(SMS))
$(SMS): | $(VENV)/.has-run
	$(BIN)/spam-train fetch data

# The peers live in an environment of their own: their versions are not ours.
PEERS := .venv-peers/bin/python
$(PEERS):
	$(PYTHON) -m venv .venv-peers
	$(PEERS) -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) torch==2.13.0 transformers==4.57.6 optimum==2.1.0 optimum-onnx==0.1.0 onnxruntime==1.31.1

# A teacher in gpt2-small's shape, a student of it, and their cascade; made once.
CASCADE := build/cascade
$(CASCADE)/wide-cascade: | $(VENV)/.has-run $(SMS_FILE)
	rm -rf '$(CASCADE)'
	$(BIN)/python benchmarks/cascade/make.py --run '$(RUN)' --bundle '$(BUNDLE)' --out '$(CASCADE)' \
	  $(if $(BPE),--bpe '$(BPE)') --data '$(or $(DATA),$(SMS))' --text $(UNLABELLED) \
	  -- --augment 12 --epochs 2 --batch-size 256 --learning-rate 0.004

bench: $(VENV)/.has-dev $(PEERS) $(SMS_FILE) $(if $(UNLABELLED),$(CASCADE)/wide-cascade) ## Measure labelling beside other programs, and draw docs/bench.png (DATA=, UNLABELLED=)
	$(BIN)/python benchmarks/throughput.py --peers $(PEERS) --data '$(or $(DATA),$(SMS))' $(if $(BPE),--bpe '$(BPE)') \
	  $(if $(UNLABELLED),--cascade $(CASCADE))
	$(BIN)/python benchmarks/plot.py

bench-train: $(VENV)/.has-run $(SMS_FILE) ## Measure training beside the notebook's loop (DATA=)
	$(BIN)/python benchmarks/training.py --data '$(or $(DATA),$(SMS))' $(if $(BPE),--bpe '$(BPE)')

bench-memory: $(VENV)/.has-run ## Measure peak memory at 250,000 and 1,000,000 rows, with a stub model
	$(BIN)/python benchmarks/memory.py

bench-export: $(VENV)/.has-dev $(PEERS) $(SMS_FILE) ## Measure our export beside optimum-onnx's: logits, size, speed (DATA=)
	$(BIN)/python benchmarks/export.py --peers $(PEERS) --data '$(or $(DATA),$(SMS))' $(if $(BPE),--bpe '$(BPE)')

bench-starter: $(VENV)/.has-run $(SMS_FILE) ## Measure gpt2-mini and the starter: several seeds and splits, rows a second (DATA=, DEVSET=)
	$(BIN)/python benchmarks/starter.py --data '$(or $(DATA),$(SMS))' $(if $(BPE),--bpe '$(BPE)') \
	  $(if $(DEVSET),--devset '$(DEVSET)')

bench-inbox: $(VENV)/.has-run ## Count which messages of IN= the model of BUNDLE= labels right, by its second column
	$(BIN)/python benchmarks/inbox.py --data '$(IN)' --bundle '$(BUNDLE)'

build: $(VENV)/.has-dev ## Build a wheel and a source archive into dist/
	$(BIN)/python -m build --no-isolation --outdir dist .

# Tools that work on the lists of packages, in an environment of their own.
TOOLS := .venv-tools/bin
$(TOOLS)/.has-tools:
	$(PYTHON) -m venv .venv-tools
	$(TOOLS)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) 'uv>=0.5' 'pip-audit>=2.7'
	@touch $@

requirements: $(TOOLS)/.has-tools ## Write requirements.txt, the runtime's packages with their hashes, from constraints.txt
	@{ echo '# The runtime (extras cpu and arrow) in the versions of constraints.txt, made by: make requirements'; \
	  echo '# pip install --require-hashes -r requirements.txt && pip install --no-deps dist/spam_batch-*.whl'; } > requirements.part
	$(TOOLS)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra cpu --extra arrow \
	  --constraints constraints.txt --no-header --no-annotate pyproject.toml >> requirements.part
	@mv requirements.part requirements.txt

audit-deps: $(TOOLS)/.has-tools ## Look up known vulnerabilities of requirements.txt and constraints.txt (needs an index)
	$(TOOLS)/pip-audit --strict --disable-pip --require-hashes -r requirements.txt
	$(TOOLS)/pip-audit --strict --disable-pip --no-deps -r constraints.txt

docs: $(VENV)/.has-run ## Write docs/cli.md, docs/cli-training.md and docs/spam-batch.1 from the code
	$(BIN)/python docs/make_cli.py

clean: ## Remove .venv and build files; data, runs and models stay
	@test ! -e '$(VENV)' || test -e '$(VENV)/pyvenv.cfg' || \
	  { echo "$(VENV) is no virtual environment; nothing was removed; give another VENV=" >&2; exit 1; }
	rm -rf '$(VENV)' .venv-peers .venv-tools build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
