"""Semantic ids: a listing named by a few codes, so that listings alike share a beginning.

In: vectors of listings. Out: codes, and a retriever that proposes listings whose codes begin as
those of what a person looked at. Open `codebook.py` first; `tower.py`
trains, and alone needs torch.
"""
