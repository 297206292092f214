"""How many planted faults the default check catches, and where it says that they are.

    python -m tools.faults torch tensorflow

plants every fault of ``blind``, which was written without sight of how cases are drawn, and runs the cases of
``attn-ref check`` with its defaults, of its block on its engine, until one differs. Writes docs/data/faults.json; exits
with 1 where a fault is missed.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from attn_ref.commands.output import console
from benchmarks.mutants import PACKAGES, first_difference, give_up, instead
from tools.faults.blind import FAULTS
from tools.faults.fault import Fault

DATA = Path(__file__).parents[2] / "docs" / "data" / "faults.json"
#: seconds for one fault
PATIENCE = 300


def source(fault: Fault) -> tuple[str, str]:
    """The module's name, and its text with the fault. ValueError where the fault does not fit any more."""
    module = f"{PACKAGES[fault.engine]}.{fault.module}"
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    text = Path(spec.origin).read_text("utf-8")
    if (count := text.count(fault.old)) != 1:
        raise ValueError(f"{fault.name}: its text stands {count} times in {module}")
    return module, text.replace(fault.old, fault.new)


def right(fault: Fault, found: str) -> bool:
    """Is the place one of those that the fault expects? A mode or a call that is named behind it does not matter."""
    plain = found.split(" (")[0]
    return any(plain == tap or plain.endswith(f".{tap}") for tap in fault.taps.split("|"))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("engines", nargs=-1, type=click.Choice(list(PACKAGES)), required=True)
@click.option("--only", default="", help="Faults whose name or block has this in it; nothing is written then.")
@click.option("--json", "target", help="Where the figures go, in place of docs/data/faults.json.")
def main(engines: tuple[str, ...], only: str, target: str | None) -> int:
    """Plant every fault, and count those that the default check catches."""
    signal.signal(signal.SIGALRM, give_up)
    found: list[dict[str, Any]] = []
    for fault in [f for f in FAULTS if f.engine in engines and (only in f.name or only in f.block)]:
        signal.alarm(PATIENCE)
        try:
            module, text = source(fault)
            with instead(module, compile(text, module, "exec")):
                outcome, ran = first_difference(fault.engine, fault.block)
            at, said = (outcome.first or "", outcome.detail) if outcome else ("", "")
        except (Exception, SystemExit) as error:  # it cannot even be imported, or never ends
            at, said, ran = f"raised: {type(error).__name__}", str(error), 0
        finally:
            signal.alarm(0)
        place = bool(at) and right(fault, at)
        found.append({"name": fault.name, "kind": fault.kind, "engine": fault.engine,
                      "block": fault.block, "expected": fault.taps, "found": at, "said": said, "cases": ran,
                      "place": place})  # fmt: skip
        verdict = "right place" if place else f"expected at {fault.taps}" if at else "MISSED"
        line = f"{fault.engine:10} {fault.block:26} {fault.kind:8} {fault.name:50} {at or '–'} · {verdict} · {ran}"
        console().print(line, highlight=False, markup=False, soft_wrap=True)
    caught = [f for f in found if f["found"]]
    places = sum(f["place"] for f in caught)
    kinds_of = Counter(f["kind"] for f in found)
    for kind, count in kinds_of.items():
        console().print(f"{kind:8} {sum(f['kind'] == kind for f in caught)} of {count}", highlight=False)
    console().print(f"{len(caught)} of {len(found)} caught, {places} at the right place", highlight=False)
    if target or not only:
        Path(target or DATA).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 0 if len(caught) == len(found) else 1


if __name__ == "__main__":
    sys.exit(main(standalone_mode=False))
