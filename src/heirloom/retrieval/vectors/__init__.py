"""Vectors under filters, changed while they are searched, by one writer beside many readers.

In: vectors by slot with columns, and queries. Out: Answers. Open `answer.py` first, then
`index.py`; the scan is in `search_kernel.py`, and why it is made like this in docs/adr/0007.
"""
