"""Personalised discovery in marketplaces of one-of-a-kind things.

Read `docs/tour.md` to follow one query through the code; open `pipelines/serve.py` first.
"""

__version__ = "0.1.0"
