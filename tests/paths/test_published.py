"""A bundle trained on another version of a view is refused, and told what differs."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from heirloom.adapters import published as publications
from heirloom.apps.build import System
from heirloom.apps.registry import Registry
from heirloom.apps.settings import load
from heirloom.core.errors import ConfigError
from heirloom.features.library import marketplace_view
from heirloom.features.published import Published
from heirloom.features.view import FeatureView

from .conftest import LAPTOP, Marketplace


def test_a_bundle_of_another_version_is_refused_with_what_differs(
    trained: Marketplace, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(trained.system.folder, folder, ignore=shutil.ignore_patterns("*.writer*"))
    view = marketplace_view()
    seen = replace(view.features[0], kinds=("impression", "click"))  # type: ignore[type-var]
    other = FeatureView(
        view.name, (seen, *view.features[1:]), revisions={**view.revisions, seen.name: 2}
    )
    registry = Registry.installed().with_view("marketplace", lambda _: other)
    settings = load(LAPTOP, folder=folder)
    with pytest.raises(ConfigError, match=r"trained on .*train again"):
        System(settings, registry=registry)
    both = Published().publish(view, offset=0, t=1).publish(other, offset=0, t=2)
    publications.write(folder, both)
    with pytest.raises(ConfigError) as refused:
        System(settings, registry=registry)
    assert "listing_seen changed: kinds from ['impression'] to ['impression', 'click']" in str(
        refused.value
    )
    System(settings, registry=registry, answering=False).close()  # it can be trained again
