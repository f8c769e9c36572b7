"""The short form of `python -m benchmarks.faults_bundles`: fewer flipped bits, all else of it."""

from pathlib import Path

from benchmarks.faults_bundles import tamper


def test_no_bundle_that_was_changed_or_forged_is_loaded(tmp_path: Path) -> None:
    tried = tamper(tmp_path, flips=3)
    assert not tried.loaded
    assert tried.count > 400
