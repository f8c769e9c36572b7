"""The entry point: settles how many threads numeric libraries take, before one of them is loaded.

One each: a laptop's other core stays free, and results repeat to the bit.
"""

import gc
import os
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; what the environment already says stands."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    gc.disable()  # what is imported is there to stay, and to look for garbage in it takes long
    from heirloom.apps import cli

    gc.freeze()
    gc.enable()
    cli.main()
