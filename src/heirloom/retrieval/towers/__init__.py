"""Towers: a listing is known by those who take it, and meets the context of a request.

In goes the log, as for every retriever; out come candidates. For stock that is taken again and
again. `takers.py` counts, `model.py` multiplies, `fit.py` learns from a log, `retriever.py`
answers: open it first.
"""
