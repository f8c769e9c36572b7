"""A stock stack for the same work, as a team might write it in its first weeks; the peer's server.

    python naive_stack.py FOLDER PORT

FastAPI with pydantic models both ways, listings and features as dicts, a LightGBM booster of 500
trees x 63 leaves asked by `predict`, and a faiss HNSW index whose answer is filtered afterwards. It
runs in an environment of its own (naive_requirements.txt) and imports nothing of ours. Like ours it
retrieves 1,000, ranks 500 on as many features, and shows `k`, at most three of one seller, each
with reasons: here the features that most exceed the mean of the candidates. It pages nothing,
records nothing, takes no events and explains no score.
"""

import json
import sys
import uuid
from pathlib import Path

import faiss
import lightgbm
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field

FOUND, RANKED, SELLER_CAP = 1_000, 500, 3
_SETTINGS = {
    "objective": "binary", "num_leaves": 63, "learning_rate": 0.05, "min_data_in_leaf": 20,
    "num_threads": 1, "verbose": -1, "seed": 0,
}  # fmt: skip


class Asked(BaseModel):
    """A request."""

    surface: str = "home"
    user: str | None = None
    session: str | None = None
    k: int = Field(24, ge=1, le=200)
    explain: bool = False


class Card(BaseModel):
    """One listing shown."""

    listing_id: str
    title: str
    brand: str
    price_minor: int
    currency: str
    image: str
    position: int
    score: float
    reasons: list[str]


class Answer(BaseModel):
    """A slate."""

    slate_id: str
    listings: list[Card]
    model: str


def trained(folder: Path) -> lightgbm.Booster:
    """The booster, from the examples in the folder; kept there."""
    kept = folder / "booster.txt"
    if not kept.exists():
        learned = np.load(folder / "examples.npz")
        data = lightgbm.Dataset(learned["values"], label=learned["gains"] > 0)
        lightgbm.train(_SETTINGS, data, num_boost_round=500).save_model(str(kept))
    return lightgbm.Booster(model_file=str(kept))


class Shop:
    """Everything in memory, in the shapes in which it came."""

    def __init__(self, folder: Path) -> None:
        told = json.loads((folder / "world.json").read_text())
        self.columns: list[str] = told["columns"]
        self.cross: list[str] = told["cross"]
        self.listings: list[dict] = told["listings"]
        self.people: dict[str, dict] = told["people"]
        rows = np.load(folder / "features.npy")
        owned = [i for i, name in enumerate(self.columns) if name in set(told["of_listing"])]
        self.features = [{self.columns[i]: float(row[i]) for i in owned} for row in rows]
        self.vectors = np.load(folder / "vectors.npy")
        self.index = faiss.IndexHNSWFlat(self.vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efSearch = 2 * FOUND
        self.index.add(self.vectors)
        self.sold: set[str] = set()
        self.booster = trained(folder)

    def found(self, person: dict | None) -> list[int]:
        """The nearest to the mean of what the person did last, less what may not be shown."""
        history = person["history"] if person else []
        wanted = self.vectors[history].mean(axis=0) if history else self.vectors[:200].mean(axis=0)
        _, near = self.index.search(wanted[None].astype(np.float32), 2 * FOUND)
        hidden = set(person["hidden"]) if person else set()
        kept = [
            row for row in near[0].tolist()
            if row >= 0 and row not in hidden and self.listings[row]["listing_id"] not in self.sold
        ]  # fmt: skip
        return kept[:FOUND]

    def row(self, at: int, person: dict | None, wanted: np.ndarray) -> list[float]:
        """A candidate's features: its own, the person's, and those of both."""
        listing, nothing = self.listings[at], float("nan")
        features = dict(self.features[at])
        if person is not None:
            features.update(person["features"])
            seen = max(len(person["history"]), 1)
            both = (
                person["brands"].get(listing["brand"], 0) / seen,
                person["categories"].get(listing["category"], 0) / seen,
                person["sizes"].get(listing["size"], 0) / seen,
                listing["price_minor"] / max(person["price"], 1),
                float(self.vectors[at] @ wanted),
                float(listing["brand"] in person["brands"]),
                float(listing["category"] in person["categories"]),
                float(listing["size"] in person["sizes"]),
            )
            features.update((name, both[i % len(both)]) for i, name in enumerate(self.cross))
        return [features.get(name, nothing) for name in self.columns]

    def slate(self, asked: Asked) -> Answer:
        """As the module says."""
        person = self.people.get(asked.user or "")
        chosen = self.found(person)[:RANKED]
        history = person["history"] if person else []
        wanted = self.vectors[history or [0]].mean(axis=0)
        values = np.array([self.row(at, person, wanted) for at in chosen], np.float32)
        scores = self.booster.predict(values, num_threads=1)
        usual = np.nanmean(values, axis=0)
        cards: list[Card] = []
        sellers: dict[str, int] = {}
        for place in np.argsort(-scores).tolist():
            listing = self.listings[chosen[place]]
            if sellers.get(listing["seller"], 0) >= SELLER_CAP:
                continue
            sellers[listing["seller"]] = sellers.get(listing["seller"], 0) + 1
            above = np.argsort(-np.nan_to_num(values[place] - usual))[:3]
            cards.append(
                Card(
                    **{name: listing[name] for name in (
                        "listing_id", "title", "brand", "price_minor", "currency", "image"
                    )},
                    position=len(cards), score=float(scores[place]),
                    reasons=[f"high {self.columns[i]}" for i in above],
                )
            )  # fmt: skip
            if len(cards) == asked.k:
                break
        return Answer(slate_id=uuid.uuid4().hex, listings=cards, model="lightgbm")


def application(folder: Path) -> FastAPI:
    """The routes."""
    shop, app = Shop(folder), FastAPI()

    @app.get("/healthz")
    def health() -> dict[str, bool]:
        return {"ok": True}

    @app.post("/v1/recommend", response_model=Answer)
    async def recommend(asked: Asked) -> Answer:
        return shop.slate(asked)

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), access_log=False
    )
