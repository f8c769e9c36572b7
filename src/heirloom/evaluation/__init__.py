"""Is it better, for whom, and how sure: metrics, intervals, splits.

In: arrays of ranks, gains and groups. Out: values with intervals. Open `metrics.py` first.
"""
