"""A score per action for each candidate.

In: a FeatureBatch. Out: scores [candidates, actions]. Open `ranker.py` first.
"""
