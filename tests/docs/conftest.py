"""`benchmarks` is run from the root and not installed; its tests find it there too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
