"""Content and behaviour into vectors: text, image, attributes, person.

In: listings, text, histories. Out: float32 vectors [rows, dim] of unit length. Open `encoder.py`
first, then `hashed.py`, which needs no training and no download; `listing.py` and `person.py` serve
by ONNX what `training/` fits with torch; `modalities.py` is how photos (`photo.py`) and models of
text (`sentence.py`) enter a listing's vector.
"""
