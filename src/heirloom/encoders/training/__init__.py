"""Training of encoders: the only part of the room that imports torch.

In: histories of people's events and what is written of the listings. Out: fitted modules, and ONNX
files that serve without torch. Open `person.py` for the model, `losses.py` for what it learns by,
`fit.py` for the loop; `photo.py` fits the photo network, `sentence.py` exports a published one.
"""
