"""Tests of real programs: they skip without the program, and fail under REQUIRE_ENGINES=1."""

import os
import shutil

import pytest

PROGRAMS = {"chromium": ("chromium", "chromedriver")}
"""What the marker `engine(name)` needs on the PATH."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("engine"):
        (name,) = marker.args
        missing = [program for program in PROGRAMS[name] if shutil.which(program) is None]
        if not missing:
            continue
        reason = f"{name}: {', '.join(missing)} not on the PATH; .ci/run installs it"
        if os.environ.get("REQUIRE_ENGINES") == "1":
            pytest.fail(f"REQUIRE_ENGINES=1, but {reason}", pytrace=False)
        pytest.skip(reason)
