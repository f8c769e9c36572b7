"""From millions of listings to a few hundred: index, retrievers, fusion.

In: a Request and a mask of what may be shown. Out: Candidates. Open `retriever.py` first.
`vectors/` is the index for millions, `collaborative/` the models of who took what.
"""
