"""The entry point: settles how many threads numeric libraries take, before one of them is loaded.

One each: a laptop's other core stays free, and results repeat to the bit.
"""

import os
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; what the environment already says stands."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    from heirloom.apps import cli

    cli.main()
