"""What is known about a listing, seller, person or pair, as of a moment.

In: facts, in log order. Out: a FeatureBatch for a request. Open `view.py` first.
"""
