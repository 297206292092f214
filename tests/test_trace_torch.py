"""Forms in which layers of torch come: compiled, scripted, hooked, as functions; and what they give back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

import attn_ref as ar

torch = pytest.importorskip("torch")
from attn_ref_torch import trace as tracer  # noqa: E402
from torch import nn  # noqa: E402
from wild.torch_layers import Packed  # noqa: E402

from attn_ref.trace.faults import faults  # noqa: E402
from attn_ref.trace.search import Search  # noqa: E402
from attn_ref.verbs.calling import first_inputs  # noqa: E402
from attn_ref.verbs.tracers import NotATarget, frameworks  # noqa: E402

RELU, GELU = (ar.FeedForward(width=12, hidden_width=20, activation=name) for name in ("relu", "gelu"))
ATTENTION = ar.MultiHeadAttention(width=12, num_heads=3, causal="top_left")


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = nn.Linear(12, 20), nn.Linear(20, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(torch.relu(self.up(x)))  # the line


def compiled_inside() -> Any:
    layer = Network()
    layer.up = torch.compile(layer.up)  # type: ignore[assignment]
    return layer


def compiled_in_place() -> Any:
    layer = Network()
    layer.compile()
    return layer


W1, W2 = torch.randn(20, 12, generator=torch.Generator().manual_seed(0)), torch.full((12, 20), 0.3).tril(3)


def of_globals(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x @ W1.T) @ W2.T  # the line


class Holder:
    """An object that is no module and holds tensors, one of them twice, and a module."""

    def __init__(self) -> None:
        self.up, self.down = nn.Linear(12, 20), {"w": [W2]}
        self.again = self.down["w"][0]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        assert self.again is self.down["w"][0]
        return torch.relu(self.up(x)) @ self.again.T  # the line


FORMS = {
    "compiled": lambda: torch.compile(Network()),
    "compiled inside": compiled_inside,
    "compiled in place": compiled_in_place,
    "function": lambda: of_globals,
    "compiled function": lambda: torch.compile(of_globals),
    "object": Holder,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_in_another_form_is_read_with_its_lines(form: str) -> None:
    layer = FORMS[form]()
    right, wrong = ar.conform(layer, RELU, cases=3), ar.conform(layer, GELU, cases=3)
    assert right.ok, str(right)
    assert right.worst is not None
    assert not any("_orig_mod" in told for told in right.wiring.values())
    names = {"function": "W1.T", "compiled function": "W1.T"}
    assert right.wiring["expand.kernel"] == names.get(form, "up.weight.T")
    assert (wrong.first, wrong.trap) == ("active", "relu-activation")
    assert wrong.line is not None
    assert wrong.line.startswith(__file__)
    assert wrong.places[0].line.code.endswith("# the line")  # type: ignore[union-attr]
    assert W1.dtype == torch.float32


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
def test_what_torch_jit_made_is_told_by_its_operations() -> None:
    layer = Network()
    for made in (torch.jit.script(layer), torch.jit.trace(layer, torch.randn(2, 5, 12))):
        right, wrong = ar.conform(made, RELU, cases=3), ar.conform(made, GELU, cases=3)
        assert right.ok, str(right)
        assert right.wiring["expand.kernel"] == "up.weight.T"
        assert (wrong.first, wrong.trap, wrong.line) == ("active", "relu-activation", None)
        assert wrong.places[0].operation == "relu"
        assert any("have no lines" in note for note in wrong.notes)
    with pytest.raises(NotATarget, match="constants in float32 of its parameters: give the module that it was made of"):
        ar.conform(torch.jit.freeze(torch.jit.script(layer.eval())), RELU)


def test_what_a_hook_does_is_of_the_layer() -> None:
    layer, seen = Network(), []
    layer.up.register_forward_pre_hook(lambda module, args: seen.append(args[0].dtype))
    assert ar.conform(layer, RELU, cases=2).ok
    assert set(seen) == {torch.float64}

    def halves(module: Any, args: Any, result: Any) -> Any:
        return result * 0.5  # here

    layer.down.register_forward_hook(lambda module, args, result: torch.tanh(result))
    assert ar.conform(layer, RELU, cases=2).ok is False
    packed = Packed()
    packed.c_attn.register_forward_hook(halves)
    assert ar.conform(packed, ATTENTION, cases=2).ok, "the weights take up a factor that is the same for all"
    assert packed.c_attn._forward_hooks


class Pair(NamedTuple):
    y: Any
    more: Any


@dataclass
class Answer:
    hidden: Any
    parts: dict[str, Any]


class Plain:
    """What many give back, with attributes and nothing else."""

    def __init__(self, y: Any) -> None:
        self.last_hidden_state = y


class Giving(nn.Module):
    def __init__(self, give: Any) -> None:
        super().__init__()
        self.inside, self.give = Network(), give

    def forward(self, x: torch.Tensor) -> Any:
        return self.give(self.inside(x))


def model_output(y: Any) -> Any:
    return pytest.importorskip("transformers").modeling_outputs.BaseModelOutput(
        last_hidden_state=y, attentions=(y.sum(),)
    )


GIVEN = {
    "tuple": lambda y: (y, None),
    "dict": lambda y: {"ids": y.long(), "y": [y]},
    "named tuple": lambda y: Pair([1], y),
    "dataclass": lambda y: (1, Answer(None, {"a": {"b": y}})),
    "object": Plain,
    "ModelOutput": model_output,
}


@pytest.mark.parametrize("given", GIVEN)
def test_what_is_given_back_may_be_nested(given: str) -> None:
    verdict = ar.conform(Giving(GIVEN[given]), RELU, cases=2)
    assert verdict.ok, str(verdict)
    assert verdict.cases == 3


def test_a_cache_is_passed_on() -> None:
    """What comes before in a cache is given by the call; the layer puts its keys behind."""

    class Cache:
        def __init__(self) -> None:
            self.keys: list[Any] = []
            self.values: list[Any] = []

        def update(self, k: Any, v: Any) -> Any:
            self.keys.append(k)
            self.values.append(v)
            return torch.cat(self.keys, 2), torch.cat(self.values, 2)

    class Cached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.qkv, self.out = nn.Linear(12, 36), nn.Linear(12, 12)

        def forward(self, x: torch.Tensor, past: Any = None) -> Any:
            q, k, v = (y.unflatten(-1, (3, 4)).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
            if past is not None:
                k, v = past.update(k, v)
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=past is None or len(past.keys) == 1)
            return {"y": self.out(y.transpose(1, 2).flatten(2)), "past": past}

    assert ar.conform(Cached(), ATTENTION, cases=2, call=lambda inputs: ([inputs["query"], Cache()], {})).ok
    dynamic = pytest.importorskip("transformers").DynamicCache

    class Hugging(Cached):
        def forward(self, x: torch.Tensor, past: Any = None) -> Any:
            q, k, v = (y.unflatten(-1, (3, 4)).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
            k, v = past.update(k, v, 0)
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out(y.transpose(1, 2).flatten(2)), past

    verdict = ar.conform(Hugging(), ATTENTION, cases=2, call=lambda inputs: ([inputs["query"], dynamic()], {}))
    assert verdict.ok, str(verdict)


def test_the_process_is_as_it_was() -> None:
    layer, state, fast = compiled_inside(), torch.get_rng_state(), torch.backends.mha.get_fastpath_enabled()
    before = {name: x.clone() for name, x in layer.state_dict().items()}
    optimised = torch._C._get_graph_executor_optimize()
    ar.conform(layer, RELU, cases=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.backends.mha.get_fastpath_enabled() is fast
    assert torch._C._get_graph_executor_optimize() is optimised
    assert torch._dynamo.eval_frame._stance.stance == "default"
    assert all(torch.equal(x, before[name]) and x.dtype == torch.float32 for name, x in layer.state_dict().items())
    assert layer.training


def test_memory_is_bounded() -> None:
    """What a small budget leaves out is met by its sums; the note says how many values that were."""
    inputs = first_inputs(ATTENTION, 0, {})
    layer = tracer.double(Packed())
    whole = tracer.trace(layer, [inputs["query"]], {})
    room = sum({r.value.ctypes.data: r.value.nbytes for r in whole.records}.values()) // 2
    part = tracer.trace(layer, [inputs["query"]], {}, limit=room)
    assert whole.faint == []
    assert part.faint
    assert len(part.records) + len(part.faint) == len(whole.records)
    kept = {r.value.ctypes.data: r.value.nbytes for r in part.records}
    assert sum(kept.values()) <= room
    assert "were too much to keep" in part.notes[0]
    search = Search(ATTENTION, inputs, part, tracer.outputs(part.output))
    best, _ = faults(search)
    assert any(record in part.faint for record in best.taps.values())


def test_the_framework_is_told() -> None:
    assert frameworks(of_globals) == ["torch"]
    assert frameworks(Holder()) == ["torch"]
    assert frameworks(torch.compile(of_globals)) == ["torch"]
