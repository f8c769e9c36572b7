"""The peers of the vector index, in an environment of their own (`make peers`).

    python vectors.py FOLDER K [hnsw]

FOLDER holds rows.npy, queries.npy, brand.npy, category.npy, price_minor.npy, filters.json and, for
each filter, truth-NAME.npy. Printed as one line of JSON: for each library, setting and filter its
recall and the median process CPU of a search, in ms, one thread, one query at a time; under a
filter also with the predicate's evaluation in numpy.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

import faiss
import numpy as np

PROBES = (16, 32, 48, 64, 96, 128, 192, 256, 512)
FEWER_PROBES = (32, 64, 128, 256, 512)
"""For a million vectors."""


def measured(search, queries, truth):
    """Recall, and the median CPU ms of three rounds over the queries; one if recall is poor."""
    times, hits = [], []
    for turn in range(3):
        for query, wanted in zip(queries, truth, strict=False):
            start = time.process_time_ns()
            found = search(query)
            times.append((time.process_time_ns() - start) / 1e6)
            if turn == 0:
                known = wanted[wanted >= 0]
                hits.append(len(np.intersect1d(found, known)) / max(len(known), 1))
        if np.mean(hits) < 0.9:
            break
    return float(np.mean(hits)), float(np.median(times))


def faiss_index(spec, rows):
    index = faiss.index_factory(rows.shape[1], spec, faiss.METRIC_INNER_PRODUCT)
    start = time.process_time()
    sample = rows[np.random.default_rng(0).choice(len(rows), min(len(rows), 65_536), False)]
    index.train(sample)
    index.add(rows)
    return index, time.process_time() - start


def parameters(index, probes, factor, selector=None):
    inner = None
    if isinstance(index, faiss.IndexRefine):
        base = faiss.downcast_index(index.base_index)
        if isinstance(base, faiss.IndexIVF):
            inner = faiss.SearchParametersIVF(nprobe=probes, sel=selector)
        elif selector is not None:
            inner = faiss.SearchParameters(sel=selector)
        return faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=inner)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=probes, sel=selector)
    return faiss.SearchParameters(sel=selector) if selector is not None else None


def unfiltered(name, index, build, queries, truth, k, grid):
    """One line a setting; a grid is left when recall is as good as it will be."""
    for probes, factor in grid:
        asked = parameters(index, probes, factor)
        recall, cpu = measured(
            lambda q, asked=asked: index.search(q[None], k, params=asked)[1][0], queries, truth
        )
        yield {"library": f"faiss {name} nprobe={probes} k_factor={factor}", "filter": "none",
               "recall": recall, "cpu_ms": cpu, "build_s": build}  # fmt: skip
        if recall > 0.999:
            return


def predicate(where, columns):
    """[n] bool, in numpy, by the quickest way known to us: a table look-up and comparisons."""
    keep = None
    for name, values in where["among"].items():
        table = np.zeros(columns[name].max() + 2, np.bool_)
        table[values] = True
        part = table[columns[name]]
        keep = part if keep is None else keep & part
    for name, (low, high) in where["between"].items():
        part = (columns[name] >= low) & (columns[name] <= high)
        keep = part if keep is None else keep & part
    return keep


def filtered(name, index, build, queries, truth, k, where, columns, grid):
    """As `unfiltered`, through a bitmap of what passes."""
    start = time.process_time()
    for _ in range(10):
        keep = predicate(where, columns)
        bits = np.packbits(keep, bitorder="little")
    evaluated = (time.process_time() - start) * 100
    for probes, factor in grid:
        selector = faiss.IDSelectorBitmap(bits)
        asked = parameters(index, probes, factor, selector)
        try:
            recall, cpu = measured(
                lambda q, asked=asked: index.search(q[None], k, params=asked)[1][0], queries, truth
            )
        except RuntimeError as error:  # it takes no selector
            yield {"library": f"faiss {name}", "error": str(error)[-200:]}
            return
        yield {"library": f"faiss {name} nprobe={probes} k_factor={factor}", "recall": recall,
               "cpu_ms": cpu + evaluated, "search_ms": cpu, "build_s": build}  # fmt: skip
        if recall > 0.99:
            return


def graphs(rows, queries, truth, k):
    """Hnswlib and usearch."""
    import hnswlib
    from usearch.index import Index

    start = time.process_time()
    graph = hnswlib.Index("ip", rows.shape[1])
    graph.init_index(len(rows), M=16, ef_construction=120)
    graph.set_num_threads(1)
    graph.add_items(rows)
    build = time.process_time() - start
    for ef in (200, 300, 400, 600, 800):
        graph.set_ef(ef)
        recall, cpu = measured(lambda q: graph.knn_query(q, k, num_threads=1)[0][0], queries, truth)
        yield {"library": f"hnswlib {version('hnswlib')} M=16 ef={ef}", "filter": "none",
               "recall": recall, "cpu_ms": cpu, "build_s": build}  # fmt: skip
    start = time.process_time()
    other = Index(ndim=rows.shape[1], metric="ip", connectivity=16, expansion_add=120)
    other.add(np.arange(len(rows)), rows, threads=1)
    build = time.process_time() - start
    for ef in (300, 600):
        other.expansion_search = ef
        recall, cpu = measured(lambda q: other.search(q, k, threads=1).keys, queries, truth)
        yield {"library": f"usearch {version('usearch')} M=16 ef={ef}", "filter": "none",
               "recall": recall, "cpu_ms": cpu, "build_s": build}  # fmt: skip


def main():
    os.environ["OMP_NUM_THREADS"] = "1"
    faiss.omp_set_num_threads(1)
    folder, k = Path(sys.argv[1]), int(sys.argv[2])
    rows, queries = np.load(folder / "rows.npy"), np.load(folder / "queries.npy")
    filters = json.loads((folder / "filters.json").read_text())
    columns = {n: np.load(folder / f"{n}.npy") for n in ("brand", "category", "price_minor")}
    truth = {name: np.load(folder / f"truth-{name}.npy") for name in ("none", *filters)}
    lists = 1024
    lines = []
    large = len(rows) > 500_000
    probes = FEWER_PROBES if large else PROBES
    pairs = [(p, f) for f in (2, 4) for p in probes]
    for spec, grid in (
        (f"IVF{lists},PQ64x4fs,RFlat", pairs),
        (f"IVF{lists // 4},PQ64x4fs,RFlat", pairs),
        (f"IVF{lists},Flat", [(p, 1) for p in probes]),
        ("PQ64x4fs,RFlat", [(0, 2), (0, 4)]),
        ("Flat", [(0, 1)]),
    ):
        if large and spec.startswith(("PQ", f"IVF{lists // 4},")):
            continue  # dearer than the others at that size
        index, build = faiss_index(spec, rows)
        lines += unfiltered(spec, index, build, queries, truth["none"], k, grid)
        for name, where in filters.items():
            few = [(p, f) for p, f in grid if p in (0, 64, 128, 256, 512) and f < 4]
            for line in filtered(
                spec, index, build, queries[::4], truth[name][::4], k, where, columns, few
            ):
                lines.append({"filter": name, **line})
        del index
    if "hnsw" in sys.argv[3:]:
        lines += graphs(rows, queries, truth["none"], k)
    print(json.dumps({"faiss": version("faiss-cpu"), "lines": lines}))


if __name__ == "__main__":
    main()
