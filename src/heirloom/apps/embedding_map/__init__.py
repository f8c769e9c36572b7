"""The embedding map: content vectors as one HTML page that needs no network.

In: the folded state of a system. Out: a page with each listing as a point that one can hover,
search, filter and follow to its true neighbours. Open `page.py` first; `projection.py` lays the
points out and says how far the layout can be trusted; `map.js` is what the browser runs.
"""
