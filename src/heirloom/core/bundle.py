"""ModelBundle: a ranker with all that is needed to trust it, in one folder."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

R = TypeVar("R")

FORMAT = 1
MANIFEST_FILE = "manifest.json"


class DataWindow(msgspec.Struct, frozen=True, kw_only=True):
    """What part of the log a model was trained on."""

    from_offset: int
    to_offset: int
    """The first offset that was not read."""
    from_t: int
    """ms since 1970 UTC, of the first training example."""
    to_t: int
    """ms since 1970 UTC, of the last."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in a bundle's manifest.json. Nothing in it depends on the wall clock."""

    format: int = FORMAT
    name: str
    kind: str
    """Which loader reads the weights: the ranker's name in the registry."""
    columns: tuple[str, ...]
    """Features wanted, in order, as `view@version.feature`."""
    actions: tuple[str, ...]
    data_window: DataWindow
    metrics: dict[str, float]
    slices: dict[str, dict[str, float]]
    """Metrics by slice: slice → metric → value."""
    negatives: str
    """The rule by which rows without an action came in: shown and passed over, or drawn how."""
    encoders: str = ""
    """model_id of the encoders whose vectors the features rest on; they lie in the bundle, unless
    they are the hashed ones that every system has. Empty in bundles written before these."""
    seed: int
    settings: dict[str, str | int | float | bool]
    """What the ranker was fitted with."""
    code_version: str
    files: dict[str, str]
    """SHA-256 of every other file of the folder, by its path inside it."""


@dataclass(frozen=True, slots=True)
class ModelBundle(Generic[R]):
    """A ranker that was loaded whole, and its manifest.

    Attributes:
        bundle_id: hash of the manifest, hence of every file: same log range, same settings, same
            seed, same code give the same id.
    """

    bundle_id: str
    manifest: Manifest
    ranker: R
