"""The shop window: server-rendered pages that send real events.

In: a browser's requests. Out: HTML that works without script. Open `pages.py` first.
"""
