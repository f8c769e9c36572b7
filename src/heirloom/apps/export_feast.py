"""`heirloom export feast`: a system's training rows as a Feast repository."""

from pathlib import Path

from heirloom import __version__
from heirloom.adapters import feast_repository
from heirloom.adapters.feast_repository import ExportedFeature, ExportedView
from heirloom.apps.build import System
from heirloom.core.errors import InputError
from heirloom.features.view import FeatureView
from heirloom.pipelines.train import Progress
from heirloom.pipelines.training_rows import training_rows


def export_feast(system: System, folder: Path, progress: Progress = lambda *_: None) -> int:
    """Write the repository; how many rows it holds.

    Raises:
        InputError: the folder is in use, or the log holds no impressions to learn from.
    """
    if system.settings.system.impressions == "none":
        raise InputError(
            f"export feast: {system.folder} takes no impressions (`impressions` is none in its "
            "TOML), and rows are exported as of impressions; export a system that takes them"
        )
    live = system.empty_live(retrievers=False)
    rows = training_rows(system.log, live, system.recipe(), progress)
    return feast_repository.write(folder, exported(live.view, system.log.end()), rows)


def exported(view: FeatureView, end: int) -> ExportedView:
    """What Feast is told of a view, as of a log that ends at an offset."""
    features = [
        ExportedFeature(f"{view.name}@{view.version}.{name}", about, {"unit": unit, "nan": nan})
        for name, about, unit, nan in view.describe()
    ]
    return ExportedView(
        features,
        owner=view.owner,
        about=f"What heirloom's view {view.name} knew of a listing when it was shown.",
        tags={"version": view.version, "log_end": str(end), "heirloom": __version__},
    )
