"""FeatureView: a named, versioned list of features of a listing for a request."""

import hashlib
from collections import Counter as Tally
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from heirloom.core.errors import ConfigError
from heirloom.features.algebra import Definition, columns_of, unit_of
from heirloom.features.kernel import KERNEL_VERSION
from heirloom.features.plan import Plan, compile_plan
from heirloom.features.refusals import problems_of
from heirloom.features.state import FeatureState
from heirloom.features.windows import WINDOWS


@dataclass(frozen=True)
class FeatureView:
    """What a ranker may know of each candidate.

    Attributes:
        name: lower case letters, digits, _.
        features: definitions (algebra.py), each giving one column or one per window.
        version: 8 hex digits: a hash of the definitions, the hops and the kernel's version. It
            changes whenever a value could.
        columns: `name@version.feature`, in the order of the values.

    Raises:
        ConfigError: with all that is wrong in the definitions.
    """

    name: str
    features: tuple[Definition, ...]
    version: str = field(init=False)
    columns: tuple[str, ...] = field(init=False)
    _plan: Plan = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        where = f"FeatureView {self.name!r}"
        problems = [problem for definition in self.features for problem in problems_of(definition)]
        names = [column for definition in self.features for column in columns_of(definition)]
        twice = [name for name, count in Tally(names).items() if count > 1]
        problems += [f"two features of one name: {name!r}" for name in twice]
        if not self.features:
            problems.append("no features")
        if problems:
            raise ConfigError(where, problems)
        source = repr((KERNEL_VERSION, sorted(WINDOWS.items()), self.features))
        version = hashlib.sha256(source.encode()).hexdigest()[:8]
        object.__setattr__(self, "version", version)
        object.__setattr__(self, "columns", tuple(f"{self.name}@{version}.{n}" for n in names))
        object.__setattr__(self, "_plan", compile_plan(where, self.features))

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
