import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from heirloom.core.errors import BundleError, ConfigError, InputError
from heirloom.encoders import safetensors
from heirloom.encoders.history import Histories
from heirloom.encoders.training.fit import Epoch, Recipe, fit
from heirloom.encoders.training.objective import Lifetimes, Objective, Sampling
from heirloom.encoders.training.person import Events, PersonModel, Shape
from heirloom.encoders.training.towers import AttributeBag, vectors_of
from heirloom.encoders.training.windows import batches, cut

from . import circle

PLAIN = Recipe(rows=16, epochs=12, learning_rate=0.02, sampling=Sampling(uniform=8))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def foretold(model: PersonModel, tower: AttributeBag, read: list[int]) -> int:
    """The likeliest item after those read."""
    items = torch.tensor([read])
    none = torch.zeros_like(items)
    with torch.no_grad():
        every = vectors_of(tower)
        after = model(every[items], Events(items, none, none, none))[0, -1]
        return int((after @ every[1:].T).amax(0).argmax()) + 1


@pytest.mark.parametrize(
    ("recipe", "shape"),
    [
        (PLAIN, {}),
        (replace(PLAIN, sampling=Sampling(uniform=8, in_batch=True, queue=32, mined=2)), {}),
        (replace(PLAIN, bfloat16=True), {}),
        (PLAIN, {"vectors": 3, "unit": True}),
    ],
)
def test_what_always_follows_is_foretold(recipe: Recipe, shape: dict[str, object]) -> None:
    model, tower = circle.model_and_tower(**shape)  # type: ignore[arg-type]
    epochs = fit(model, tower, circle.histories(), recipe, lambda: float(-_loss(model, tower)))
    assert epochs[-1].loss < epochs[0].loss
    assert [foretold(model, tower, [i, i + 1]) for i in (1, 5, 10)] == [3, 7, 12]


def _loss(model: PersonModel, tower: AttributeBag) -> float:
    held_out = circle.histories(30, seed=9)
    objective = Objective(model, tower, held_out, Sampling(uniform=8))
    rng = np.random.default_rng(0)
    with torch.no_grad():
        return float(
            np.mean([float(objective(b, rng, 1)) for b in batches(cut(held_out, 50), 16, rng)])
        )


def run(file: Path, die_after: int, *torchrun: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *torchrun, "-m", circle.__name__, str(file), str(die_after)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_run_killed_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole.safetensors", 0)
    assert whole.returncode == 0, whole.stderr
    file = tmp_path / "killed.safetensors"
    assert run(file, 2).returncode == -9
    assert run(file, 0).stdout == whole.stdout


@pytest.mark.timeout(900)
def test_two_processes_learn_what_one_does_also_when_killed(tmp_path: Path) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    two = tmp_path / "two.safetensors"
    assert run(two, 2, *torchrun).returncode != 0
    done = run(two, 0, *torchrun)
    assert done.returncode == 0, done.stderr
    wanted, _ = safetensors.read(two)

    model, tower = circle.model_and_tower(dropout=0.0)
    one = tmp_path / "one.safetensors"
    people = circle.histories(circle.PEOPLE)
    fit(model, tower, people, circle.RECIPE, lambda: circle.valued(tower), file=one)
    alone, _ = safetensors.read(one)
    assert alone.keys() == wanted.keys()
    for name in wanted:
        told, came_alone = wanted[name], alone[name]
        if name.endswith("query_key_value.bias"):
            # A key's bias moves all logits of a softmax alike: its gradient is rounding alone.
            told, came_alone = np.delete(told, np.s_[16:32]), np.delete(came_alone, np.s_[16:32])
        np.testing.assert_allclose(told, came_alone, atol=2e-4, err_msg=name)


def test_it_stops_when_validation_is_no_better_and_keeps_the_best() -> None:
    model, tower = circle.model_and_tower()
    values, kept = iter([0.1, 0.5, 0.4, 0.3, 0.9]), []

    def validate() -> float:
        kept.append(circle.weights(model, tower))
        return next(values)

    epochs = fit(model, tower, circle.histories(), replace(PLAIN, patience=2), validate)
    assert [epoch.validation for epoch in epochs] == [0.1, 0.5, 0.4, 0.3]
    assert circle.weights(model, tower) == kept[1]


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    fit(
        *circle.model_and_tower(),
        circle.histories(),
        replace(PLAIN, epochs=1),
        lambda: 0,
        file=file,
    )
    with pytest.raises(BundleError, match="another run"):
        fit(
            *circle.model_and_tower(), circle.histories(), replace(PLAIN, rows=8), lambda: 0,
            file=file,
        )  # fmt: skip
    with pytest.raises(BundleError, match="another run"):
        fit(*circle.model_and_tower(), circle.histories(seed=1), PLAIN, lambda: 0, file=file)


def test_more_epochs_may_be_added_to_a_run(tmp_path: Path) -> None:
    told: list[Epoch] = []
    file = tmp_path / "run.safetensors"
    for epochs in (1, 3):
        fit(
            *circle.model_and_tower(), circle.histories(), replace(PLAIN, epochs=epochs),
            lambda: 0.0, file=file, progress=told.append,
        )  # fmt: skip
    assert [epoch.number for epoch in told] == [1, 2, 3]
    assert all(epoch.sequences > 0 and epoch.tokens > epoch.sequences for epoch in told)


def test_negatives_that_were_not_live_do_not_count() -> None:
    """Items above 6 came after all that was done: their vectors must not move."""
    model, tower = circle.model_and_tower()
    items = np.array([1, 2, 3, 4, 5, 6])
    codes = np.zeros(6, np.int8)
    histories = Histories(np.array([0, 6]), items, codes, codes, np.full(6, 1_000))
    begin = np.where(np.arange(circle.ITEMS + 1) > 6, 2_000, 0)
    lifetimes = Lifetimes(begin, np.full(circle.ITEMS + 1, 3_000))
    objective = Objective(model, tower, histories, Sampling(uniform=200), lifetimes)
    batch = next(batches(cut(histories, 50), 4, np.random.default_rng(0)))
    objective(batch, np.random.default_rng(0), 1).backward()
    moved = tower.ids.grad.abs().sum(1) > 0
    assert moved[1:7].all()
    assert not moved[7:].any()


def test_kinds_without_worth_are_no_labels() -> None:
    model, tower = circle.model_and_tower()
    kinds = np.array([0, 1, 1, 0], np.int8)
    histories = Histories(
        np.array([0, 4]), np.array([1, 2, 3, 4]), kinds, np.zeros(4, np.int8), np.arange(4)
    )
    model.eval()
    found = []
    for weights in ((0.0, 1.0), (0.0, 7.0), (1.0, 1.0)):
        objective = Objective(model, tower, histories, Sampling(uniform=8, weights=weights))
        batch = next(batches(cut(histories, 50), 4, np.random.default_rng(0)))
        found.append(float(objective(batch, np.random.default_rng(0), 1).detach()))
    assert found[0] == pytest.approx(found[1])
    assert found[0] != pytest.approx(found[2])


def test_a_loss_that_is_no_number_is_named() -> None:
    model, tower = circle.model_and_tower()
    torch.nn.init.constant_(tower.ids, float("nan"))
    with pytest.raises(InputError, match="loss of epoch 1 is nan"):
        fit(model, tower, circle.histories(), PLAIN, lambda: 0)


def test_items_beyond_the_tower_are_refused() -> None:
    model, tower = circle.model_and_tower()
    with pytest.raises(InputError, match=r"item 99 came; the tower has rows 1 … 12"):
        fit(model, tower, Histories.of_items([np.array([1, 99])]), PLAIN, lambda: 0)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Recipe(rows=0, learning_rate=2.0), "2 problem"),
        (lambda: Recipe(average=1.0), "average is 1.0"),
        (lambda: Sampling(uniform=0), "uniform is 0"),
        (lambda: Sampling(queue=5), "queue is set without in_batch"),
        (lambda: Shape(dim=10, heads=3), "multiple of heads"),
        (lambda: Shape(layers=0), "layers is 0"),
    ],
)
def test_impossible_settings_are_refused(make: object, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        make()  # type: ignore[operator]
