"""Content and behaviour into vectors: text, image, attributes, person.

In: listings and text. Out: float32 vectors [listings, dim] of unit length. Open `encoder.py`
first, then `hashed.py`, which needs no training and no download.
"""
