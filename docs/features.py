"""`docs/features.md` from the views' definitions. Run as `make docs`; a test compares."""

from pathlib import Path

from heirloom.features.library import marketplace_view, rental_view
from heirloom.features.view import FeatureView

PAGE = Path(__file__).with_name("features.md")
_OPENING = """\
# Features

Made from `src/heirloom/features/library.py` by `make docs`; do not edit by hand. The words of a
definition (Counter, Ratio, Trend, …) and their formulas stand in `algebra.py` beside it, the
windows and their hops in `windows.py`. A view's version changes whenever a value could, and a
bundle trained with another version is refused.

A value is a pure function of its definition's version, the key, the request's time t and the log
offset n applied: a window ends in the bucket of t, and reaches back by its length from t or from
the newest event before n, whichever is later ([adr/0003](adr/0003-feature-values.md),
[adr/0006](adr/0006-reads-of-the-past.md)).
"""


def page() -> str:
    """The whole page, one section a view."""
    views = (marketplace_view(), rental_view(("size",)), rental_view(("size",), codes=False))
    return "\n".join([_OPENING, *map(_section, views)])


def _section(view: FeatureView) -> str:
    groups = [view.groups[of].name for of in view.group_of.tolist()]
    lines = "".join(
        f"| `{column}` | {group} | {about} | {unit} | {missing} |\n"
        for (column, about, unit, missing), group in zip(view.describe(), groups, strict=True)
    )
    told = ", ".join(f"{group.name} ({group.about})" for group in view.groups)
    where = "home, similar and search" if view.name == "marketplace" else "one attribute declared"
    return (
        f"## {view.name}\n\n{len(view.columns)} columns, version `{view.version}` ({where}).\n\n"
        f"Groups ([explanations](explanations.md)): {told}.\n\n"
        f"| column | group | what it is for | unit | NaN |\n|---|---|---|---|---|\n{lines}"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print("wrote docs/features.md")
