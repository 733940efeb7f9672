"""The order in which a box wrote its documents, whatever order they came in.

A box sends its backlog newest first, so that the last to come may be the oldest. Within an epoch
the numbers of its outbox rise; the next epoch begins when a backup was restored, after all that
the one before it had sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")


def as_written(found: Iterable[T], place: Callable[[T], tuple[str, int, int]]) -> list[T]:
    """Sort documents of one box, oldest first.

    Parameters
    ----------
    place
        Epoch and seq of a document, and its number at the centre.
    """
    placed = [(place(one), one) for one in found]
    first: dict[str, int] = {}
    for (epoch, _, number), _one in placed:
        first[epoch] = min(first.get(epoch, number), number)
    placed.sort(key=lambda pair: (first[pair[0][0]], pair[0][1]))
    return [one for _, one in placed]
