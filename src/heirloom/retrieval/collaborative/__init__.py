"""Collaborative models: from what people took, what they may take next; and their blends.

In: Sequences, what each person took, oldest first. Out: a score for every item, float32
[people, items]. For catalogues that restock, and as baselines; a listing that is sold once has
no such history. Open `model.py` first, then `session_knn.py`, which is hard to beat.
"""
