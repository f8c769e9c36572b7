"""The TOML that lists tenants: each a system of its own.

[http]                       # of the one door, as in a system's TOML
host = "0.0.0.0"
port = 8080

[tenants.acme]
system = "acme.toml"         # beside this file
folder = "var/acme"          # relative to the working folder, as in a system's TOML
workers = 2                  # in place of the system's own
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from heirloom.apps.security.settings import AuthPart
from heirloom.apps.settings import HttpPart, Settings, load
from heirloom.core.errors import ConfigError

_NAME = re.compile("[a-z0-9][a-z0-9_-]{0,31}")


class TenantPart(BaseModel):
    """One tenant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: Path
    """Its TOML, relative to this one."""
    folder: Path
    """Where its data lies."""
    workers: PositiveInt | None = None
    """Processes that answer; None: as its TOML says."""


class Tenants(BaseModel):
    """All of them, and their door."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    http: HttpPart = HttpPart()
    tenants: Mapping[str, TenantPart] = Field(min_length=1)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for name in self.tenants:
            if not _NAME.fullmatch(name):
                raise ValueError(f"tenants: {name!r} is no name; wanted a-z, 0-9, - and _")
        if self.http.auth != AuthPart():
            raise ValueError("http.auth: keys and tokens are the tenants' own; leave it out")
        folders = [part.folder.resolve() for part in self.tenants.values()]
        for one in folders:
            if sum(other == one or one in other.parents for other in folders) > 1:
                raise ValueError(f"tenants: {one} is, or holds, another tenant's folder")
        return self


def read(path: Path) -> tuple[Tenants, dict[str, Settings]]:
    """What a TOML lists, and the settings of each system by the tenant's name.

    Raises:
        ConfigError: with what is wrong; two tenants share a folder, or an issuer and an audience.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        listed = Tenants.model_validate(content)
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"not TOML: {error}"]) from None
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise ConfigError(str(path), problems) from None
    found = {
        name: load(path.parent / part.system, folder=part.folder)
        for name, part in listed.tenants.items()
    }
    seen: dict[tuple[str, str], str] = {}
    for name, settings in found.items():
        if settings.http.auth.required is False:
            problem = f"{name}: required = false; a key says whose system is asked: leave it out"
            raise ConfigError(str(path), [problem])
        if (tokens := settings.http.auth.tokens) is not None:
            other = seen.setdefault((tokens.issuer, tokens.audience), name)
            if other != name:
                raise ConfigError(
                    str(path),
                    [f"{other} and {name} take tokens of one issuer and audience; give each its "
                     "own audience, so that a token says whose it is"],
                )  # fmt: skip
    return listed, found
