"""Preferences: what people state in `prefer` events; brands and sizes as codes besides.

Names are kept, and become codes when they are asked for: a brand may be stated before the first
listing of it comes, and how the log was cut into parts must not decide whether it is found.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from heirloom.core.event import Kind, Scalar, person_key
from heirloom.core.kept import Arrays, Given, alike, object_of, of_object
from heirloom.core.log import Entry
from heirloom.core.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Preference:
    """What one person stated last. Empty: nothing."""

    brands: frozenset[int] = frozenset()
    sizes: frozenset[int] = frozenset()


class Preferences:
    """The latest statement of each person. Saying it anew replaces what is said of, no more."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._of: dict[int, dict[str, tuple[str, ...]]] = {}
        self._stated: dict[int, dict[str, Scalar | list[str]]] = {}

    def apply(self, entries: Sequence[Entry]) -> None:
        """Fold `prefer` events; their attributes `brands` and `sizes` are lists of names."""
        prefer = Kind.PREFER  # an enumeration's member is slow to reach, and events are many
        for entry in entries:
            event = entry.event
            if event.kind != prefer:
                continue
            person = self._vocabulary.find("person", person_key(event.user, event.session))
            self._stated[person] = {**self._stated.get(person, {}), **event.attributes}
            said = {
                name: tuple(stated) if isinstance(stated, list) else (str(stated),)
                for name in ("brands", "sizes")
                if (stated := event.attributes.get(name)) is not None
            }
            self._of[person] = {**self._of.get(person, {}), **said}

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        return {"of": of_object(self._of), "stated": of_object(self._stated)}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        own = alike("Preferences", arrays, self.arrays())
        of = object_of(own["of"], dict[int, dict[str, tuple[str, ...]]])
        self._stated = object_of(own["stated"], dict[int, dict[str, Scalar | list[str]]])
        self._of = of

    def stated(self, person: int) -> Mapping[str, Scalar | list[str]]:
        """All that a person stated, by name, each as it was stated last."""
        return self._stated.get(person, {})

    def of(self, person: int) -> Preference:
        """What a person stated, as codes of the names that listings have by now."""
        said = self._of.get(person)
        if said is None:
            return Preference()
        return Preference(
            _codes(self._vocabulary, "brand", said.get("brands", ())),
            _codes(self._vocabulary, "size", said.get("sizes", ())),
        )


def _codes(vocabulary: Vocabulary, field: str, names: Iterable[str]) -> frozenset[int]:
    """Codes of names, in the case that listings use; a name no listing has yet has none."""
    forms = {form for name in names for form in (name, name.upper(), name.lower(), name.title())}
    return frozenset(code for form in forms if (code := vocabulary.find(field, form)))
