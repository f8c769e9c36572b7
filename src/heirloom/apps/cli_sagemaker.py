"""`heirloom package`, and what `serve` and `train` do in a SageMaker container."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from heirloom.apps.options import LAPTOP, Folder, SystemFile, settings_of

OPT_ML = Path("/opt/ml")
AsContainer = Annotated[
    bool, typer.Option("--sagemaker", help="As SageMaker asks of a container; docs/sagemaker.md.")
]
OptMl = Annotated[
    Path, typer.Option("--opt-ml", help="Where SageMaker's files lie; with --sagemaker.")
]
packages = typer.Typer()
console = Console()


@packages.command()
def package(
    out: Annotated[Path, typer.Option(help="model.tar.gz")],
    log: Annotated[
        bool, typer.Option(help="With the log; without it the ranker alone can answer.")
    ] = True,
    system: SystemFile = LAPTOP,
    folder: Folder = None,
) -> None:
    """Write what this system answers with as one archive, to be served elsewhere.

    With its log it holds what people did: keep it as you keep the system.
    """
    from heirloom.adapters.package_files import write_archive

    size = write_archive(settings_of(system, folder).system.folder, system, out, log=log)
    console.print(f"{out}: {size:,} bytes", highlight=False, soft_wrap=True)


def serve_in_container(root: Path) -> None:
    """Serve the package under root/model until a signal."""
    from heirloom.apps import logs
    from heirloom.apps.build import System
    from heirloom.apps.sagemaker import port, unpacked
    from heirloom.apps.server import run

    with unpacked(root / "model") as settings:
        logs.begin(settings.log)
        # SageMaker alone reaches the container, and IAM says who may ask SageMaker.
        run(System(settings), host="0.0.0.0", port=port(), unguarded=True, sagemaker=True)  # noqa: S104


def train_in_container(root: Path) -> NoReturn:
    """Train what the channels under root/input hold."""
    from heirloom.apps.sagemaker import train

    raise typer.Exit(train(root))
