"""Published: which definitions a system has bound itself to, and when.

A team publishes a view once (`heirloom features publish`, in CI). From then on the system starts
only with definitions that are published, as they were published: what serves cannot change under
a name. Why: docs/adr/0005-published-definitions.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from heirloom.core.errors import ConfigError
from heirloom.features.algebra import Definition, columns_of, unit_of
from heirloom.features.definition import (
    Hops,
    Source,
    changes,
    digest,
    hops_of,
    source_of,
    version_of,
)
from heirloom.features.kernel import KERNEL_VERSION
from heirloom.features.view import FeatureView

FORMAT = 1
PUBLISH = "run `heirloom features publish`"


@dataclass(frozen=True)
class Publication:
    """One version of one definition, as it was published.

    Attributes:
        version: 8 hex digits: the hash of source, hops, revision and kernel.
        revision: stated by the author, from 1.
        kernel: the kernel's version that gave the values.
        source: the definition as plain JSON (definition.source_of).
        hops: length and hop in ms of the windows it names.
        columns: names without view and version.
        unit: what a value is measured in.
        owner: who answers for it.
        about: what it is for.
        first_offset: end of the log when it was published.
        first_t: ms since 1970 UTC, when it was published.
    """

    version: str
    revision: int
    kernel: int
    source: Source
    hops: Hops
    columns: tuple[str, ...]
    unit: str
    owner: str
    about: str
    first_offset: int
    first_t: int

    @property
    def whole(self) -> bool:
        """Whether the version is that of the content: False once a file was edited by hand."""
        return self.version == digest(self.source, self.hops, self.revision, self.kernel)


@dataclass(frozen=True)
class PublishedView:
    """The publications of one view.

    Attributes:
        definitions: by name, in the order of publication.
        versions: by version of the view, the version of each of its definitions.
    """

    definitions: Mapping[str, tuple[Publication, ...]] = field(default_factory=dict)
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """All publications of a system, by view. Immutable: `publish` gives a new one."""

    views: Mapping[str, PublishedView] = field(default_factory=dict)
    format: int = FORMAT

    def refusals(self, view: FeatureView) -> list[str]:
        """Why a view cannot be published: definitions that changed under their name."""
        return list(self._changed(view))

    def unpublished(self, view: FeatureView) -> list[str]:
        """Names of the view's definitions whose version was never published."""
        known = self.of(view.name).definitions
        return [
            name
            for name, version in view.versions.items()
            if version not in {each.version for each in known.get(name, ())}
        ]

    def check(self, view: FeatureView) -> None:
        """Refuse a view that is not what was published.

        Raises:
            ConfigError: naming each definition that changed, or was not published, and what to do.
        """
        problems = self.refusals(view)
        if not problems and (missing := self.unpublished(view)):
            problems.append(
                f"not published: {', '.join(missing)}; {PUBLISH} for this folder before it "
                "trains or serves with them"
            )
        if problems:
            raise ConfigError(f"view {view.name!r} and what was published", problems)

    def publish(self, view: FeatureView, *, offset: int, t: int) -> "Published":
        """With the view's definitions published; itself where nothing is new.

        Owner and description of a version that was published before are brought up to date.

        Args:
            view: what is published.
            offset: end of the log.
            t: ms since 1970 UTC.

        Raises:
            ConfigError: if a definition changed under its name.
        """
        if problems := self.refusals(view):
            raise ConfigError(f"view {view.name!r} and what was published", problems)
        known = self.of(view.name)
        definitions = dict(known.definitions)
        for definition in view.features:
            before = definitions.get(definition.name, ())
            fresh = _publication(view, definition, offset, t)
            there = [each.version for each in before]
            if fresh.version in there:
                at = there.index(fresh.version)
                fresh = replace(
                    fresh, first_offset=before[at].first_offset, first_t=before[at].first_t
                )
                before, rest = before[:at], before[at + 1 :]
            else:
                rest = ()
            definitions[definition.name] = (*before, fresh, *rest)
        versions = {**known.versions, view.version: dict(view.versions)}
        return replace(self, views={**self.views, view.name: PublishedView(definitions, versions)})

    def of(self, name: str) -> PublishedView:
        """The publications of a view; none if it never was published."""
        return self.views.get(name, PublishedView())

    def _changed(self, view: FeatureView) -> Iterator[str]:
        known = self.of(view.name).definitions
        for definition in view.features:
            name, revision = definition.name, view.revision(definition.name)
            before = known.get(name, ())
            mine = [each for each in before if each.revision == revision]
            highest = max((each.revision for each in before), default=0)
            if not mine:
                if revision < highest:
                    yield f"{name}: revision {revision} is new, but {highest} is published already"
                continue
            changed = changes(mine[-1].source, source_of(definition))
            if not changed and mine[-1].kernel == KERNEL_VERSION:
                changed = _changes_of_hops(mine[-1].hops, hops_of(source_of(definition)))
            if changed:
                yield (
                    f"{name} was published as version {mine[-1].version} (revision {revision}, "
                    f"offset {mine[-1].first_offset}) and has changed since: "
                    f"{'; '.join(changed)}; publish it under a new name, or state a higher "
                    f"revision: FeatureView(…, revisions={{{name!r}: {highest + 1}}})"
                )


def difference(trained: Sequence[str], view: FeatureView, published: Published | None) -> list[str]:
    """What differs between the columns of a bundle and those of a view, as sentences.

    What the columns cannot say (a definition changed under its column's name) is looked up among
    the publications, where the bundle's version of the view was published.
    """
    said = []
    then, now = ([c.partition(".")[2] for c in columns] for columns in (trained, view.columns))
    prefixes = {column.partition(".")[0] for column in trained}
    if gone := [column for column in then if column not in set(now)]:
        said.append(f"no longer there: {_some(gone)}")
    if new := [column for column in now if column not in set(then)]:
        said.append(f"new: {_some(new)}")
    if not gone and not new and then != now:
        said.append("their order is another")
    name, _, version = min(prefixes, default="").partition("@")
    known = (published or Published()).of(view.name)
    if name != view.name or version not in known.versions:
        return said
    current = {definition.name: definition for definition in view.features}
    for each, trained_version in known.versions[version].items():
        if each not in current or view.versions[each] == trained_version:
            continue
        before = next(p for p in known.definitions[each] if p.version == trained_version)
        fields = changes(before.source, source_of(current[each]))
        fields += [
            f"{label} from {old} to {new}"
            for label, old, new in (
                ("revision", before.revision, view.revision(each)),
                ("kernel", before.kernel, KERNEL_VERSION),
            )
            if old != new
        ]
        said.append(f"{each} changed: {'; '.join(fields)}")
    return said


def _publication(view: FeatureView, definition: Definition, offset: int, t: int) -> Publication:
    source, revision = source_of(definition), view.revision(definition.name)
    return Publication(
        version=version_of(definition, revision),
        revision=revision,
        kernel=KERNEL_VERSION,
        source=source,
        hops=hops_of(source),
        columns=columns_of(definition),
        unit=unit_of(definition),
        owner=view.owner,
        about=definition.about,
        first_offset=offset,
        first_t=t,
    )


def _changes_of_hops(before: Hops, after: Hops) -> list[str]:
    return [
        f"window {name} from (length, hop) {before[name]} ms to {after[name]} ms"
        for name in sorted(before.keys() & after.keys())
        if before[name] != after[name]
    ]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
