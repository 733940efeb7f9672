"""How often a caller may come."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field


@dataclass
class Bucket:
    """A caller's allowance: `rate` a second, `burst` at once."""

    rate: float
    burst: float
    left: float = 0.0
    at: float = 0.0

    def take(self, now: float) -> float:
        """Take one; return 0, or the seconds until there is one again."""
        self.left = min(self.burst, self.left + (now - self.at) * self.rate)
        self.at = now
        if self.left < 1.0:
            return (1.0 - self.left) / self.rate
        self.left -= 1.0
        return 0.0


@dataclass
class Limiter:
    """An allowance for each caller, and at most `callers` of them remembered."""

    rate: float
    burst: float
    callers: int = 20_000
    _buckets: OrderedDict[str, Bucket] = field(default_factory=OrderedDict)

    def wait_s(self, caller: str, now: float) -> float:
        """Take one of the caller's; return 0, or the seconds to wait."""
        bucket = self._buckets.pop(caller, None) or Bucket(self.rate, self.burst, self.burst, now)
        self._buckets[caller] = bucket
        while len(self._buckets) > self.callers:
            self._buckets.popitem(last=False)
        return bucket.take(now)
