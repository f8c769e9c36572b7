"""From scores to what is shown: filters, seller cap, order, reasons.

In: candidates and scores as arrays. Out: rows in the order shown. Open `compose.py` first.
"""
