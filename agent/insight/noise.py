"""Exact discrete Laplace noise: integers and fractions only, so no floating-point attack on the result.

Algorithms 1 and 2 of Canonne, Kamath & Steinke, "The Discrete Gaussian for Differential Privacy" (NeurIPS 2020,
arXiv 2004.00010). Pure but for the source of random integers, which the caller passes in.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Final

RandBelow = Callable[[int], int]
"""f(n) → uniform integer in [0, n), like `secrets.randbelow`."""

_ONE: Final = Fraction(1)


def _bernoulli(p: Fraction, below: RandBelow) -> bool:
    """True with probability p, 0 ≤ p ≤ 1, exactly."""
    return below(p.denominator) < p.numerator


def _bernoulli_exp(x: Fraction, below: RandBelow) -> bool:
    """True with probability e^-x, 0 ≤ x ≤ 1, exactly (algorithm 1; nothing here asks for a larger x)."""
    tries = 1
    while _bernoulli(x / tries, below):
        tries += 1
    return tries % 2 == 1


def _magnitude(scale: Fraction, below: RandBelow) -> int:
    """A geometric integer: P(n) ∝ e^(-n / scale), n = 0, 1, … (inner loop of algorithm 2)."""
    t, s = scale.numerator, scale.denominator
    while True:
        rest = below(t)
        if _bernoulli_exp(Fraction(rest, t), below):
            break
    whole = 0
    while _bernoulli_exp(_ONE, below):
        whole += 1
    return (whole * t + rest) // s


def discrete_laplace(scale: Fraction, below: RandBelow) -> int:
    """One integer with P(n) = tanh(1 / 2·scale) · e^(-|n| / scale).

    scale: sensitivity ÷ epsilon, in steps of the integer grid, > 0; an exact fraction.
    below: where randomness comes from; `secrets.randbelow` on a device.
    Raises ValueError for a scale that is not positive.
    """
    if scale <= 0:
        raise ValueError(f"expected a positive scale, got {scale}")
    while True:
        negative = below(2) == 1
        magnitude = _magnitude(scale, below)
        if not (negative and magnitude == 0):  # otherwise 0 would count twice
            return -magnitude if negative else magnitude


def variance(scale: Fraction) -> float:
    """Variance of `discrete_laplace(scale)`, steps²: 2·e^(1/scale) ÷ (e^(1/scale) − 1)²."""
    return 0.5 / math.sinh(0.5 / float(scale)) ** 2
