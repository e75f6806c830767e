"""Cross-fitting: images dealt out to parts, so that each part is answered by a network that learned from the others."""

from collections.abc import Sequence

from cellseg.errors import InputError


def assign_parts(groups: Sequence[str], keys: Sequence[str], sizes: Sequence[int], parts: int, where: str) -> list[int]:
    """Deal images out to parts of about equal size, groups as a whole.

    Groups that share an image, by content, count as one: otherwise a network would know the twin of an image that it
    answers for.

    Args:
        groups, keys, sizes: group, key and number of boxes of each image.
        parts: how many, 2 or more.
        where: for messages.

    Returns:
        Part of each image, 0 to ``parts - 1``.

    Raises:
        InputError: fewer groups than parts.
    """
    if type(parts) is not int or parts < 2:
        raise InputError(f"parts = {parts!r}: expected a whole number, 2 or more")
    root = {group: group for group in groups}

    def find(group: str) -> str:
        while root[group] != group:
            group = root[group]
        return group

    first: dict[str, str] = {}
    for group, key in zip(groups, keys, strict=True):
        root[find(group)] = find(first.setdefault(key, group))
    together = [find(group) for group in groups]
    totals = {group: 0 for group in together}
    for group, size in zip(together, sizes, strict=True):
        totals[group] += size
    if len(totals) < parts:
        raise InputError(
            f"{where}: has images of {len(totals)} group(s), too few for parts = {parts}; "
            + (f"set parts={len(totals)}" if len(totals) > 1 else "prepare the data with more groups in the split")
        )
    loads, chosen = [0] * parts, {}
    # The largest first; each group counts one more than its boxes, so that groups without any spread as well.
    for group in sorted(totals, key=lambda name: (-totals[name], name)):
        chosen[group] = loads.index(min(loads))
        loads[chosen[group]] += totals[group] + 1
    return [chosen[group] for group in together]
