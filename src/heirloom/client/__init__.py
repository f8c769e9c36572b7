"""The client: asks a running heirloom over HTTP, with the structs that the server itself uses.

`Client` waits, `AsyncClient` is awaited; both say the same. `pip install 'heirloom[client]'`.
`client.py` is where to begin, `retry.py` says what is asked again and when.
"""

from heirloom.client.client import AsyncClient, Client
from heirloom.client.errors import DeniedError, RefusedError, UnavailableError

__all__ = ["AsyncClient", "Client", "DeniedError", "RefusedError", "UnavailableError"]
