"""Benchmarks: each names the machine, the data and the command, and stands beside a peer.

`make bench-NAME` measures and writes `results/NAME.json` through `record.write`; `table.py` makes
`docs/benchmarks.md` of these files. Run a module from the root: `python -m benchmarks.table`.
"""
