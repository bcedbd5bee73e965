"""The Edge TPU's rules, read off a graph: each is found when broken, and none where it is kept."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from quantize import edgetpu_rules, graph, lite, source


def with_op(layout: graph.Graph, name: str, /, **changes: object) -> graph.Graph:
    """Return `layout` with the first operator called `name` changed."""
    at = next(i for i, op in enumerate(layout.ops) if op.name == name)
    ops = list(layout.ops)
    ops[at] = dataclasses.replace(ops[at], **changes)
    return dataclasses.replace(layout, ops=tuple(ops))


def test_our_integer_network_passes(layout: graph.Graph) -> None:
    """No rule is broken by what `convert` writes."""
    assert list(edgetpu_rules.check(layout)) == []


def test_a_float_network_breaks_a_rule_in_every_layer(cnn_file: Path) -> None:
    """Each convolution of the float file is named with its type."""
    floats = graph.read(lite.to_float(source.load(cnn_file)), "float")
    found = [f.rule for f in edgetpu_rules.check(floats) if "CONV_2D" in f.rule and "FLOAT32" in f.rule]
    assert len(found) >= 6


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("CONV_2D", {"version": 9}, "version 3 at most, got 9"),
        ("MAX_POOL_2D", {"activation": "RELU"}, "no fused activation"),
        ("CONV_2D", {"name": "CUMSUM"}, "not among the operators that this check knows"),
        ("ADD", {"custom": True}, "not an operator"),
        ("CONV_2D", {"options": {"dilationHFactor": 2, "dilationWFactor": 1}}, "the same dilation in height and width"),
        ("MAX_POOL_2D", {"name": "CONCATENATION", "activation": "RELU6"}, "no fused activation"),
        ("MAX_POOL_2D", {"name": "SOFTMAX"}, "a one-dimensional input of at most 16000"),
    ],
)
def test_each_rule_is_found_when_broken(layout: graph.Graph, name: str, changes: dict[str, object], says: str) -> None:
    """Newer versions, fused pools, foreign and custom operators: one finding each."""
    found = list(edgetpu_rules.check(with_op(layout, name, **changes)))
    assert len(found) == 1
    assert says in found[0].rule


def test_a_dense_layer_per_channel_is_refused(layout: graph.Graph) -> None:
    """The compiler wants one scale for a dense layer's weights."""
    broken = with_op(layout, "CONV_2D", name="FULLY_CONNECTED", version=1)
    assert ["per-tensor" in f.rule for f in edgetpu_rules.check(broken)] == [True, False]


def test_an_open_dimension_and_a_batch_are_refused(layout: graph.Graph) -> None:
    """Everything has a fixed size, and the batch is 1."""
    face = dataclasses.replace(layout.inputs[0], shape=(4, 48, 48, 1), dynamic=True)
    broken = dataclasses.replace(layout, inputs=(face,), tensors=(face,))
    rules = " ".join(f.rule for f in edgetpu_rules.check(broken))
    assert "expected batch 1" in rules
    assert "expected fixed dimensions" in rules


def tensor(shape: tuple[int, ...], content: object = None) -> graph.Tensor:
    """Return an int8 activation, or an int32 constant with this content."""
    data = None if content is None else np.asarray(content, np.int32)
    size, dtype = (0, "INT8") if data is None else (data.nbytes, "INT32")
    raw = None if data is None else np.frombuffer(data.tobytes(), np.uint8)
    return graph.Tensor(0, "t", dtype, shape, False, size > 0, size, int(not size), 1.0, 0, raw)


def rules(op: graph.Op) -> list[str]:
    """Return what the check finds in a graph of `op` alone."""
    return [f.rule for f in edgetpu_rules.check(graph.Graph(1, (op,), (), (), (*op.inputs, *op.outputs)))]


FACE = tensor((1, 8, 8, 4))


def op(name: str, *more: graph.Tensor, **options: int) -> graph.Op:
    """Return the operator `name` on a face and what else it takes."""
    return graph.Op(name, 1, False, "NONE", (FACE, *more), (FACE,), options)


@pytest.mark.parametrize(
    ("broken", "kept", "says"),
    [
        (op("PAD", tensor((4, 2))), op("PAD", tensor((4, 2), [[0, 0], [1, 1], [1, 1], [0, 0]])), "constant padding"),
        (op("MEAN", tensor((2,))), op("MEAN", tensor((2,), [-3, -2])), "constant axes"),
        (op("MEAN", tensor((1,), [-1])), op("MEAN", tensor((2,), [1, 2])), "mean over height and width"),
        (
            op("DEPTHWISE_CONV_2D", tensor((1, 3, 3, 4), [0]), dilationHFactor=2, dilationWFactor=2),
            op("DEPTHWISE_CONV_2D", tensor((1, 3, 3, 4), [0]), dilationHFactor=1, dilationWFactor=1),
            "no dilation, got 2 in height and 2",
        ),
        (
            op("CONV_2D", tensor((4, 3, 3, 4), [0]), dilationHFactor=1, dilationWFactor=2),
            op("CONV_2D", tensor((4, 3, 3, 4), [0]), dilationHFactor=2, dilationWFactor=2),
            "the same dilation",
        ),
        (
            dataclasses.replace(op("TANH"), inputs=(dataclasses.replace(FACE, scales=0, scale=None),)),
            op("TANH"),
            "expected a scale, got a INT8 without one",
        ),
        (
            dataclasses.replace(op("SOFTMAX"), inputs=(tensor((1, 16_001)),)),
            dataclasses.replace(op("SOFTMAX"), inputs=(tensor((1, 16_000)),)),
            "at most 16000 elements, got (1, 16001)",
        ),
    ],
)
def test_a_rule_is_found_only_where_it_is_broken(broken: graph.Op, kept: graph.Op, says: str) -> None:
    """What is not constant is a finding, not a crash; negative axes and equal dilations are let be."""
    assert [says in rule for rule in rules(broken)] == [True]
    assert rules(kept) == []


def test_what_the_check_does_not_know_is_not_called_forbidden() -> None:
    """The vendor's list is longer than ours."""
    (found,) = edgetpu_rules.check(graph.Graph(1, (op("SQUEEZE"),), (), (), ()))
    assert (found.unknown, found.rule) == (True, "SQUEEZE: not among the operators that this check knows")
