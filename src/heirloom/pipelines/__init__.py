"""The paths, each one file that reads from top to bottom. Open `serve.py` first."""
