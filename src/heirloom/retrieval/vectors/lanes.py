"""What the kernels need of the machine: a block of 32 codes scored at once, ordered memory access.

A block is 32 places. Its codes are 4 bits a dimension, transposed: byte i of row j holds dimension
2j of place i in the low half and 2j + 1 in the high half, so that one shuffle instruction looks up
32 places in a table of 16 (Andre, Kermarrec, Le Scouarnec, "Cache locality is not enough: high-
performance nearest neighbor search with product quantization fast scan", VLDB 2015, section 4).

`score_block` has two forms of the same integers: AVX2, and plain loops for other machines. The
last argument's type chooses at compile time: 1 for AVX2, None for plain.

The compiler's cache looks at the file of the kernel that is called, not at this one: after a
change here, touch those beside it.
"""
# ruff: noqa: ARG001  (the arguments of an intrinsic are numba's to name)

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCK: Final = 32
CHUNK: Final = 128
"""Places that a list grows by."""
BLOCKS: Final = CHUNK // BLOCK

HAS_AVX2: Final = bool(binding.get_host_cpu_features().get("avx2", False))
FORM: Final[int | None] = 1 if HAS_AVX2 else None
"""The last argument of `score_block` for this machine."""

_Function = TypeVar("_Function", bound=Callable[..., Any])

# As in the feature kernel: no reference counting, no exceptions for a division by zero. Products
# may be summed in any order, so that they use vector registers.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
_INLINED: dict[str, Any] = {"forceinline": True, "no_cpython_wrapper": True}
_CALLED: dict[str, Any] = {"no_cpython_wrapper": True}


def compiled(function: _Function) -> _Function:
    """An entry point, kept in the compiler's cache."""
    return cast(_Function, njit(cache=True, **_OPTIONS)(function))


def inner(function: _Function) -> _Function:
    """A part of kernels, inlined."""
    return cast(_Function, njit(**_OPTIONS, **_INLINED)(function))


def outlined(function: _Function) -> _Function:
    """A part of kernels that is called, for it is large: a kernel compiles in half the time."""
    return cast(_Function, njit(**_OPTIONS, **_CALLED)(function))


def given(array: Any, dtype: Any) -> Array:
    """An array as a kernel is given it: contiguous and read-only, so that there is one form of it.

    A kernel is compiled anew for each form, which takes seconds.

    >>> given([1, 2], np.int32).flags.writeable
    False
    """
    same = np.ascontiguousarray(array, dtype).view()
    same.flags.writeable = False
    return same


def _at(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def _loading(_: Any, array: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = _at(context, builder, signature.args[0], args[0], args[1])
        return builder.load_atomic(at, "acquire", array.dtype.bitwidth // 8)

    return array.dtype(array, types.int64), generate


def _storing(_: Any, array: Any, index: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = _at(context, builder, signature.args[0], args[0], args[1])
        builder.store_atomic(args[2], at, "release", array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, array.dtype), generate


def _fencing(_: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("acq_rel")
        return context.get_dummy_value()

    return types.void(), generate


def _fetching(_: Any, array: Any, item: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        at = builder.bitcast(_at(context, builder, signature.args[0], *args), byte)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        name = "llvm.prefetch.p0"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        builder.call(function, [at, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


def _counting(_: Any, mask: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


def _populating(_: Any, mask: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.int64), generate


def _to_bits(_: Any, number: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.sext(builder.bitcast(args[0], ir.IntType(32)), ir.IntType(64))

    return types.int64(types.float32), generate


def _to_float(_: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.trunc(args[0], ir.IntType(32)), ir.FloatType())

    return types.float32(types.int64), generate


load: Any = intrinsic(_loading)
"""(array, flat index) -> item. What is read after it was written before the item was stored."""
store: Any = intrinsic(_storing)
"""(array, flat index, item): what was written before is seen by who loads the item."""
fence: Any = intrinsic(_fencing)
"""Nothing is read or written across it, by the compiler or by the machine."""
fetch: Any = intrinsic(_fetching)
"""(array, flat index): asks the memory for that item, and waits for nothing."""
to_bits: Any = intrinsic(_to_bits)
"""(float32) -> its bits, as a signed number."""
to_float: Any = intrinsic(_to_float)
"""(bits) -> the float32 of the lower 32."""
popcount: Any = intrinsic(_populating)
"""(mask) -> how many bits are set."""
lowest: Any = intrinsic(_counting)
"""(mask) -> place of its lowest bit; the mask is not 0."""


_BYTES, _WORDS = ir.VectorType(ir.IntType(8), 32), ir.VectorType(ir.IntType(16), 16)


def _constant(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * kind.count)


def _row_sums(builder: Any, codes: Any, table: Any, shuffle: Any) -> Any:
    """Two dimensions of 32 places looked up and added: bytes, at most 254."""
    row = builder.load(codes, align=1)
    low, four = _constant(_BYTES, 15), _constant(_WORDS, 4)
    high = builder.bitcast(builder.lshr(builder.bitcast(row, _WORDS), four), _BYTES)
    first = builder.load(table, align=1)
    second = builder.load(builder.gep(table, [ir.Constant(ir.IntType(64), 1)]), align=1)
    return builder.add(
        builder.call(shuffle, [first, builder.and_(row, low)]),
        builder.call(shuffle, [second, builder.and_(high, low)]),
    )


def _above(builder: Any, even: Any, odd: Any, limit: Any) -> Any:
    """[32] bits in the order of places, of two vectors of sums, as int64."""
    number = ir.IntType(32)
    undefined = ir.Constant(_WORDS, ir.Undefined)
    one = builder.insert_element(undefined, builder.trunc(limit, ir.IntType(16)), number(0))
    spread = builder.shuffle_vector(one, undefined, _constant(ir.VectorType(number, 16), 0))
    halves = [
        builder.and_(builder.sext(builder.icmp_signed(">", sums, spread), _WORDS), mask)
        for sums, mask in ((even, _constant(_WORDS, 0x00FF)), (odd, _constant(_WORDS, 0xFF00)))
    ]
    bytes_ = builder.bitcast(builder.or_(*halves), _BYTES)
    bits = builder.icmp_signed("<", bytes_, _constant(_BYTES, 0))
    return builder.zext(builder.bitcast(bits, number), ir.IntType(64))


def _scoring(_: Any, codes: Any, at: Any, rows: Any, tables: Any, limit: Any, sums: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        name = "llvm.x86.avx2.pshuf.b"
        shuffle = builder.module.globals.get(name) or ir.Function(
            builder.module, ir.FunctionType(_BYTES, [_BYTES, _BYTES]), name
        )
        vector = _BYTES.as_pointer()
        code = builder.bitcast(_at(context, builder, kinds[0], args[0], args[1]), vector)
        zero = ir.Constant(ir.IntType(64), 0)
        table = builder.bitcast(_at(context, builder, kinds[3], args[3], zero), vector)
        both = cgutils.alloca_once_value(builder, _constant(_WORDS, 0))  # type: ignore[no-untyped-call]
        odds = cgutils.alloca_once_value(builder, _constant(_WORDS, 0))  # type: ignore[no-untyped-call]
        builder.store(_constant(_WORDS, 0), both)
        builder.store(_constant(_WORDS, 0), odds)
        eight = _constant(_WORDS, 8)
        with cgutils.for_range(builder, args[2]) as loop:
            twice = builder.shl(loop.index, ir.Constant(loop.index.type, 1))
            pair = _row_sums(
                builder, builder.gep(code, [loop.index]), builder.gep(table, [twice]), shuffle
            )
            wide = builder.bitcast(pair, _WORDS)
            builder.store(builder.add(builder.load(both), wide), both)
            builder.store(builder.add(builder.load(odds), builder.lshr(wide, eight)), odds)
        odd = builder.load(odds)
        even = builder.sub(builder.load(both), builder.shl(odd, eight))
        out = builder.bitcast(_at(context, builder, kinds[5], args[5], zero), _WORDS.as_pointer())
        builder.store(even, out, align=1)
        builder.store(odd, builder.gep(out, [ir.Constant(ir.IntType(64), 1)]), align=1)
        return _above(builder, even, odd, args[4])

    return types.int64(codes, types.int64, types.int64, tables, types.int64, sums), generate


_score_avx2: Any = intrinsic(_scoring)


def _ranging(_: Any, array: Any, at: Any, low: Any, high: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.VectorType(ir.IntType(array.dtype.bitwidth), BLOCK)
        values = builder.load(
            builder.bitcast(
                _at(context, builder, signature.args[0], args[0], args[1]), kind.as_pointer()
            ),
            align=array.dtype.bitwidth // 8,
        )
        undefined, zero = ir.Constant(kind, ir.Undefined), ir.IntType(32)(0)
        first = _constant(ir.VectorType(ir.IntType(32), BLOCK), 0)
        ends = [
            builder.shuffle_vector(builder.insert_element(undefined, end, zero), undefined, first)
            for end in args[2:]
        ]
        within = builder.and_(
            builder.icmp_signed(">=", values, ends[0]), builder.icmp_signed("<=", values, ends[1])
        )
        return builder.zext(builder.bitcast(within, ir.IntType(BLOCK)), ir.IntType(64))

    return types.int64(array, types.int64, array.dtype, array.dtype), generate


between: Any = intrinsic(_ranging)
"""(array, flat index, low, high) -> bits of the 32 items from there on that lie in a range."""


def _score_plain(
    codes: Array, at: Any, rows: Any, tables: Array, limit: Any, sums: Array, form: Any
) -> Any:
    mask = np.int64(0)
    for i in range(BLOCK):
        total = np.int64(0)
        for j in range(rows):
            pair = np.int64(codes[at + BLOCK * j + i])
            total += np.int64(tables[64 * j + (pair & 15)])
            total += np.int64(tables[64 * j + 32 + (pair >> 4)])
        sums[(i & 1) * 16 + (i >> 1)] = total
        if total > limit:
            mask |= np.int64(1) << i
    return mask


def score_block(
    codes: Array, at: Any, rows: Any, tables: Array, limit: Any, sums: Array, form: Any
) -> Any:
    """Bits of the 32 places of a block whose sum is above a limit.

    Args:
        codes: uint8, all blocks.
        at: where the block begins.
        rows: half the dimensions.
        tables: [dim, 32] uint8 of at most 127, flat: the table of 16 of each dimension, twice.
        limit: -1 ... 32767.
        sums: [32] uint16, written to: those of the even places, then of the odd ones.
        form: FORM, or None for the plain one.
    """
    raise NotImplementedError("for compiled code")


@overload(score_block, jit_options=cast(Any, _OPTIONS))
def _score_block(
    codes: Array, at: Any, rows: Any, tables: Array, limit: Any, sums: Array, form: Any
) -> Any:
    if isinstance(form, types.NoneType):
        return _score_plain

    def avx2(
        codes: Array, at: Any, rows: Any, tables: Array, limit: Any, sums: Array, form: Any
    ) -> Any:
        return _score_avx2(codes, at, rows, tables, limit, sums)

    return avx2


def _product(a: Array, i: Any, b: Array, j: Any, dim: Any) -> Any:
    total = np.float32(0)
    for k in range(dim):
        total += a[i, k] * b[j, k]
    return total


product: Any = njit(fastmath={"reassoc", "contract"}, **_OPTIONS, **_INLINED)(_product)
"""(a, i, b, j, dim) -> the dot product of two rows."""
