"""Intervals for shares."""

import math

from app.report import Rate

_Z = 1.959963984540054  # the standard normal's 97.5 % point


def rate(hits: int, cases: int) -> Rate:
    """A share with its Wilson score interval (Wilson, 1927) at 95 %."""
    if cases == 0:
        return Rate(cases=0, hits=0, rate=None, low=None, high=None)
    share, z2 = hits / cases, _Z**2
    centre = (share + z2 / (2 * cases)) / (1 + z2 / cases)
    half = _Z / (1 + z2 / cases) * math.sqrt(share * (1 - share) / cases + z2 / (4 * cases**2))
    return Rate(cases=cases, hits=hits, rate=share, low=max(0.0, centre - half), high=min(1.0, centre + half))
