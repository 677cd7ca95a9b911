"""Einsum as transposes and matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.passes.expansion import Call, reduced


@dataclass(frozen=True, slots=True)
class _Term:
    """A tensor and the letter of each of its axes."""

    value: ir.Value
    letters: str


def einsum(call: Call) -> ir.Value:
    """One product for each further operand, from the left, with all that is summed then."""
    left, result = _letters(call)
    terms = [
        _Term(value, letters) for value, letters in zip(call.node.inputs, left) if value is not None
    ]
    done = terms[0]
    for index, term in enumerate(terms[1:], 1):
        later = result + "".join(left[index + 1 :])
        done = _product(call, _summed(call, done, term.letters + later), term, later)
    done = _summed(call, done, result)
    return _ordered(call, done, result).value


def _letters(call: Call) -> tuple[list[str], str]:
    """The letters of each operand's axes and of the result's, those of an ellipsis written out."""
    text = call.text("equation").replace(" ", "")
    before, arrow, after = text.partition("->")
    operands = before.split(",")
    spare = [chr(code) for code in range(0x3B1, 0x3B1 + 24)]  # Greek: no equation has them
    longest = 0
    for index, letters in enumerate(operands):
        if "..." not in letters:
            continue
        count = call.rank(call.input(index)) - len(letters) + 3
        longest = max(longest, count)
        operands[index] = letters.replace("...", "".join(spare[len(spare) - count :]))
    hidden = "".join(spare[len(spare) - longest :])
    if not arrow:
        every = "".join(operands)
        seen_once = sorted(c for c in set(every) - set(hidden) if every.count(c) == 1)
        after = "..." + "".join(seen_once)
    if any(len(set(letters)) != len(letters) for letters in operands):
        raise call.refused(
            f"its equation {text!r} takes a diagonal", "Write it without a repeated letter."
        )
    return operands, after.replace("...", hidden)


def _summed(call: Call, term: _Term, kept: str) -> _Term:
    """The sum over those axes whose letters nobody needs any more."""
    axes = [axis for axis, letter in enumerate(term.letters) if letter not in kept]
    if not axes:
        return term
    value = reduced(call, "ReduceSum", term.value, axes, keep=False)
    return _Term(value, "".join(letter for letter in term.letters if letter in kept))


def _ordered(call: Call, term: _Term, letters: str) -> _Term:
    if term.letters == letters:
        return term
    order = [term.letters.index(letter) for letter in letters]
    return _Term(call.b.Transpose(term.value, perm=order), letters)


def _product(call: Call, one: _Term, other: _Term, later: str) -> _Term:
    """(shared, own, summed) times (shared, summed, own), each group of axes made one axis."""
    other = _summed(call, other, one.letters + later)
    both = [letter for letter in one.letters if letter in other.letters]
    shared = "".join(letter for letter in both if letter in later)
    summed = "".join(letter for letter in both if letter not in later)
    rows = "".join(letter for letter in one.letters if letter not in both)
    columns = "".join(letter for letter in other.letters if letter not in both)
    b = call.b
    first = _ordered(call, one, shared + rows + summed)
    second = _ordered(call, other, shared + summed + columns)
    product = b.MatMul(
        _grouped(call, first, (shared, rows, summed)),
        _grouped(call, second, (shared, summed, columns)),
    )
    if len(rows) == len(columns) == 1:
        return _Term(product, shared + rows + columns)
    sizes = [
        _size(call, term, letter)
        for term, letters in ((first, shared + rows), (second, columns))
        for letter in letters
    ]
    shape = b.Concat(*sizes, axis=0) if sizes else b.constant([], ir.DataType.INT64)
    return _Term(b.Reshape(product, shape), shared + rows + columns)


def _grouped(call: Call, term: _Term, groups: Sequence[str]) -> ir.Value:
    """The tensor with its first group of axes as they are, and each of the other two as one."""
    b, (first, *others) = call.b, groups
    if all(len(group) == 1 for group in others):
        return term.value
    parts = [_size(call, term, letter) for letter in first]
    parts += [_merged(call, term, group) for group in others]
    value: ir.Value = b.Reshape(term.value, b.Concat(*parts, axis=0))
    return value


def _merged(call: Call, term: _Term, group: str) -> ir.Value:
    if not group:
        return call.b.integers(1)
    axes = [term.letters.index(letter) for letter in group]
    sizes = call.sizes(term.value, *axes)
    if len(group) == 1:
        return sizes
    return reduced(call, "ReduceProd", sizes, [0], keep=True)


def _size(call: Call, term: _Term, letter: str) -> ir.Value:
    return call.sizes(term.value, term.letters.index(letter))
