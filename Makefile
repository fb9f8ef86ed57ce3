# Each target does its own set-up. The environment is made again only when what it is made from changes.
PYTHON ?= python3
ENV := .venv/.made
BIN := .venv/bin
ONE := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help demo test test-full lab docs bench outputs constraints clean
help:
	@echo "make demo    train a GAN on real digits for a minute and look at it"
	@echo "make lab     open the course in JupyterLab"
	@echo "make test    check everything (test-full: the long variants, too)"
	@echo "make bench   speed and memory, in a table"
	@echo "make docs    build the site (needs Quarto)"
	@echo "make outputs run all chapters and store their outputs"
	@echo "make clean   remove the environment and what was built"

$(ENV): constraints.txt settings.ini setup.py pyproject.toml
	@command -v uv >/dev/null || test -x .uv/bin/uv || { echo "getting uv, the installer" && $(PYTHON) -m venv .uv && .uv/bin/pip install -q uv; }
	@echo "making the environment in .venv (about a minute, several GB with PyTorch)"
	@uv=$$(command -v uv || echo .uv/bin/uv) && \
	{ test -x $(BIN)/python || $$uv venv -q --python $(PYTHON) --no-python-downloads .venv; } && \
	$$uv pip install -q --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[lab,metrics,dev,export]'
	@touch $@

demo: $(ENV)
	@$(BIN)/ganlab demo

lab: $(ENV)
	@$(BIN)/jupyter lab --ServerApp.ip=127.0.0.1 --notebook-dir=. nbs/index.ipynb

test: $(ENV)
	$(ONE) $(BIN)/pytest tests/test_house.py
	$(ONE) $(BIN)/nbdev_test --n_workers 2 --timing
	$(ONE) $(BIN)/pytest -n 2 --dist loadfile --ignore tests/test_house.py

test-full: test
	$(ONE) FULL=1 $(BIN)/pytest -m full

bench: $(ENV)
	@$(BIN)/python tests/bench.py

outputs: $(ENV)
	$(BIN)/nbdev_export && $(BIN)/python tests/execute.py && $(BIN)/python tests/readme.py

docs: $(ENV)
	@command -v quarto >/dev/null || { echo "the site needs Quarto (https://quarto.org/docs/get-started) on the PATH"; exit 1; }
	PATH="$(CURDIR)/$(BIN):$$PATH" nbdev_docs

constraints: $(ENV)
	@uv=$$(command -v uv || echo .uv/bin/uv) && $$uv pip compile -q pyproject.toml --all-extras --universal --python-version 3.10 --no-header --no-annotate --upgrade -o constraints.txt

clean:
	rm -rf .venv .uv build *.egg-info _proc _docs nbs/nbdev.yml .pytest_cache .hypothesis
