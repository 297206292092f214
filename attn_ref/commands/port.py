"""``attn-ref port``."""

from __future__ import annotations

from typing import Any

import click

from attn_ref.commands.output import check_targets, console, write_json
from attn_ref.wording import printable


@click.command()
@click.argument("source", metavar="SRC", required=False)
@click.argument("target", metavar="DST", required=False)
@click.option("--from", "from_", metavar="MAP", help="Names and layout of SRC; needed where more than one map fits.")
@click.option("--to", metavar="MAP", help="Names and layout of DST; needed where more than one map fits.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A field of the block: pooling=mean.")
@click.option("--prefix", metavar="P", help="The model is what lies below these names: --prefix model.encoder.")
@click.option("--drop", multiple=True, metavar="PATTERN", help="Leave names out: --drop 'ema.*'.")
@click.option("--shard-size", metavar="SIZE", help="Write safetensors larger than this in shards: 5GB.")
@click.option("--with-head", is_flag=True, help="Write a classifier's head, which is left out, beside DST.")
@click.option("--plan", metavar="FILE", help="Print where every tensor goes, and write it as JSON.")
@click.option("--verify", is_flag=True, help="Run both ends and compare every tap; write DST only if they agree.")
@click.option("--example", metavar="FILE", help="Recorded inputs and outputs of the real model, which must agree.")
@click.option("--certificate", metavar="FILE", help="With --verify: write hashes, plan, versions and proof as JSON.")
@click.option("--check", "certified", metavar="FILE", help="Alone: do again what a certificate says. Does it hold?")
@click.option("--with", "module", metavar="TARGET", help="The torch module that SRC belongs to, where no map knows it.")
@click.option(
    "--init", multiple=True, metavar="NAME=VALUE", help="With --with: an argument of it, where it is a class."
)
@click.option("--onto", metavar="TARGET", help="With --with: the model of torch or Keras that gets the weights.")
@click.option("--init-onto", multiple=True, metavar="NAME=VALUE", help="The same of --onto.")
@click.option("--block", metavar="NAME", help="With --with: the block whose mirror gets them; --set gives its options.")
@click.option("--json", "json_file", metavar="FILE", help="Write the report as JSON; '-' writes it to stdout alone.")
def command(
    source: str | None, target: str | None, from_: str | None, to: str | None, settings: tuple[str, ...],
    prefix: str | None, drop: tuple[str, ...], shard_size: str | None, with_head: bool, plan: str | None, verify: bool,
    example: str | None, certificate: str | None, certified: str | None, module: str | None, init: tuple[str, ...],
    onto: str | None, init_onto: tuple[str, ...], block: str | None, json_file: str | None,
) -> int:  # fmt: skip
    """Move the weights in SRC to DST, under the names and layouts of another map (see: attn-ref maps).

    SRC is a file (.safetensors, .pt, .bin, .ckpt, .weights.h5, .keras, .h5, .npz, a TensorFlow checkpoint), the index
    of its shards, a folder with a model, or the name owner/model of one on the Hugging Face hub. DST is a file whose
    ending chooses the format; it appears whole or not at all. Exit code 0: done; 1: the proof failed, or a certificate
    does not hold; 2: the request cannot be met.
    """
    check_targets(json=json_file, plan=plan, certificate=certificate)
    if certified is not None:
        if source is not None or certificate is not None:
            raise ValueError("--check takes a certificate and nothing else; it says itself which files it is of")
        return check_certificate(certified, json_file)
    if source is None or target is None:
        raise ValueError("attn-ref port takes SRC and DST, or --check FILE")
    if module is not None:
        lost = {"--from": from_, "--to": to, "--plan": plan, "--shard-size": shard_size, "--certificate": certificate}
        if given := [name for name, value in lost.items() if value]:
            raise ValueError(f"--with has no map, so {', '.join(given)} cannot be meant")
        return carry(source, target, module, onto, block, example, (init, init_onto, settings), prefix, drop, json_file)
    if onto or block or init or init_onto:
        raise ValueError("--onto, --block and --init go with --with, which names the module that SRC belongs to")
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from attn_ref import port
    from attn_ref.port.hyper import parse

    errors = console(stderr=True)
    bar = Progress(
        TextColumn("{task.description:42}"), BarColumn(), DownloadColumn(),
        TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=True),
        console=errors, transient=True, disable=not errors.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("reading", total=None)

        def on_progress(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what[-42:])

        report = port.convert(
            source, target, from_=from_, to=to, set=parse(settings), prefix=prefix, drop=drop, shard_size=shard_size,
            with_head=with_head, verify=verify, example=example, plan=plan, certificate=certificate,
            on_progress=on_progress, reserved=[json_file] if json_file and json_file != "-" else [],
        )  # fmt: skip
    if json_file:
        write_json(report.to_json(), json_file)
    if json_file != "-":
        out = console()
        if plan:
            print_moves(report.plan, out)
        print_report(report, out)
    return 0 if report.ok else 1


def carry(
    source: str, out: str, module: str, onto: str | None, name: str | None, example: str | None, told: Any,
    prefix: str | None, drop: tuple[str, ...], json_file: str | None,
) -> int:  # fmt: skip
    """Carry a checkpoint that no map knows, by way of its module."""
    from attn_ref import catalogue
    from attn_ref.commands import unknown
    from attn_ref.commands.transfer import show
    from attn_ref.live import files
    from attn_ref.live.outcome import Differs
    from attn_ref.live.transfer import transfer
    from attn_ref.port.hyper import parse
    from attn_ref.verbs.target import load

    if example is None or (onto is None) == (name is None):
        raise ValueError(
            "--with takes --example FILE, what the module is called with, and --onto TARGET or --block NAME"
        )
    unknown.place_for(source, out)
    given = files.example(example)
    first = load(module, parse(told[0]))
    said = unknown.filled(first, source, prefix=prefix, drop=drop)
    block = catalogue.block(name).build(parse(told[2])) if name else None
    second = unknown.mirror(block, out) if block else load(str(onto), parse(told[1]))
    if block is None:
        files.place_for(second, out)
    try:
        found: Any = transfer(first, second, given)
    except Differs as error:
        found = error
    ok = not isinstance(found, Differs)
    if ok:
        unknown.write_mirror(second, block, out) if block else files.save(second, out)
    if json_file:
        write_json(found.to_json(), json_file)
    if json_file != "-":
        screen = console()
        for line in said:
            screen.print(f"  {printable(line, 300)}", markup=False, soft_wrap=True)
        show(found, ok, screen)
        screen.print(f"wrote {out}" if ok else f"{out} was not written", markup=False, soft_wrap=True)
    return int(not ok)


def check_certificate(path: str, json_file: str | None) -> int:
    """Do again what a certificate says, and print what came of it."""
    from attn_ref.port.recheck import recheck

    found = recheck(path)
    if json_file:
        write_json(found.to_json(), json_file)
    if json_file != "-":
        out = console()
        for line in found.notes:
            out.print(f"  {printable(line, 300)}", style="yellow", markup=False, soft_wrap=True)
        for line in found.lines:
            out.print(f"  {printable(line, 300)}", markup=False, soft_wrap=True)
        if found.proof:
            print_proof(found.plan, found.proof, out)
        verdict = "the certificate holds" if found.ok else "the certificate does not hold"
        out.print(f"{verdict}: {path}", markup=False, style="" if found.ok else "red", soft_wrap=True)
    return 0 if found.ok else 1


def print_moves(plan: Any, out: Any) -> None:
    """Where every tensor goes."""
    from rich.table import Table

    headings = ("source", "shape", "layout", "canonical", "layout", "target", "shape")
    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for move in plan.moves:
        before, after = ("×".join(map(str, shape)) for shape in (move.source_shape, move.target_shape))
        layouts = ("" if layout == "none" else layout for layout in (move.inward, move.outward))
        table.add_row(move.source, before, next(layouts), move.canonical, next(layouts), move.target, after)
    out.print(table)


def print_report(report: Any, out: Any) -> None:
    """What was moved, what was left out, what was taken for granted, and the proof."""
    plan, block = report.plan, report.plan.block
    title = f"{type(block).__name__}: {len(plan.moves)} tensors, {report.nbytes / 1e6:.1f} MB"
    out.print(f"[bold]{title}[/], {plan.from_map.name} → {plan.to_map.name}", soft_wrap=True)
    out.print("  " + ", ".join(f"{k}={v}" for k, v in block.fields().items()), markup=False, soft_wrap=True)
    for line in plan.said:
        out.print(f"  {printable(line, 300)}", markup=False, soft_wrap=True)
    for why in dict.fromkeys(plan.unused.values()):
        keys = [key for key, reason in plan.unused.items() if reason == why]
        names = keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"
        out.print(f"  left out: {names}: {why}", markup=False, soft_wrap=True)
    for head in plan.heads:
        size = f"{head.name}, a linear layer {head.shape[1]} → {head.shape[0]}"
        offered = f"{size}: --with-head writes it to {head.path.name}"
        carried = f"{size}: written to {head.path.name}, which nothing has run"
        out.print(f"  head: {printable(carried if report.heads else offered, 300)}", markup=False, soft_wrap=True)
    if defaults := [f"{k}={getattr(block, k)}" for k, by in plan.told.items() if by == "the map's default"]:
        out.print(
            f"  not said by any file, so taken as usual: {', '.join(defaults)}; --set changes it",
            markup=False,
            soft_wrap=True,
        )
    for name, by in plan.told.items():
        if ", against " in by:
            said = printable(f"  {name}={getattr(block, name)} by {by}", 300)
            out.print(said, style="yellow", markup=False, soft_wrap=True)
    if report.proof:
        print_proof(report.plan, report.proof, out)
    if report.ok:
        shards = f" and its {len(report.files) - 1} shards" if len(report.files) > 1 else ""
        out.print(f"wrote {report.files[-1]}{shards}", markup=False, soft_wrap=True)
    else:
        out.print(f"the proof failed: {plan.target} was not written", markup=False, style="red", soft_wrap=True)


def print_proof(plan: Any, proof: Any, out: Any) -> None:
    """The outermost taps and the first that differ, at both ends; then how many were compared, and what is believed."""
    from rich.markup import escape
    from rich.table import Table

    from attn_ref.check.numbers import short
    from attn_ref.port.believed import words

    errors = {end.side: {row.tap: row for row in end.rows} for end in proof.ends}
    table = Table("tap", "largest value", box=None, pad_edge=False, header_style="bold")
    for side in errors:
        table.add_column(f"{side}: largest difference")
    for name in dict.fromkeys(name for end in proof.ends[::-1] for name in errors[end.side]):
        found = [rows.get(name) for rows in errors.values()]
        if "." not in name or any(end.first == name for end in proof.ends):
            scale = next(row.scale for row in found if row)
            table.add_row(name, f"{scale:.3g}", *(f"{row.error:.1e}" if row else "–" for row in found))
    out.print(table)
    for end in proof.ends:
        verdict = f"[red]differs first at {end.first}[/]" if end.first else "all agree"
        if end.failure:
            verdict = f"[red]could not be run[/]: {escape(end.failure)}"
        counts = (
            f"{len(end.rows)} taps compared, largest difference {short(end.ratio)} σ (up to {end.bound:g} σ agrees)"
        )
        out.print(f"[bold]{end.side}[/] {end.by}: {counts}: {verdict}", soft_wrap=True)
        if detail := next((row.detail for row in end.rows if row.detail), ""):
            out.print(f"  {detail}", markup=False, soft_wrap=True)
    if proof.believed:
        said = printable(words(plan, proof.believed), 600)
        tried = any(end.side == "example" for end in proof.ends)
        way_out = "an example of more tokens, in float64, tells more" if tried else "--example FILE can prove it"
        out.print(f"believed, not proven: {said}; {way_out}", markup=False, style="yellow", soft_wrap=True)
