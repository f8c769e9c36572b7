"""What is known about a listing, seller, person or pair, as of a moment.

In: facts, in log order. Out: a FeatureBatch for a request. Open `view.py` first, then `algebra.py`
(the words of a definition), `kernel.py` (what is computed) and `library.py` (the views in use).
"""
