"""A marketplace with known truth: tests, demos, load, policy trials.

In: a seed and sizes. Out: events, and the true value of a slate. Open `world.py` first.
"""
