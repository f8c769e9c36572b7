"""The console: pages for those who run a system. Each page is one file, named in `pages.PAGES`.

In: what each process counts, as `/metrics` tells it. Out: HTML that works without script, and JSON.
Open `pages.py` first, then `live.py`.
"""
