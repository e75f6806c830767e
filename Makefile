# make demo       everything on a fresh machine: environment, synthetic data, three small networks, ensemble, score
# make test       environment, lint and the quick tests       make test-slow   the tests that train
# make env        only the environment (.venv)                make lock        refresh the exact versions
# make lint       what ruff finds                             make clean       caches and build files; .venv stays
#
# PYTHON=/path/to/python3.11 names the interpreter that .venv is made with.

VENV := .venv/bin
SETUP := tools/setup_env.py
# Quick tests: two processes of one thread each. Slow ones: one process of two threads.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 OPENCV_FOR_THREADS_NUM=1
TWO_THREADS := OMP_NUM_THREADS=2 MKL_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2 OPENCV_FOR_THREADS_NUM=2

.NOTPARALLEL:
.PHONY: demo test test-slow env lint lock clean

demo: env
	$(VENV)/python tools/demo.py

test: env lint
	$(ONE_THREAD) $(VENV)/python -m pytest -m "not slow" -n 2 --dist loadfile --durations 15 --durations-min 1

# pytest ends with 5 when it selects nothing: said aloud, but no failure.
test-slow: env
	@$(TWO_THREADS) $(VENV)/python -m pytest -m slow --durations 15 --durations-min 1; code=$$?; \
	if [ $$code -eq 5 ]; then echo "make test-slow: no test is marked slow"; exit 0; fi; exit $$code

env:
	@command -v python3 >/dev/null || { echo "make: error: python3 is not on the path: install Python 3.11" >&2; exit 2; }
	@python3 $(SETUP)

lint: env
	$(VENV)/ruff check

lock: env
	$(VENV)/python tools/update_lock.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .mypy_cache
	find . -name __pycache__ -not -path "./.venv/*" -prune -exec rm -rf {} +
