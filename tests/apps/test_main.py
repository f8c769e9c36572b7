"""The entry point loads nothing numeric before it has said how many threads there are."""

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
