"""FeatureView: a named, versioned list of features of a listing for a request."""

import hashlib
from collections import Counter as Tally
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import ConfigError
from heirloom.features.algebra import Definition, First, Last, Static, columns_of, unit_of
from heirloom.features.definition import version_of
from heirloom.features.groups import Group
from heirloom.features.groups import problems_of as problems_of_groups
from heirloom.features.kernel import KERNEL_VERSION
from heirloom.features.plan import Plan, compile_plan
from heirloom.features.refusals import problems_of
from heirloom.features.state import FeatureState


@dataclass(frozen=True)
class FeatureView:
    """What a ranker may know of each candidate.

    Attributes:
        name: lower case letters, digits, _.
        features: definitions (algebra.py), each giving one column or one per window.
        owner: who answers for them; no part of the version.
        revisions: by name of a definition, 2 and more where it was published and changed since.
        groups: what the definitions are told together as, each in one of them; no part of the
            version. Without, each definition is told alone.
        versions: by name of a definition, its own version (definition.py).
        version: 8 hex digits: a hash of these and the kernel's version. It changes whenever a
            value could.
        columns: `name@version.feature`, in the order of the values.

    Raises:
        ConfigError: with all that is wrong in the definitions.
    """

    name: str
    features: tuple[Definition, ...]
    owner: str = field(default="", compare=False)
    revisions: Mapping[str, int] = field(default_factory=dict, hash=False)
    groups: tuple[Group, ...] = field(default=(), compare=False)
    versions: Mapping[str, str] = field(init=False, repr=False, compare=False)
    version: str = field(init=False)
    columns: tuple[str, ...] = field(init=False)
    _plan: Plan = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        where = f"FeatureView {self.name!r}"
        problems = [problem for definition in self.features for problem in problems_of(definition)]
        names = [column for definition in self.features for column in columns_of(definition)]
        defined = Tally(definition.name for definition in self.features)
        twice = [name for name, count in Tally(names).items() if count > 1]
        twice += [name for name, count in defined.items() if count > 1 and name not in twice]
        problems += [f"two features of one name: {name!r}; rename one of them" for name in twice]
        problems += self._problems_of_revisions(set(defined))
        if self.groups:
            problems += problems_of_groups(self.groups, defined)
        if not self.features:
            problems.append("no features")
        if problems:
            raise ConfigError(where, problems)
        versions = {
            definition.name: version_of(definition, self.revision(definition.name))
            for definition in self.features
        }
        source = repr((KERNEL_VERSION, tuple(versions.items())))
        version = hashlib.sha256(source.encode()).hexdigest()[:8]
        object.__setattr__(self, "versions", versions)
        object.__setattr__(self, "version", version)
        object.__setattr__(self, "columns", tuple(f"{self.name}@{version}.{n}" for n in names))
        object.__setattr__(self, "_plan", compile_plan(where, self.features))
        if not self.groups:
            alone = (Group(d.name, d.about or d.name, (d.name,)) for d in self.features)
            object.__setattr__(self, "groups", tuple(alone))

    def _problems_of_revisions(self, defined: set[str]) -> Iterator[str]:
        for name, revision in self.revisions.items():
            if name not in defined:
                yield f"revisions: no definition is named {name!r}; correct it or take it out"
            elif revision < 1:
                yield f"revisions: {name!r} has {revision}; wanted 1 or more"

    def revision(self, name: str) -> int:
        """How often the definition of this name was made anew, from 1."""
        return self.revisions.get(name, 1)

    @cached_property
    def group_of(self) -> NDArray[np.int64]:
        """[columns] int64: which of `groups` each column belongs to."""
        place = {name: i for i, group in enumerate(self.groups) for name in group.definitions}
        return np.array([place[d.name] for d in self.features for _ in columns_of(d)], np.int64)

    @property
    def columns_of_group(self) -> dict[str, tuple[str, ...]]:
        """The columns of each of `groups`, by its name."""
        names = np.array(self.columns)
        return {
            group.name: tuple(names[self.group_of == i].tolist())
            for i, group in enumerate(self.groups)
        }

    @cached_property
    def codes(self) -> NDArray[np.bool_]:
        """[columns] bool: whether a column's values are codes, without order."""
        coded = (Static, Last, First)
        return np.array([isinstance(d, coded) for d in self.features for _ in columns_of(d)])

    def state(self) -> FeatureState:
        """An empty state of this view, at n = 0."""
        return FeatureState(self.columns, self._plan)

    def restored(self, n: int, arrays: Mapping[str, NDArray[Any]]) -> FeatureState:
        """The state of this view whose `FeatureState.arrays()` at log offset n these are.

        Raises:
            InputError: if they are not the arrays of a state of such a view.
        """
        return FeatureState.restored(self.columns, self._plan, n, arrays)

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the columns that `FeatureState.lookup` wants handed over."""
        return self._plan.given

    def describe(self) -> Iterator[tuple[str, str, str, str]]:
        """(column, what it is for, unit, what NaN means) of each, for `docs/features.md`."""
        for definition in self.features:
            meaning = (type(definition).__doc__ or "").partition("NaN: ")[2].split(".")[0]
            for column in columns_of(definition):
                yield column, definition.about, unit_of(definition), " ".join(meaning.split())

    def table(self) -> str:
        """`describe` as a Markdown table, under the view's name and version."""
        rows = "".join(
            f"| `{name}` | {about} | {unit} | {nan} |\n"
            for name, about, unit, nan in self.describe()
        )
        head = "| feature | what it is for | unit | NaN means |\n|---|---|---|---|\n"
        return f"## {self.name}@{self.version}\n\n{head}{rows}"
