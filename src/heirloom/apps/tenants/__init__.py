"""Tenants: systems of several owners behind one door, which a key tells apart.

In goes a TOML that lists systems; out comes one process at one port that hands each request to the
processes of the system whose key it shows. Open `front.py` first; why it is so is in
docs/adr/0031-tenants.md.
"""
