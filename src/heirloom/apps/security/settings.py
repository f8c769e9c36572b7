"""[http.auth] of a system's TOML."""

from ipaddress import ip_address
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from heirloom.apps.security.caller import Allowance

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
"""With a public and a private key each. With one key for both (HS256), whoever could check a token
could also make one."""


class TokensPart(BaseModel):
    """Tokens of an identity provider (OpenID Connect)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str = Field(min_length=1)
    """As `iss` says it, to the letter."""
    audience: str = Field(min_length=1)
    """As `aud` says it; one of its own for each system, so that no other's tokens open it."""
    keys: str
    """The provider's public keys (JWKS): an https address, or a file."""
    inside: bool = False
    """Whether that address may be of this machine or of a network of one's own (10/8, fd00::/8);
    one of the link alone (169.254/16) never is."""
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256", "ES256"), min_length=1)
    scope_claim: str = "scope"
    scope_prefix: str = ""
    """What stands before our scopes: "heirloom:" for `heirloom:read`."""
    leeway_s: int = Field(default=30, ge=0, le=300)
    """By so much the clocks may differ."""
    refresh_s: PositiveInt = 300
    """How often an address is asked for its keys."""

    @model_validator(mode="after")
    def _of_safe_source(self) -> Self:
        try:
            address = urlsplit(self.keys)
            near = address.scheme == "http" and is_loopback(address.hostname or "")
        except ValueError as error:
            raise ValueError(f"keys: {error}; wanted https://…, or a file") from error
        if "://" in self.keys and address.scheme != "https" and not (near and self.inside):
            raise ValueError(
                "keys: wanted https://…, or a file; http of this machine with inside = true"
            )
        return self


class AuthPart(BaseModel):
    """Who may ask. Keys lie in the system's folder, made by `heirloom keys add`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    required: bool | None = None
    """Whether a key or a token is asked for; left out: where others than this machine can ask."""
    per_second: float = Field(default=0.0, ge=0, lt=1e9)
    """Requests of each key in the long run; 0: no limit. A key may have an allowance of its own."""
    burst: PositiveInt = 50
    """Requests of each key at once, where `per_second` limits them."""
    tokens: TokensPart | None = None

    @property
    def allowance(self) -> Allowance:
        """What is granted to a caller without one of their own."""
        return Allowance(self.per_second, self.burst)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.tokens is not None and self.required is False:
            raise ValueError("tokens are named, and required = false; leave one of them out")
        return self


class AddressesPart(BaseModel):
    """How much may come from one address: who asks without a key, or with wrong ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_second: float = Field(default=0.0, ge=0, lt=1e9)
    """Requests where no key is asked for, in the long run; 0: no limit."""
    burst: PositiveInt = 100
    """And at once."""
    wrong_per_second: float = Field(default=5.0, ge=0, lt=1e9)
    """Requests that a closed door refuses with 401, before it is 429; 0: no limit."""
    wrong_burst: PositiveInt = 200
    connections: int = Field(default=0, ge=0)
    """Open at once, in each process; 0: no limit."""

    @property
    def free(self) -> Allowance:
        """Of requests that need no key."""
        return Allowance(self.per_second, self.burst)

    @property
    def wrong(self) -> Allowance:
        """Of requests with wrong keys."""
        return Allowance(self.wrong_per_second, self.wrong_burst)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
