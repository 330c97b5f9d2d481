# Every target sets up .venv first, from requirements.lock; `make` alone lists the targets.
PROFILE ?= quick
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PYTHON_RANGE := >=3.11,<3.14

.PHONY: help reports test test-networks test-browser docs notebooks workshop lab bench faults lock clean
help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

reports: $(VENV)/.ready  ## execute the workbook into reports/$(PROFILE) (PROFILE=quick or paper, JOBS=2)
	$(BIN)/infolib run --profile $(PROFILE) --jobs $(JOBS)

# Small networks run best on one thread, and a stored output does not depend on how many there are.
test test-networks test-browser notebooks bench: export OMP_NUM_THREADS = 1
test: $(VENV)/.ready  ## lint, types, unit tests, nbval
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy & $(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder; \
		tested=$$?; wait $$! && exit $$tested

test-networks: export HF_HUB_OFFLINE = 1
test-networks: $(VENV)-networks/.ready  ## try the real timm, transformers and lightning, in an environment of their own
	$(VENV)-networks/bin/pytest tests/networks

docs: $(VENV)-site/.ready  ## build the site of what is committed, docs/build/html/index.html; nothing is executed or fetched
	$(VENV)-site/bin/python -m sphinx -q -W --keep-going -j auto -b html -c docs -d .cache/doctrees . docs/build/html

test-browser: $(VENV)-site/.ready  ## try notebooks, board and site in a real browser (needs chromium)
	$(VENV)-site/bin/pytest tests/browser

notebooks: $(VENV)/.ready  ## execute the notebooks in place, as they are committed (all, or one: NB=04)
	TQDM_DISABLE=1 $(BIN)/jupyter nbconvert --log-level=WARN --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False notebooks/$(or $(NB),[0-9])*.ipynb

workshop: $(VENV)/.ready  ## write workshop/student and workshop/solutions: the notebooks without and with solutions
	$(BIN)/infolib workshop

lab: export JUPYTER_CONFIG_PATH := $(CURDIR)/.jupyter$(addprefix :,$(JUPYTER_CONFIG_PATH))
lab: $(VENV)/.ready  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks

bench: $(VENV)/.ready  ## measure ours against plain references into reports/benchmarks.md (large n: python -m benchmarks.scaling; many layers and images: looks)
	$(BIN)/python -m benchmarks

faults: $(VENV)/.ready  ## do what may go wrong and count into reports/reliability.md (20 min; one part: python -m benchmarks.faults kills)
	$(BIN)/python -m benchmarks.faults

# uv from the PATH, else from a small environment of its own, at the version and hashes that the lock names.
UV := $(shell command -v uv || echo $(VENV)-uv/bin/uv)
$(VENV)-uv/bin/uv:
	@python3 -m venv $(VENV)-uv || { echo "Python's venv module is missing: on Debian or Ubuntu, apt install python3-venv"; exit 1; }
	@sed -n '/^uv==/,/# via/p' requirements.lock > $(VENV)-uv/uv.txt
	$(VENV)-uv/bin/pip install --quiet --require-hashes -r $(VENV)-uv/uv.txt

$(VENV)/.ready: requirements.lock
$(VENV)-networks/.ready: requirements-networks.lock
$(VENV)-site/.ready: requirements-site.lock
$(VENV)/.ready $(VENV)-networks/.ready $(VENV)-site/.ready: pyproject.toml workbook/pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python '$(PYTHON_RANGE)' $(@D)
	$(UV) pip sync --compile-bytecode --python $(@D)/bin/python --require-hashes $(filter %.lock,$^)
	$(UV) pip install --quiet --python $(@D)/bin/python --no-deps --no-build-isolation --editable . --editable workbook
	@touch $@

lock: | $(UV)  ## renew the three locks, from what workbook/ needs and through it the library
	$(UV) pip compile --quiet --universal --upgrade --generate-hashes --python-version 3.11 --extra dev \
		--no-emit-package information-workbook --custom-compile-command 'make lock' \
		workbook/pyproject.toml -o requirements.lock
	$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra dev --extra networks \
		--no-emit-package information-workbook --constraint requirements.lock --custom-compile-command 'make lock' \
		workbook/pyproject.toml -o requirements-networks.lock
	$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra dev --extra site \
		--no-emit-package information-workbook --constraint requirements.lock --custom-compile-command 'make lock' \
		workbook/pyproject.toml -o requirements-site.lock

clean:  ## remove the environment, quick reports and tool caches (data/cache stays)
	rm -rf $(VENV) $(VENV)-uv $(VENV)-networks $(VENV)-site reports/quick reports/failed reports/index.html .pytest_cache .ruff_cache .mypy_cache .hypothesis
