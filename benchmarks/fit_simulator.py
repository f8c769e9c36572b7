"""The simulator's marginals beside those of the real sets.

    python benchmarks/fit_simulator.py --data DIR [--write docs/simulator.md]

Prints a Markdown table; with --write it replaces what stands between the markers there.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from heirloom.core.event import Kind
from heirloom.simulator import Mixed, Size, World

BEGIN, END = "<!-- fit begins -->", "<!-- fit ends -->"
SAME = {"off white": "off-white", "dolce gabbana": "dolce & gabbana", "chloe": "chloé",
        "hermes": "hermès"}  # fmt: skip


def real(data: Path) -> dict[str, float]:
    """Moments of the real sets."""
    v = pl.read_parquet(data / "vestiaire_listings/listings.parquet")
    v = v.filter(pl.col("department").is_in(["women", "men"]))
    v = v.with_columns(pl.col("brand").replace(SAME), pl.col("price_eur").log().alias("lp"))
    found = {"ln price, sd after brand": _after_brand(v["lp"].to_numpy(), v["brand"].to_list())}
    for brand in ("kate spade", "prada", "gucci", "louis vuitton", "chanel"):
        found[f"ln price, mean, {brand}"] = float(v.filter(pl.col("brand") == brand)["lp"].mean())
    centred = v.with_columns(pl.col("lp") - pl.col("lp").mean().over("brand"))
    for family in ("clothing", "shoes", "bags", "accessories"):
        part = centred.filter((pl.col("category") == family) & (pl.col("department") == "women"))
        found[f"ln price after brand, mean, women/{family}"] = float(part["lp"].mean())
    graded = v["condition"].drop_nulls()
    for condition in ("never worn", "very good condition", "good condition"):
        found[f"share, {condition}"] = float((graded == condition).mean())
    found |= _counts("likes", v["likes"].to_numpy(), (25, 50, 75, 90))

    g = pl.read_parquet(data / "grailed_sold/listings.parquet")
    found |= _counts("photos", g["photo_count"].to_numpy(), (25, 50, 75))
    days = ((g["sold_at"] - g["created_at"]).dt.total_hours() / 24).to_numpy()
    found |= _life(days, g["n_price_drops"].to_numpy())
    dropped = g.filter(pl.col("n_price_drops") > 0)
    factor = (dropped["list_price_usd"] / dropped["first_price_usd"]).log().sum()
    found["price drops, mean factor"] = float(np.exp(factor / dropped["n_price_drops"].sum()))

    y = pl.read_parquet(data / "yoochoose_100k/clicks.parquet")
    found |= _sessions(y.group_by("session_id").len()["len"].to_numpy())
    users = pl.read_parquet(data / "c2c_fashion_users/users.parquet")
    found["sellers, share of the first 1 % of users"] = _top(users["products_listed"].to_numpy())
    return found


def simulated(seed: int) -> dict[str, float]:
    """The same moments of a demo world, run for its days under the mixed policy."""
    world = World(Size.DEMO, seed)
    stock, policy = world.stock, Mixed(world)
    brands = np.array(stock.brands.texts)[stock.column("brand")]
    lp = np.log(stock.column("price_minor") / 100)
    found = {"ln price, sd after brand": _after_brand(lp, brands.tolist())}
    for brand in ("kate spade", "prada", "gucci", "louis vuitton", "chanel"):
        found[f"ln price, mean, {brand}"] = float(lp[brands == brand].mean())
    means = np.bincount(stock.column("brand"), lp) / np.bincount(stock.column("brand"))
    rest = lp - means[stock.column("brand")]
    for family in ("clothing", "shoes", "bags", "accessories"):
        path = stock.paths.find(f"women/{family}")
        part = rest[stock.goods().family == path]
        found[f"ln price after brand, mean, women/{family}"] = float(part.mean())
    conditions = np.array(stock.conditions.texts)[stock.column("condition")]
    for condition in ("never worn", "very good condition", "good condition"):
        found[f"share, {condition}"] = float((conditions == condition).mean())
    fresh = stock.column("listed_at") > world.start_ms - 30 * 86_400_000
    found |= _counts("likes", stock.column("likes")[fresh], (25, 50, 75, 90))
    found |= _counts("photos", stock.column("photos"), (25, 50, 75))
    sellers = np.bincount(stock.column("seller"))
    # A sixth of the c2c users sell at all: 1 % of users are 6 % of sellers.
    found["sellers, share of the first 1 % of users"] = float(
        np.sort(sellers)[::-1][: max(1, int(len(sellers) * 0.01 / 0.16))].sum() / sellers.sum()
    )
    clicks: list[int] = []
    factors: list[float] = []
    while world.day < world.size.days:
        before = stock.column("price_minor").copy()
        batch = world.step(policy)
        moved = [i for i, kind in enumerate(batch.changes.kind) if kind is Kind.PRICE_CHANGED]
        new = batch.changes.price_minor[moved]
        factors += np.log(new / before[batch.changes.number[moved]]).tolist()
        bot = world.people.taste.bot
        session = [
            p.queries.session[
                p.actions.row[(p.actions.action == 0) & ~bot[p.queries.asks.person[p.actions.row]]]
            ]
            for p in batch.rounds
        ]
        if session:
            clicks += np.unique(np.concatenate(session), return_counts=True)[1].tolist()
    sold = stock.column("status") == 2
    days = (stock.column("ended_at") - stock.column("listed_at"))[sold] / 86_400_000
    found |= _life(days, stock.column("drops")[sold])
    found["price drops, mean factor"] = float(np.exp(np.mean(factors)))
    many = np.array(clicks)
    return found | _sessions(many[many >= 2])


def _after_brand(lp: NDArray[np.float64], brands: list[str]) -> float:
    _, code = np.unique(brands, return_inverse=True)
    return float((lp - (np.bincount(code, lp) / np.bincount(code))[code]).std())


def _counts(name: str, values: NDArray[np.generic], at: tuple[int, ...]) -> dict[str, float]:
    found = {f"{name}, mean": float(np.mean(values))}
    return found | {f"{name}, {p} %": float(np.percentile(values, p)) for p in at}


def _life(days: NDArray[np.float64], drops: NDArray[np.generic]) -> dict[str, float]:
    found = {f"days to sale, {p} %": float(np.percentile(days, p)) for p in (25, 50, 75)}
    found["price drops by the sale, mean"] = float(np.mean(drops))
    return found | {"price drops by the sale, share with none": float((drops == 0).mean())}


def _sessions(clicks: NDArray[np.generic]) -> dict[str, float]:
    found = {"clicks in sessions of two or more, mean": float(np.mean(clicks))}
    return found | {
        f"clicks in sessions of two or more, {p} %": float(np.percentile(clicks, p))
        for p in (50, 90)
    }


def _top(listed: NDArray[np.float64]) -> float:
    return float(np.sort(listed)[::-1][: len(listed) // 100].sum() / listed.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sets")
    parser.add_argument("--write", type=Path, help="Markdown file with the two markers")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    there, here = real(asked.data), simulated(asked.seed)
    lines = ["| moment | real | simulated |", "|---|---:|---:|"]
    lines += [f"| {name} | {there[name]:.2f} | {here[name]:.2f} |" for name in there]
    table = "\n".join(lines)
    print(table)
    if asked.write:
        text = asked.write.read_text(encoding="utf-8")
        head, rest = text.split(BEGIN)
        tail = rest.split(END)[1]
        asked.write.write_text(f"{head}{BEGIN}\n{table}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
