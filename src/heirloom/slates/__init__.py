"""From scores to what is shown: filters, rules of a slate, order, reasons.

In: candidates and scores as arrays, and the log's facts for what was shown. Out: rows in the order
shown, the chance of each, and what moved it. Open `rules.py` first, then `steps.py`.
"""
