"""Rows of measurements to text, Markdown and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("engine", "engine", "{}"),
    ("median_ms", "median ms", "{:.3f}"),
    ("min_ms", "min ms", "{:.3f}"),
    ("versus_fp32", "x FP32", "{:.2f}"),
    ("versus_int8", "x INT8", "{:.2f}"),
    ("interval", "95%", "{}"),
    ("of_limit", "limit", "{:.0%}"),
    ("load_ms", "load ms", "{:.0f}"),
    ("first_ms", "first ms", "{:.1f}"),
    ("peak_mib", "peak MiB", "{:.0f}"),
)


def add_ratios(rows: Sequence[Row]) -> None:
    """versus_fp32 and versus_int8 of one cell's rows: how many times as fast as the fastest FP32 and INT8 peer."""
    for precision in ("fp32", "int8"):
        peers = [r["median_ms"] for r in rows if r["precision"] == precision and not r["engine"].startswith("lowp")]
        for r in rows:
            if peers and (precision == "fp32" or r["precision"] == "int8"):
                r[f"versus_{precision}"] = min(peers) / r["median_ms"]


def _cells(row: Row) -> list[str]:
    return [form.format(row[key]) if row.get(key) is not None else "" for key, _, form in _COLUMNS]


def _groups(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    groups: dict[str, list[Row]] = {}
    for r in rows:
        groups.setdefault(f"{r['title']}, batch {r['batch']}, {r['threads']} threads", []).append(r)
    return list(groups.items())


def text(rows: Sequence[Row]) -> str:
    """A table to read in a terminal."""
    lines = []
    widths = [30, 10, 10, 7, 7, 12, 6, 8, 9, 9]
    for title, group in _groups(rows):
        lines.append(title)
        lines.append(
            "  " + "".join(h.ljust(w) if i == 0 else h.rjust(w) for i, ((_, h, _), w) in enumerate(_zip(widths)))
        )
        for r in group:
            if "error" in r:
                lines.append(f"  {r['engine']:30}failed: {r['error']}")
                continue
            cells = _cells(r)
            lines.append(
                "  "
                + "".join(
                    c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
                )
            )
        lines.append("")
    return "\n".join(lines)


def _zip(widths: Sequence[int]) -> list[tuple[tuple[str, str, str], int]]:
    return list(zip(_COLUMNS, widths, strict=True))


def markdown(rows: Sequence[Row]) -> str:
    """One line a model, batch and number of threads: what lowp is compared with, and by how much it is faster."""
    head = ["model", "batch", "threads", "FP32 peer ms", "INT8 peer ms", "lowp FP32", "lowp BF16", "lowp INT8"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for _, group in _groups(rows):
        good = [r for r in group if "error" not in r]

        def best(precision: str, good: list[Row] = good) -> str:
            peers = [r for r in good if r["precision"] == precision and not r["engine"].startswith("lowp")]
            if not peers:
                return "none"
            r = min(peers, key=lambda r: r["median_ms"])
            return f"{r['median_ms']:.2f} ({r['engine'].split()[0]})"

        def own(precision: str, good: list[Row] = good) -> str:
            mine = [r for r in good if r["engine"] == f"lowp {precision}"]
            if not mine:
                return ""
            r = mine[0]
            ratios = [f"{r['versus_fp32']:.2f}x" if "versus_fp32" in r else ""]
            if precision == "int8" and "versus_int8" in r:
                ratios.append(f"{r['versus_int8']:.2f}x INT8")
            return f"{r['median_ms']:.2f} ({', '.join(x for x in ratios if x)})"

        first = group[0]
        cells = [first["title"], first["batch"], first["threads"], best("fp32"), best("int8")]
        lines.append("| " + " | ".join(str(c) for c in [*cells, own("fp32"), own("bf16"), own("int8")]) + " |")
    return "\n".join(lines)


_COLOURS = {"lowp": "#1f6feb", "onnxruntime": "#8b949e", "openvino": "#c9a227"}
_SHADES = {"fp32": 0.45, "bf16": 0.7, "int8": 1.0}


def plot(rows: Sequence[Row], path: Path) -> None:
    """Speed relative to the fastest FP32 peer, a panel for each batch and number of threads.

    Of an engine's several quantizers the fastest counts.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    best: dict[tuple[Any, ...], Row] = {}
    for r in rows:
        key = (r["threads"], r["batch"], r["title"], " ".join(r["engine"].split()[:2]))
        if r.get("versus_fp32") is not None and (key not in best or r["median_ms"] < best[key]["median_ms"]):
            best[key] = r
    panels = sorted({key[:2] for key in best})
    series = sorted({key[3] for key in best}, key=lambda n: (list(_SHADES).index(n.split()[1]), n))
    figure, axes = pyplot.subplots(len(panels), 1, figsize=(13, 3.2 * len(panels)), squeeze=False, layout="constrained")
    for ax, (threads, batch) in zip(axes[:, 0], panels, strict=True):
        titles = list(dict.fromkeys(key[2] for key in best if key[:2] == (threads, batch)))
        width = 0.85 / len(series)
        for i, name in enumerate(series):
            values = [best.get((threads, batch, t, name)) for t in titles]
            at = [k + (i - (len(series) - 1) / 2) * width for k, r in enumerate(values) if r is not None]
            heights = [r["versus_fp32"] for r in values if r is not None]
            engine, precision = name.split()
            bars = ax.bar(at, heights, width, label=name, color=_COLOURS[engine], alpha=_SHADES[precision])
            ax.bar_label(bars, fmt="%.1f", fontsize=7)
        ax.axhline(1, color="black", linewidth=0.8)
        ax.set_xticks(range(len(titles)), titles, fontsize=8)
        ax.set_ylabel("times the fastest FP32 peer", fontsize=8)
        ax.set_title(f"batch {batch}, {threads} thread{'s' if threads > 1 else ''}", fontsize=9, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=len(series), fontsize=8, frameon=False, loc="outside upper center")
    figure.savefig(path, dpi=130)
