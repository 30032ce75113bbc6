"""Remember which jobs have a message, in eight bytes each, so that any number fits."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import pairwise


class IdSet:
    """A set of job ids that knows them by their hashes.

    Two ids may share one: then something may be overlooked, once in ten million runs over a
    million jobs, and nothing is ever seen that is not there.
    """

    def __init__(self) -> None:
        self._hashes = array("q")
        self._is_sorted = True

    def add(self, job_id: str) -> None:
        """Put an id in; one that is in already is in twice."""
        self._hashes.append(hash(job_id))
        self._is_sorted = False

    def __contains__(self, job_id: str) -> bool:
        """Whether an id is in."""
        hashes, wanted = self._sorted(), hash(job_id)
        at = bisect_left(hashes, wanted)
        return at < len(hashes) and hashes[at] == wanted

    def twice(self) -> set[int]:
        """The hashes of those that are in more than once."""
        hashes = self._sorted()
        return {one for one, following in pairwise(hashes) if one == following}

    def __len__(self) -> int:
        """How many are in."""
        return len(self._hashes)

    def _sorted(self) -> array[int]:
        if not self._is_sorted:
            self._hashes = array("q", sorted(self._hashes))
            self._is_sorted = True
        return self._hashes
