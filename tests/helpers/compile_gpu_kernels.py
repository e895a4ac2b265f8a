"""Compile every GPU kernel for an H100, which needs no GPU; prints a line for each.

Run by the tests in a process of its own, as theirs interprets kernels.
"""

import sys
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from pointssl.ops.gpu import ball, edge_kernels, gather, knn, sampling

SHARED = 227 << 10  # bytes that a program may have on an H100
F32, F64, BF16 = "*fp32", "*fp64", "*bf16"
INTEGERS = {"idx": "*i64", "order": "*i64", "starts": "*i64", "slot": "*u8", "found": "*i64",
            "nearest": "*i64", "first": "*i64", "chosen": "*i64"}  # fmt: skip
NUMBERS = ("centres", "channels", "inner", "outer", "count", "among", "points", "k")
WIDE = {F32: tl.float32, BF16: tl.float32, F64: tl.float64}


def build(kernel: Any, floats: str, constants: dict[str, Any], **options: Any) -> None:
    """Compile it for tensors of that type of number."""
    names = kernel.arg_names
    signature = {}
    for name in names:
        if name in constants:
            signature[name] = "constexpr"
        elif name == "slope":
            signature[name] = "fp32"
        elif name in NUMBERS and not (
            name == "points" and kernel is not sampling._sample  # elsewhere it is a tensor
        ):
            signature[name] = "i32"
        else:
            signature[name] = INTEGERS.get(name, floats)
    values = {(names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=values)
    done = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert done.asm["cubin"]
    assert done.metadata.shared <= SHARED, (kernel.__name__, done.metadata.shared)
    print(kernel.__name__, floats, "shared", done.metadata.shared, flush=True)


def main() -> None:
    for floats in (F32, BF16):
        common: dict[str, Any] = {"K": 20, "WEIGHTED": True, "WIDE": WIDE[floats]}
        build(gather._over_neighbours, floats, {
            **common, "MAX": True, "SUM": True, "CENTRES": gather.CENTRES,
            "CHANNELS": gather.CHANNELS,
        })  # fmt: skip
        build(gather._over_edges, floats, {
            **common, "WINNERS": True, "EDGES": gather.EDGES, "CHANNELS": gather.CHANNELS,
        }, num_warps=2)  # fmt: skip
    for floats, direct, ordered in ((F32, True, True), (F32, False, False), (F64, True, True)):
        build(knn._search, floats, {
            "K": 20, "KEPT": 32, "DIRECT": direct, "ORDERED": ordered, "WIDE": WIDE[floats],
            "QUERIES": knn.QUERIES, "POINTS": knn.POINTS, "CHANNELS": knn.CHANNELS,
        }, num_warps=4, num_stages=2)  # fmt: skip
    for whole in (True, False):
        constants = {"WHOLE": whole, "POINTS": sampling.RESIDENT}
        build(sampling._sample, F32, constants, num_warps=16, enable_fp_fusion=False)
    for floats in (F32, F64):
        build(ball._first_inside, floats, {
            "DOUBLE": floats == F64, "QUERIES": ball.QUERIES, "POINTS": ball.POINTS,
        }, enable_fp_fusion=False)  # fmt: skip
    double = {"K": 20, "PRECISION": "tf32x3", "WIDE": tl.float32, "FACTOR": tl.float32}
    double |= {"INNER": 64, "OUTER": 64}
    build(edge_kernels.edges_forward, F32, {**double, "TRAIN": True, "CENTRES": 64},
          num_warps=8, num_stages=1)  # fmt: skip
    build(edge_kernels.edges_backward, F32, {**double, "CENTRES": 32}, num_warps=8, num_stages=1)


if __name__ == "__main__":
    sys.exit(main())
