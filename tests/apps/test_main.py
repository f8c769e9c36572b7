"""The entry point settles threads before numpy is loaded, and loads no more than serves."""

import subprocess
import sys


def test_threads_are_settled_before_numpy_is_loaded() -> None:
    script = (
        "import os, sys, types\n"
        "import heirloom.apps.main as entry\n"
        "assert 'numpy' not in sys.modules\n"
        "os.environ.pop('OMP_NUM_THREADS', None); os.environ['NUMBA_NUM_THREADS'] = '2'\n"
        "cli = sys.modules['heirloom.apps.cli'] = types.ModuleType('cli')\n"
        "import heirloom.apps; heirloom.apps.cli = cli\n"
        "cli.main = lambda: print(os.environ['OMP_NUM_THREADS'], os.environ['NUMBA_NUM_THREADS'])\n"
        "entry.main()\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["1", "2"]


def test_what_only_trains_or_imports_is_not_loaded_to_serve() -> None:
    """CatBoost alone, with pandas and polars, takes as long to import as all that is needed."""
    script = (
        "import sys\n"
        "import heirloom.apps.main, heirloom.apps.cli\n"
        "import heirloom.apps.build, heirloom.apps.server, heirloom.apps.workers.launch\n"
        "print(*{name.split('.')[0] for name in sys.modules})\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    trains = {"catboost", "lightgbm", "onnxruntime", "optuna", "pandas", "sklearn", "torch"}
    others = {"polars", "psycopg", "redis", "tantivy"}
    assert not (trains | others) & set(told.stdout.split())
