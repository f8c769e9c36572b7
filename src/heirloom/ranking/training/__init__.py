"""Training of networks that rank: the only part of the room that imports torch.

In: examples. Out: an ONNX graph that serves without torch. Open `losses.py` for what is learned by,
`network.py` for the model, `fit.py` for the loop, `graph.py` for what is served.
"""
