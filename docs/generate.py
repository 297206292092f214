"""Writes a page for every block, from the block itself, and the table of the seed systems, into ``docs/_generated``."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import attn_ref as ar
from attn_ref.backend import Backend
from attn_ref.block import Block
from attn_ref.commands.show import describe
from attn_ref.discovery import module_name
from attn_ref.traps import families

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
#: the tabs: title, folder of the package, engine
TABS = (("NumPy", "attn_ref", ""), ("PyTorch", "backends/attn_ref_torch", "torch"),
        ("Keras", "backends/attn_ref_keras", "tensorflow"))  # fmt: skip


def pages() -> dict[str, str]:
    """Path below ``_generated`` -> reStructuredText."""
    found = {f"blocks/{name}.rst": block_page(cls) for name, cls in ar.blocks().items()}
    return {
        **found,
        "blocks.rst": blocks_page(),
        "seeds.rst": seeds_page(),
        "traps.rst": traps_page(),
        "selftest.rst": selftest_page(),
    }


def blocks_page() -> str:
    rows = [(f":doc:`{name} <blocks/{name}>`", first_sentence(cls)) for name, cls in ar.blocks().items()]
    names = "\n".join(f"   blocks/{name}" for name in ar.blocks())
    return "\n".join([
        *title("Blocks", "="),
        "Every page is made from the block: its text, its options, and the taps of a small case that was run.", "",
        *table(("block", "what it computes"), rows, (30, 70)),
        ".. toctree::", "   :hidden:", "", names, "",
    ])  # fmt: skip


def block_page(cls: type[Block]) -> str:
    """Text, options, inputs, parameters, taps, mirrors, seed systems, and the source in three tabs."""
    module = sys.modules[cls.__module__]
    block = cls.build(cls.example)
    facts = describe(block)
    defaults = {field.name: field.default for field in fields(cls)}
    called = f"{cls.__name__}({', '.join(f'{name}={value!r}' for name, value in cls.example.items())})"
    out = [*title(cls.__name__, "="), marked(inspect.cleandoc(module.__doc__ or "")), ""]

    out += title("Options")
    options = [
        (code(name), "required" if default is MISSING else code(repr(default)), text(facts["about"][name]))
        for name, default in defaults.items()
    ]
    out += table(("option", "default", "what it says"), options, (22, 14, 64))

    out += ["", f"What follows is that of {code(called)}.", ""]
    out += title("Inputs")
    out += table(
        ("input", "axes, kind"), [(code(name), axes(said)) for name, said in facts["inputs"].items()], (30, 70)
    )
    out += ["", f"What comes out has the axes {code(block.output_axes)}.", ""]
    out += title("Parameters")
    out += table(("parameter", "shape"), [(code(n), code(tuple(s))) for n, s in facts["parameters"].items()], (60, 40))
    out += title("Taps, in order")
    taps = [(code(name), code(seen["axes"]), code(tuple(seen["shape"]))) for name, seen in facts["taps"].items()]
    out += table(("tap", "axes", "shape"), taps, (50, 25, 25))

    out += title("Mirrors")
    for name, _, engine in TABS[1:]:
        calls = sorted(set(fused(ar.backends()[engine], cls.__name__)))
        takes = (
            f"takes {' and '.join(map(code, calls))} while nobody listens to its taps" if calls else "is written out"
        )
        out += [f"- {name}: {takes}."]
    out += [""]
    if rows := [row for row in ar.seeds().values() if row.block == cls.__name__]:
        out += title("Seed systems")
        out += [*[f"- **{row.row}**, {text(row.title)}: {code(options_of(row))}" for row in rows], ""]
        out += ["See :doc:`/_generated/seeds` and :doc:`/errata`.", ""]

    out += title("Source")
    out += [".. tab-set::", "   :sync-group: framework", ""]
    for name, folder, _ in TABS:
        path = next(p for part in ("blocks", "models") for p in [f"{folder}/{part}/{module_name(cls.__name__)}.py"]
                    if (ROOT / p).exists())  # fmt: skip
        out += [f"   .. tab-item:: {name}", f"      :sync: {name}", "", f"      {code(path)}", ""]
        out += [
            f"      .. literalinclude:: /../{path}",
            "         :language: python",
            f"         :pyobject: {cls.__name__}",
            "",
        ]
    return "\n".join(out)


SEEDS = """\
What published tutorials compute, exactly, as a block with its options and traps: ``ar.seed("S5")`` is callable as the
tutorial's function is, and on a mirror with ``engine=``. A trap is a way in which the tutorial deviates from the
block's definition. Options left at their defaults are not shown. :doc:`/errata` says what is wrong with the tutorials.
"""
S20 = """\
S20 swaps batch and channels under the name ``batch_first=False``. That is documented, in :doc:`/conventions`, and not
imitated.
"""


def seeds_page() -> str:
    rows = [
        (
            f"**{name}**",
            text(row.title),
            f":doc:`{row.block} <blocks/{row.block}>`",
            code(options_of(row)),
            text("; ".join(trap.says for trap in row.trapped(row.sizes))) or "none",
        )
        for name, row in ar.seeds().items()
    ]
    heads = ("", "what it is", "block", "options of its example", "traps")
    return "\n".join([*title("Seed systems", "="), SEEDS, *table(heads, rows, (6, 24, 20, 30, 20)), S20])


TRAPS = """\
Ways in which implementations deviate from the definitions. Each row is data: a value at a tap, or another option, and a
small case in which it shows. So ``attn-ref conform`` proves one of them on a layer before it names it, and the tests
plant every one in the reference and in the mirrors, where the check finds it at its tap. ``attn-ref traps NAME`` shows
one with numbers.

"Evidence" names a thread, ``owner/repository#number``, or what was measured here. A *slip* is a mistake that is easily
made, and for which no thread is known here.
"""


def traps_page() -> str:
    out = [*title("Traps", "="), TRAPS]
    for heading, rows in families().items():
        out += title(heading[0].upper() + heading[1:])
        out += table(
            ("trap, tap", "what deviates", "symptom", "fix", "evidence"),
            [
                (f"{code(row.name)} at {code(row.at.replace('|', ', '))}",
                 *(text(said) for said in (row.says, row.symptom, row.fix, row.evidence)))
                for row in rows
            ],
            (20, 20, 20, 20, 20),
        )  # fmt: skip
    return "\n".join(out)


SELFTEST = """\
The checker is measured as well. ``attn-ref selftest`` plants every trap of the :doc:`catalogue <traps>` in every
mirror, through the taps, and asks the check's comparison. It must find the mirror off by more than the tolerance that
is :doc:`derived from rounding </tolerance>` (*caught*), and first at the trap's tap (*right place*). Each trap's own
case without the trap, and two drawn cases of its block, are clean: whatever differs there is a *false alarm*. Where one
trap is missed the command's exit code is 1.

Planted in {engines}:
"""

IN_LAYERS = """\
The same traps in layers as strangers write them, ten of torch (``tests/wild/torch_layers.py``), which ``attn-ref
conform`` reads without any description. Each layer runs with the trap's value in the place of the operation whose value
is the tap; the rest is computed as before. ``conform`` must say that it is not the block, and name the tap, the line
and the trap.

No weights are given, so a trap that other weights explain is none: a bias that is left out is a bias of zeros. Those
are counted by themselves. The tap is right if it is the trap's, or the projection that gives it; the line, if the layer
has the trap's value there; the trap, if it is this one or one that has the same numbers. The table is written by
``python -m tests.wild.traps``; ``attn-ref selftest --layer TARGET --block NAME`` does it for a layer of yours.
"""

NOT_NAMED = """\
What is caught and not named: values in the place of keys, or keys in the place of values, are told as a projection that
the two share. Queries and keys exchanged in the scores are other weights where both come of one value. Behind a wrong
first norm, a wrong projection or a last step without the projection before it no weights can be read off, and many a
reason takes them; the tap and the line are told all the same.
"""


def selftest_page() -> str:
    """What the checker catches, as ``attn-ref selftest --json docs/data/selftest.json`` has written it."""
    mirrors, layers = (json.loads((HERE / "data" / f"{name}.json").read_text("utf-8"))
                       for name in ("selftest", "selftest_layers"))  # fmt: skip
    heads = ("family", "traps", "caught", "right place", "false alarms", "seconds")
    rows = [
        (text(row["title"]), str(row["traps"]), *(of(row[key], row["planted"]) for key in ("caught", "placed")),
         of(row["alarms"], row["clean"]), f"{row['seconds']:.0f}")
        for row in [*mirrors["families"], mirrors["total"]]
    ]  # fmt: skip
    out = [*title("What the checker misses", "="), SELFTEST.format(engines=" and ".join(mirrors["engines"]))]
    out += [*table(heads, rows, (30, 10, 15, 15, 20, 10)), *title("In a stranger's layer"), IN_LAYERS]
    counts = [*layers["layers"], {"layer": "all", **{
        key: sum(row[key] for row in layers["layers"]) for key in layers["layers"][0] if key != "layer"
    }}]  # fmt: skip
    heads = ("layer", "planted", "caught", "explained by weights", "missed", "right tap", "right line", "named")
    rows = [
        (row["layer"], *(str(row[key]) for key in ("planted", "caught", "by_weights", "missed")),
         *(of(row[key], row["caught"]) for key in ("at_tap", "at_line", "named")))
        for row in counts
    ]  # fmt: skip
    return "\n".join([*out, *table(heads, rows, (16, 10, 10, 14, 10, 14, 14, 14)), NOT_NAMED])


def of(part: int, whole: int) -> str:
    return f"{part} of {whole}"


def options_of(row: Any) -> str:
    """The options of the row's example that are not the block's defaults."""
    cls, given = ar.block(row.block), row.options(row.sizes)
    defaults = {field.name: field.default for field in fields(cls)}
    return ", ".join(f"{name}={value!r}" for name, value in given.items() if value != defaults[name]) or "all defaults"


def fused(backend: type[Backend], block_name: str) -> Iterable[str]:
    """The fused calls (``FUSED``) of the mirror's file and of the mirrors that it imports."""
    source = backend.source(block_name)
    yield from re.findall(r'^FUSED = "(.+)"', source, re.MULTILINE)
    for name in re.findall(rf"^from {backend.__module__}\.\w+\.\w+ import (\w+)$", source, re.MULTILINE):
        yield from fused(backend, name)


def first_sentence(cls: type[Block]) -> str:
    said = inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "").split("\n\n")[0].replace("\n", " ")
    return said.partition(": ")[2] or said


def marked(doc: str) -> str:
    """The docstring with the words that begin its parts in bold."""
    return re.sub(r"^(Differences|Source):", r"**\1:**", doc, flags=re.MULTILINE)


def title(words: str, under: str = "-") -> list[str]:
    return [words, under * len(words), ""]


def code(value: Any) -> str:
    return f"``{value}``"


def text(words: str) -> str:
    """Plain words for reStructuredText."""
    return re.sub(r"([\\*`|_])", r"\\\1", words)


def axes(said: str) -> str:
    """The axes as code, what else is said of an input as text."""
    _, labels, rest = said.split("'", 2)
    return code(labels) + text(rest)


def table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], widths: tuple[int, ...]) -> list[str]:
    if not rows:
        return ["None.", ""]
    out = [".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}", ""]
    for row in (heads, *rows):
        out += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
    return [*out, ""]


def write(folder: Path) -> None:
    """All pages; what is unchanged is not touched, and what is no longer made is removed."""
    wanted = {folder / path: text for path, text in pages().items()}
    for path, said in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text("utf-8") != said:
            path.write_text(said, "utf-8")
    for path in set(folder.rglob("*.rst")) - set(wanted):
        path.unlink()


def setup(app: Any) -> dict[str, bool]:
    app.connect("config-inited", lambda app, config: write(Path(app.srcdir) / "_generated"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
