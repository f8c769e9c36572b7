"""Content into vectors.

In: listings or text. Out: unit vectors [n, dim] float32. Open `hashed.py` first.
"""
