"""Better settings for the ranker, or an honest no; and trainings that read the future, noticed.

    python examples/06_tuning.py

On your own system: `heirloom tune --trials 40 --write`, `heirloom train`, `heirloom report`.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from heirloom.apps.build import System
from heirloom.apps.demo import simulate_into
from heirloom.apps.parts import empty_live, recipe_of
from heirloom.apps.progress import Silent
from heirloom.apps.registry import Registry
from heirloom.apps.settings import Settings, load
from heirloom.apps.tuning import tune_system
from heirloom.evaluation.split import learn_stop_test
from heirloom.pipelines.as_of import as_of_impressions
from heirloom.pipelines.leakage import Limits, shuffled_labels, too_good
from heirloom.pipelines.train import examples_of_log
from heirloom.pipelines.training_report import Fitted
from heirloom.pipelines.tune import Budget
from heirloom.ranking.catboost import CatBoostListwise
from heirloom.ranking.examples import take

LAPTOP = Path(__file__).parents[1] / "systems" / "laptop.toml"
QUICK = {"iterations": 20, "thread_count": 1}


def quick(folder: str) -> Settings:
    """The laptop's system with few trees, and two settings to be tuned."""
    plain = load(LAPTOP, folder=folder).model_dump(mode="json")
    plain["index"].pop("dsn")
    plain["policy"]["ranker"] = "catboost"
    plain["training"] |= {"ranker_settings": QUICK, "audit": {"rows": 300_000}}
    plain["tuning"]["space"] = {
        "learning_rate": {"kind": "float", "low": 0.03, "high": 0.5, "log": True},
        "depth": {"kind": "int", "low": 2, "high": 7},
    }
    return Settings.model_validate(plain)


def fitted_on(examples, surfaces, recipe) -> Fitted:
    """A ranker of these examples, with what an audit wants to know of it."""
    learn, stop, test = learn_stop_test(examples.t, recipe.validation, recipe.test)
    ranker = CatBoostListwise.fit(take(examples, learn), take(examples, stop), seed=0, **QUICK)
    return Fitted(CatBoostListwise, QUICK, ranker, examples, surfaces, learn, stop, test,
                  recipe.gains, seed=0)  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = quick(folder)
        system = System(settings, answering=False)
        simulate_into(system, "tiny", 0, None, Silent())

        # Forty trials are more like it. The defaults are trial 0; a kill would lose nothing.
        report, _ = tune_system(settings, budget=Budget(trials=5), folds=2)
        for trial in report.trials:
            kept = {name: round(value, 3) for name, value in trial.settings.items()}
            folds = [round(fold, 3) for fold in trial.folds]
            print(f"trial {trial.number}: {trial.state}, NDCG@10 of its folds {folds}, {kept}")
        print(f"{report.verdict}\n")

        # Every training audits itself, and its bundle holds the report.
        _, trained = system.train()
        for finding in trained.report.findings:
            print(f"{finding.check}: {'holds' if finding.holds else finding.holds}")
        table = next(each for each in trained.report.drops if each.of == "group")
        for drop in table.drops[:4]:
            print(f"  {drop.name:<12} {drop.mean:+.4f} [{drop.low:+.4f}, {drop.high:+.4f}]")

        # A feature that is made of what came after the impression: "was acted on later".
        def empty(log):
            return empty_live(settings, Registry.installed(), log, retrievers=False), None

        recipe = recipe_of(settings)
        examples, surfaces = examples_of_log(system.log, empty(system.log)[0], recipe)
        later = replace(examples, values=np.column_stack([examples.values, examples.gains > 0]),
                        columns=(*examples.columns, "mine@1.acted_later"))  # fmt: skip
        ahead = fitted_on(later, surfaces, recipe)
        for finding in (
            too_good(ahead, (), Limits(), slates=500),
            as_of_impressions(system.log, empty, later, recipe, entries=2_000),
            shuffled_labels(ahead, slates=500),  # sees labels, not columns: this one holds
        ):
            print(f"\n{finding.check}: {finding.text}")
        system.close()


if __name__ == "__main__":
    main()
