"""A small code generator for loops over memory, based on LLVM.

:class:`Code` writes a function; :func:`compile_functions` compiles it with LLVM for the
current processor. This takes some tenths of a second: the functions are small, and
there are few of them because sizes are arguments.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from skvgg._runtime.processor import features

_FLOAT, _INT = ir.FloatType(), ir.IntType(64)
_POINTER, _NOTHING = _FLOAT.as_pointer(), ir.VoidType()

#: Bits of the x86 control register: inputs and results below 1e-38 become zero.
_FLUSH_TO_ZERO = 0x8040

#: Engines own the machine code, so they live as long as the process.
_ENGINES: list[Any] = []

#: C types of LLVM's integers and pointers.
_C_TYPES = {_INT: ctypes.c_int64, _POINTER: ctypes.c_void_p}


def empty(shape: Sequence[int]) -> np.ndarray:
    """Return an uninitialized float32 array that is aligned to a cache line."""
    n_numbers = int(np.prod(shape))
    buffer = np.empty(n_numbers + 16, np.float32)
    first = -buffer.ctypes.data % 64 // buffer.itemsize
    return buffer[first : first + n_numbers].reshape(shape)


class Code:
    """Write one function that takes pointers to float32 and integers.

    Parameters
    ----------
    module : llvmlite.ir.Module
        The module that the function is added to.
    name : str
        Name of the function.
    pointers, integers : sequence of str
        Names of the arguments: first the pointers, then the integers.
    width : int
        Number of float32 values in a vector.
    """

    def __init__(
        self,
        module: ir.Module,
        name: str,
        pointers: Sequence[str],
        integers: Sequence[str],
        width: int,
    ) -> None:
        types = [_POINTER] * len(pointers) + [_INT] * len(integers)
        signature = ir.FunctionType(ir.VoidType(), types)
        self._function = ir.Function(module, signature, name)
        self._vector = ir.VectorType(_FLOAT, width)
        self._builder = ir.IRBuilder(self._function.append_basic_block())
        self.width = width
        self._control = self._flush_to_zero()
        self.arguments = dict(
            zip([*pointers, *integers], self._function.args, strict=True)
        )

    # Numbers

    def integer(self, value: Any) -> Any:
        """Return an integer as an LLVM value."""
        return ir.Constant(_INT, value) if isinstance(value, int) else value

    def add(self, a: Any, b: Any) -> Any:
        """Return a + b of two integers."""
        return self._builder.add(self.integer(a), self.integer(b))

    def subtract(self, a: Any, b: Any) -> Any:
        """Return a - b of two integers."""
        return self._builder.sub(self.integer(a), self.integer(b))

    def multiply(self, a: Any, b: Any) -> Any:
        """Return a * b of two integers."""
        return self._builder.mul(self.integer(a), self.integer(b))

    def divide(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Return quotient and remainder of two nonnegative integers."""
        a, b = self.integer(a), self.integer(b)
        return self._builder.udiv(a, b), self._builder.urem(a, b)

    def smaller(self, a: Any, b: Any) -> Any:
        """Return the smaller of two integers."""
        a, b = self.integer(a), self.integer(b)
        return self._builder.select(self.is_less(a, b), a, b)

    # Conditions

    def is_less(self, a: Any, b: Any) -> Any:
        """Return whether a < b, as signed integers."""
        return self._builder.icmp_signed("<", self.integer(a), self.integer(b))

    def is_within(self, a: Any, n: Any) -> Any:
        """Return whether 0 <= a < n."""
        return self._builder.icmp_unsigned("<", self.integer(a), self.integer(n))

    def both(self, a: Any, b: Any) -> Any:
        """Return whether two conditions hold."""
        return self._builder.and_(a, b)

    def choose(self, condition: Any, a: Any, b: Any) -> Any:
        """Return a if the condition holds, else b."""
        return self._builder.select(condition, a, b)

    # Memory

    def at(self, place: Any, offset: Any) -> Any:
        """Return a pointer moved by `offset` values."""
        return self._builder.gep(place, [self.integer(offset)])

    def load(self, place: Any) -> Any:
        """Return the vector at a pointer."""
        typed = self._builder.bitcast(place, self._vector.as_pointer())
        return self._builder.load(typed, align=4)

    def load_one(self, place: Any) -> Any:
        """Return a vector that repeats the value at a pointer."""
        return self._repeat(self._builder.load(place))

    def store(self, vector: Any, place: Any) -> None:
        """Write a vector to a pointer."""
        typed = self._builder.bitcast(place, self._vector.as_pointer())
        self._builder.store(vector, typed, align=4)

    # Vectors

    def constant(self, number: float) -> Any:
        """Return a vector that repeats a number."""
        return ir.Constant(self._vector, [float(np.float32(number))] * self.width)

    def sum_of(self, a: Any, b: Any) -> Any:
        """Return a + b of two vectors."""
        return self._builder.fadd(a, b)

    def difference_of(self, a: Any, b: Any) -> Any:
        """Return a - b of two vectors."""
        return self._builder.fsub(a, b)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """Return a * b + c of vectors, rounded once if the processor supports it."""
        name = f"llvm.fmuladd.v{self.width}f32"
        return self._call(name, [a, b, c], self._vector)

    def weighted_sum(self, coefficients: Sequence[float], terms: Sequence[Any]) -> Any:
        """Return the sum of terms times coefficients; zero coefficients are skipped."""
        total = None
        pairs = [(c, t) for c, t in zip(coefficients, terms, strict=True) if c]
        # Terms without a factor first; the others are added with multiply_add.
        for coefficient, term in sorted(pairs, key=lambda pair: abs(pair[0]) != 1):
            if total is None:
                is_one = coefficient == 1
                factor = self.constant(coefficient)
                total = term if is_one else self._builder.fmul(term, factor)
            elif coefficient == 1:
                total = self.sum_of(total, term)
            else:
                total = self.multiply_add(term, self.constant(coefficient), total)
        return total

    def maximum(self, a: Any, b: Any) -> Any:
        """Return the elementwise maximum of two vectors; `a` where one is NaN."""
        return self._builder.select(self._builder.fcmp_ordered("<", a, b), b, a)

    def _repeat(self, number: Any) -> Any:
        undefined = ir.Constant(self._vector, ir.Undefined)
        index = ir.IntType(32)
        first = ir.Constant(index, 0)
        vector = self._builder.insert_element(undefined, number, first)
        zeros = ir.Constant(ir.VectorType(index, self.width), [0] * self.width)
        return self._builder.shuffle_vector(vector, undefined, zeros)

    # Flow

    @contextmanager
    def loop(self, start: Any, stop: Any, step: Any = 1) -> Iterator[Any]:
        """Write the ``with`` block as a loop over integers from start to stop."""
        with self._loop(start, stop, step, []) as (i, _, _):
            yield i

    def accumulate(
        self,
        start: Any,
        stop: Any,
        initial: Sequence[Any],
        step: Callable[[Any, list[Any]], list[Any]],
    ) -> list[Any]:
        """Write a loop that updates vectors; return the vectors after it.

        Parameters
        ----------
        start, stop : int or integer of the function
            Range of the loop.
        initial : sequence of vectors
            Values before the loop.
        step : callable
            Takes the loop index and the vectors, writes one iteration, and returns the
            updated vectors.
        """
        with self._loop(start, stop, 1, initial) as (i, before, after):
            after += step(i, before)
        return before

    @contextmanager
    def _loop(
        self, start: Any, stop: Any, step: Any, initial: Sequence[Any]
    ) -> Iterator[tuple[Any, list[Any], list[Any]]]:
        builder = self._builder
        above = builder.block
        head, body, end = (self._function.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        i = builder.phi(_INT)
        i.add_incoming(self.integer(start), above)
        before = [builder.phi(self._vector) for _ in initial]
        for phi, value in zip(before, initial, strict=True):
            phi.add_incoming(value, above)
        builder.cbranch(self.is_less(i, stop), body, end)
        builder.position_at_end(body)
        after: list[Any] = []
        yield i, before, after
        i.add_incoming(builder.add(i, self.integer(step), flags=["nsw"]), builder.block)
        for phi, value in zip(before, after, strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(end)

    def finish(self) -> None:
        """End the function."""
        if self._control is not None:
            self._move_control("ldmxcsr", self._control)
        self._builder.ret_void()

    def _flush_to_zero(self) -> Any:
        """Treat values below 1e-38 as zero; return a pointer to the former setting.

        TensorFlow's threads do the same, because such values take a hundred times as
        long on x86. Other processors handle them at full speed, or nearly.
        """
        if "sse" not in features():
            return None
        builder, integer = self._builder, ir.IntType(32)
        before, during = builder.alloca(integer), builder.alloca(integer)
        self._move_control("stmxcsr", before)
        bits = ir.Constant(integer, _FLUSH_TO_ZERO)
        builder.store(builder.or_(builder.load(before), bits), during)
        self._move_control("ldmxcsr", during)
        return before

    def _move_control(self, name: str, place: Any) -> None:
        """Read or write the floating-point control register of the thread."""
        self._call(f"llvm.x86.sse.{name}", [self._address(place)])

    def _address(self, place: Any) -> Any:
        """Return a pointer as a pointer to bytes, which LLVM's functions take."""
        return self._builder.bitcast(place, ir.IntType(8).as_pointer())

    def _call(
        self, name: str, arguments: Sequence[Any], returns: ir.Type = _NOTHING
    ) -> Any:
        """Call a function of LLVM by name."""
        module = self._function.module
        types = [argument.type for argument in arguments]
        function = module.globals.get(name) or ir.Function(
            module, ir.FunctionType(returns, types), name
        )
        return self._builder.call(function, arguments)


def compile_functions(module: ir.Module) -> dict[str, Callable[..., None]]:
    """Return the functions of a module, by name; they release the GIL.

    Pass pointers as addresses: ``array.ctypes.data``.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
    )
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    builder = llvm.create_pass_builder(
        target, llvm.create_pipeline_tuning_options(speed_level=2)
    )
    builder.getModulePassManager().run(parsed, builder)
    engine = llvm.create_mcjit_compiler(parsed, target)
    engine.finalize_object()
    _ENGINES.append(engine)
    functions: dict[str, Callable[..., None]] = {}
    for function in module.functions:
        if not function.is_declaration:
            types = [_C_TYPES[argument.type] for argument in function.args]
            address = engine.get_function_address(function.name)
            functions[function.name] = ctypes.CFUNCTYPE(None, *types)(address)
    return functions
