"""The nouns: frozen records, column names, errors, ids. numpy, pyarrow and msgspec only.

In: nothing. Out: the words that all rooms share. Open `event.py` first, then `slate.py`.
"""
