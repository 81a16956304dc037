"""Draw what results/ holds: how many times faster tfpersist is, and what was wanted.

    python benchmarks/plot.py [folder]

Writes benchmarks.png and benchmarks.svg, to docs/ if nothing else is said.
"""

from __future__ import annotations

import json
import pathlib
import sys

import harness

NAMES = {
    "save_large": "save 0.5 GB",
    "save_large_synced": "save 0.5 GB, synced",
    "save_many_20000": "save 20,000 variables",
    "save_many_1000": "save 1,000 × 100 KB",
    "incremental": "save, 95 % unchanged",
    "incremental_durable": "save, 95 % unchanged, synced",
    "background_stall": "background save, stall",
    "background_total": "background save, time of 16 steps",
    "restore_large": "restore 0.5 GB, eager",
    "restore_many": "restore 20,000 variables",
    "restore_session": "restore 0.5 GB, session",
    "read_one": "read one tensor, fresh",
    "import_time": "import",
    "freeze_checkpoint_512": "freeze 0.5 GB, checkpoint",
    "freeze_checkpoint_1536": "freeze 1.5 GB, checkpoint",
    "freeze_session_512": "freeze 0.5 GB, session",
    "freeze_session_1536": "freeze 1.5 GB, session",
    "freeze_function_512": "freeze 0.5 GB, function",
    "freeze_function_1536": "freeze 1.5 GB, function",
    "freeze_nodes": "freeze 26,000 nodes",
    "frozen_load_1": "load 1 MB and run",
    "frozen_load_10": "load 10 MB and run",
    "frozen_load_51": "load 51 MB and run",
    "frozen_load_512": "load 0.5 GB and run",
    "frozen_call": "call of a tiny graph",
    "frozen_images": "images of a small CNN",
}


def rows():
    """Return (label, ratio, wanted) of each comparison, in the order of NAMES."""
    for question, name in NAMES.items():
        path = harness.RESULTS / f"{question}.json"
        if not path.exists():
            continue
        facts = json.loads(path.read_text())
        for contender, ratio in facts["ratios"].items():
            if not contender.startswith("tfpersist"):
                yield f"{name}: {contender}", ratio, facts["wanted"].get(contender)


def main(folder=harness.HERE.parent / "docs"):
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "tfpersist"
    from matplotlib import pyplot

    drawn = list(rows())[::-1]
    figure, axes = pyplot.subplots(figsize=(9, 0.34 * len(drawn) + 1.2))
    places = range(len(drawn))
    axes.barh(places, [ratio for _, ratio, _ in drawn], color="#3b7dd8")
    for place, (_, ratio, wanted) in zip(places, drawn, strict=True):
        axes.text(max(ratio, wanted or 0) * 1.05, place, f"{ratio:.1f}×", va="center", fontsize=8)
        if wanted:
            axes.plot([wanted] * 2, [place - 0.4, place + 0.4], color="#d8433b", linewidth=2)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.margins(y=0.01)
    axes.set_yticks(list(places), [label for label, _, _ in drawn], fontsize=8)
    axes.set_xlabel("tfpersist is faster by (red: wanted)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    for kind, facts in (("png", {"Software": None}), ("svg", {"Date": None})):
        figure.savefig(pathlib.Path(folder) / f"benchmarks.{kind}", dpi=120, metadata=facts)


if __name__ == "__main__":
    main(*sys.argv[1:])
