"""`heirloom export feast`: a system's training rows as a Feast repository."""

from pathlib import Path

from heirloom import __version__
from heirloom.adapters import feast_repository
from heirloom.adapters.feast_repository import ExportedFeature, ExportedView
from heirloom.apps.parts import empty_live, open_log, recipe_of
from heirloom.apps.registry import Registry
from heirloom.apps.settings import Settings
from heirloom.core.errors import InputError
from heirloom.features.view import FeatureView
from heirloom.pipelines.train import Progress
from heirloom.pipelines.training_rows import training_rows


def export_feast(
    settings: Settings,
    folder: Path,
    *,
    registry: Registry | None = None,
    progress: Progress = lambda *_: None,
) -> int:
    """Write the repository; how many rows it holds. It reads only, beside a server that runs.

    Args:
        settings: of the system.
        folder: of the repository; new or empty.
        registry: what names stand for; default: what is installed.
        progress: told now and then.

    Raises:
        InputError: the folder is in use, or the log holds no impressions to learn from.
        NotFoundError: there is no log.
        StoreError: the log is damaged, or the disk refuses.
    """
    system = settings.system
    if system.impressions == "none":
        raise InputError(
            f"export feast: {system.folder} takes no impressions (`impressions` is none in its "
            "TOML), and rows are exported as of impressions; export a system that takes them"
        )
    with open_log(system.folder, read_only=True) as log:
        live = empty_live(settings, registry or Registry.installed(), log, retrievers=False)
        rows = training_rows(log, live, recipe_of(settings), progress)
        return feast_repository.write(folder, exported(live.view, log.end()), rows)


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
