"""Security: who may ask what at the HTTP door, and how much of it.

A request's `Authorization` goes in; a Caller, or a 401, 403 or 429, comes out. `guard.py` is where
to begin; `docs/security.md` says what it protects against, and what it does not.
"""
