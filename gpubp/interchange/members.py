"""One network out of an ensemble, for formats that have no members."""

from __future__ import annotations

from ..errors import InputError, whole
from ..network import Network


def member_of(net: Network, member: int | None) -> int | None:
    """Return which member is meant, None for a network alone; `InputError` unless it is told.

    >>> import gpubp
    >>> member_of(gpubp.Network(gpubp.Linear(1), 2, members=3), None)
    Traceback (most recent call last):
    gpubp.errors.InputError: the network is an ensemble of 3; say which of them: member=0 to 2
    """
    if net.members is None:
        if member is not None:
            raise InputError(f"member is {member!r}, but the network is no ensemble: leave it out")
        return None
    if member is None:
        raise InputError(
            f"the network is an ensemble of {net.members}; say which of them: member=0 to "
            f"{net.members - 1}"
        )
    if not whole(member) or not 0 <= member < net.members:
        raise InputError(f"member is {member!r}; expected 0 to {net.members - 1}")
    return int(member)
