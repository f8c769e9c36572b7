"""Doors and wiring: http, cli, settings, registry, build. Open `build.py` first."""
