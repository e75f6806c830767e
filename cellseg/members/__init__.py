"""A trained network as a member of the ensemble."""

from cellseg.members.base import Member
from cellseg.members.build import build_member

__all__ = ["Member", "build_member"]
