"""What stands beside a definition: its source, its version, its keys."""

import hashlib
import json
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from typing import Any

from heirloom.features.algebra import Definition, Lift
from heirloom.features.kernel import KERNEL_VERSION
from heirloom.features.windows import WINDOWS

Source = dict[str, Any]
"""A definition as plain JSON: its word (Counter, Ratio, …) and its fields, nested ones too."""
Hops = dict[str, list[int]]
"""By window: its length and hop in ms."""

_HEX = 8


def source_of(definition: Definition) -> Source:
    """The definition's frozen record as plain JSON, without what is said about it.

    A field left at a default that says nothing (`None`, `()`, `""`, a record) is left out: a word
    of the algebra may get such a field without changing the definitions that do not use it. A
    whole number is one number, however it was written.

    >>> from heirloom.features.algebra import Age
    >>> source_of(Age("listing_age", about="New stock is most of the stock."))
    {'word': 'Age', 'name': 'listing_age'}
    """
    source: Source = _plain(definition)
    return source


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        kept = [f for f in fields(value) if f.repr and f.compare and not _unsaid(value, f)]
        return {"word": type(value).__name__} | {
            f.name: _plain(getattr(value, f.name)) for f in kept
        }
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(
        f"source_of: a definition holds a {type(value).__name__}; wanted plain values and records"
    )


def _unsaid(record: Any, each: Field[Any]) -> bool:
    if each.default is MISSING:
        return False
    empty = each.default in (None, (), "") or is_dataclass(each.default)
    return empty and getattr(record, each.name) == each.default


def hops_of(source: Source) -> Hops:
    """Length and hop, in ms, of each window that a source names."""

    def texts(value: Any) -> set[str]:
        if isinstance(value, str):
            return {value}
        nested = value.values() if isinstance(value, dict) else value
        return set().union(*map(texts, nested)) if isinstance(value, dict | list) else set()

    named = texts({name: value for name, value in source.items() if name != "name"})
    return {
        name: [WINDOWS[name].length_ms, WINDOWS[name].hop_ms]
        for name in sorted(named & WINDOWS.keys())
    }


def version_of(definition: Definition, revision: int = 1) -> str:
    """8 hex digits: a hash of source, hops, revision and kernel. It changes whenever a value could.

    The revision is stated by the author; raising it gives a new version to the same source.
    """
    source = source_of(definition)
    return digest(source, hops_of(source), revision, KERNEL_VERSION)


def digest(source: Source, hops: Hops, revision: int, kernel: int) -> str:
    """The version that these four make."""
    whole = {"source": source, "hops": hops, "revision": revision, "kernel": kernel}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_HEX]


def keys_of(definition: Definition) -> list[str]:
    """What a definition's counts are kept by, as `person x brand`; its operands' ones too.

    >>> from heirloom.features.algebra import Counter
    >>> keys_of(Counter("mine", ("person", "brand"), ("click",), ("7d",)))
    ['person x brand']
    """
    if isinstance(definition, Lift):
        value = f"declared.{definition.declared}"
        return [f"{part} x {value}" for part in ("listing", "category", "all")]

    def keys(source: Source) -> list[str]:
        nested = [
            key for value in source.values() if isinstance(value, dict) for key in keys(value)
        ]
        return [" x ".join(source["key"]), *nested] if "key" in source else nested

    return list(dict.fromkeys(keys(source_of(definition))))


def changes(before: Source, after: Source) -> list[str]:
    """Which fields of a source are different, as `field from … to …`, nested ones by a path.

    >>> changes({"windows": ["24h"], "over": {"kinds": ["click"]}}, {"over": {"kinds": ["save"]}})
    ["over.kinds from ['click'] to ['save']", "windows from ['24h'] to nothing"]
    """
    found: list[str] = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{name}.{change}" for change in changes(old, new)]
        elif old != new:
            found.append(f"{name} from {_short(old)} to {_short(new)}")
    return found


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return f"{value.get('word', 'a record')} {value.get('name', '')!r}"
    return repr(value)
