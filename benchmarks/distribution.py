"""How far right implementations are off: data and a picture from any number of ``attn-ref check --json`` files.

    python benchmarks/distribution.py report.json …

writes docs/data/clean_distribution.json, docs/images/clean_distribution.svg and the tables of docs/tolerance.md. Files
add up: give each another --seed. Refuses a report in which something differs, since it would not be a clean
distribution. Needs matplotlib.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attn_ref.check.distribution import merged, quantiles
from attn_ref.check.tolerance import LIMIT

DOCS = Path(__file__).parents[1] / "docs"
DATA, PICTURE = DOCS / "data" / "clean_distribution.json", DOCS / "images" / "clean_distribution.svg"
MODES = ("forward", "gradient", "training")
COLOURS = {"float64": "#1f4e79", "float32": "#2e8b57", "bfloat16": "#c2571a", "float16": "#8e44ad"}
BEGIN, END = "<!-- figures: written by benchmarks/distribution.py -->", "<!-- end of figures -->"
KEY = ("mode", "block", "engine", "dtype")


def gather(paths: Sequence[str | Path]) -> dict[str, Any]:
    """All rows of the reports, those of one mode, block, engine and dtype added up, and what they were run on."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    environments: list[dict[str, Any]] = []
    for path in paths:
        report = json.loads(Path(path).read_text("utf-8"))
        if bad := [row for row in report["rows"] if row["failures"]]:
            first = " ".join(bad[0][part] for part in KEY)
            raise ValueError(f"{path}: {len(bad)} rows differ, so this is no clean distribution; the first: {first}")
        if report["environment"] not in environments:
            environments.append(report["environment"])
        for row in report["rows"]:
            if not row["cases"]:
                continue
            name = tuple(row[part] for part in KEY)
            known = rows.setdefault(
                name, dict(zip(KEY, name, strict=True)) | {"cases": 0, "worst": 0, "distribution": {}}
            )
            known["cases"] += row["cases"]
            known["worst"] = max(known["worst"], row["worst"])
            known["distribution"] = merged([known["distribution"], row["distribution"]])
            known["known_gaps"] = sorted({*known.get("known_gaps", ()), *row["known_gaps"]})
    listed = [{**row, "quantiles": quantiles(row["distribution"])} for _, row in sorted(rows.items())]
    return {
        "cases": sum(row["cases"] for row in listed),
        "limits": LIMIT,
        "rows": listed,
        "environments": environments,
    }


def table(data: dict[str, Any]) -> str:
    """Markdown: for every mode and dtype the cases, quantiles over all blocks and engines, the worst, and C."""
    lines = [
        "| mode | dtype | cases | 50 % | 99 % | 99.9 % | worst | where | C |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for mode in MODES:
        for dtype, limit in data["limits"].items():
            rows = [row for row in data["rows"] if (row["mode"], row["dtype"]) == (mode, dtype)]
            if rows:
                shares = quantiles(merged(row["distribution"] for row in rows))
                worst = max(rows, key=lambda row: row["worst"])
                figures = " | ".join(f"{shares[share]:.2f}" for share in ("50", "99", "99.9"))
                where = f"{worst['block']}, {worst['engine']}"
                count = sum(row["cases"] for row in rows)
                lines.append(f"| {mode} | {dtype} | {count} | {figures} | {worst['worst']:.2f} | {where} | {limit:g} |")
    return "\n".join(lines)


def by_block(data: dict[str, Any]) -> str:
    """Markdown: for every block the worst ratio on each engine in each dtype, over all modes, and of how many cases."""
    columns = sorted({(row["engine"], row["dtype"]) for row in data["rows"]})
    lines = ["| block | " + " | ".join(map(" ".join, columns)) + " |", "|---|" + "---|" * len(columns)]
    for block in dict.fromkeys(row["block"] for row in data["rows"]):
        cells = []
        for column in columns:
            rows = [r for r in data["rows"] if r["block"] == block and (r["engine"], r["dtype"]) == column]
            worst, count = max((row["worst"] for row in rows), default=0), sum(row["cases"] for row in rows)
            cells.append(f"{worst:.2f} of {count}" if rows else "–")
        lines.append(f"| {block} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tables(data: dict[str, Any]) -> str:
    """Both, with what the second one says."""
    return f"{table(data)}\n\nThe worst ratio by block, all modes together, and of how many cases:\n\n{by_block(data)}"


def write_tables(data: dict[str, Any], page: Path) -> None:
    """Put the tables between the marks in ``page``."""
    text = page.read_text("utf-8")
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (found and closed):
        raise ValueError(f"{page.name} lacks the lines {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n{tables(data)}\n{END}{after}", encoding="utf-8")


def draw(data: dict[str, Any], target: Path) -> None:
    """One panel a mode; in it a line for every block, engine and dtype: half of the cases, 99.9 %, and the worst."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "attn_ref"
    from matplotlib import pyplot as plt

    pairs = sorted({(row["block"], row["engine"]) for row in data["rows"]}, reverse=True)
    modes = [mode for mode in MODES if any(row["mode"] == mode for row in data["rows"])]
    figure, axes = plt.subplots(
        1, len(modes), figsize=(3 + 3.4 * len(modes), 1.6 + 0.34 * len(pairs)), sharey=True, squeeze=False
    )
    for axis, mode in zip(axes[0], modes, strict=True):
        axis.set_title(mode)
        for row in data["rows"]:
            if row["mode"] != mode:
                continue
            shift = 0.27 - 0.18 * list(COLOURS).index(row["dtype"])
            y, colour = pairs.index((row["block"], row["engine"])) + shift, COLOURS[row["dtype"]]
            low, high = (max(row["quantiles"][share], 2.0**-6) for share in ("50", "99.9"))
            axis.plot([low, max(high, low * 1.05)], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
            axis.plot([max(row["worst"], 2.0**-6)], [y], "o", color=colour, markersize=3)
        for dtype, limit in sorted(data["limits"].items(), key=lambda item: item[1]):
            if any(row["dtype"] == dtype for row in data["rows"]):
                axis.axvline(limit, color=COLOURS[dtype], linestyle="--", linewidth=1)
        axis.set_xscale("log", base=2)
        axis.set_xlim(2.0**-4, 2.0**5)
        axis.set_xlabel("error / unit")
        axis.grid(axis="x", alpha=0.3)
    axes[0][0].set_yticks(range(len(pairs)), [f"{block} · {engine}" for block, engine in pairs], fontsize=8)
    handles = [plt.Line2D([], [], color=colour, linewidth=2, label=dtype) for dtype, colour in COLOURS.items()]
    handles += [plt.Line2D([], [], color="black", linestyle="--", linewidth=1, label="C of the dtype")]
    figure.legend(handles=handles, loc="lower center", ncols=5, fontsize=8, frameon=False)
    figure.suptitle(f"{data['cases']} cases that agree: half to 99.9 % of them (line), the worst (dot)", fontsize=10)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(target, metadata={"Date": None})
    plt.close(figure)


def main(paths: Sequence[str]) -> int:
    """Write both files and say what they hold."""
    if not paths:
        print(__doc__)
        return 2
    try:
        data = gather(paths)
    except (ValueError, KeyError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    DATA.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    DATA.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(data, PICTURE)
    write_tables(data, DOCS / "tolerance.md")
    print(f"{data['cases']} cases of {len(data['rows'])} rows: {DATA.name}, {PICTURE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
