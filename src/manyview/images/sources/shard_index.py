"""The index of a collection of shards: which image is where, made once and kept in the user's cache."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from manyview.errors import UserError
from manyview.images.sources.collection import BadShard, Collection, Places
from manyview.images.sources.counting import Counting
from manyview.images.sources.kept import KeptArrays, keep, kept_file, open_kept
from manyview.images.sources.names import Names
from manyview.images.sources.shards import Members, ShardFormat
from manyview.images.sources.stores import Shard, absolute

_THREADS = 8  # shards listed at a time
_MISSING = "missing"


@lru_cache(maxsize=4)
def collect(where: str, form: ShardFormat, shards: tuple[Shard, ...]) -> Collection:
    """The collection of these shards, by its kept index or by what the shards say of their members.

    Names are those of the members. Where several shards have the same, the shard's name is put before all.

    Args:
        where: as the user gave it.
        form: format of the shards.
        shards: found by ``stores.find_shards``.

    Raises:
        UserError: no shard can be read, or none holds images.
    """
    file = kept_file("shards", form.title, absolute(where))
    kept = None if file is None else open_kept(file)
    if kept is not None and list(shards) == _shards(kept) and _is_sound(kept):
        return _opened(where, form, kept)
    known = {} if kept is None else _known(kept)
    fresh = [shard for shard in shards if shard not in known]
    members = known | dict(zip(fresh, _listed(form, fresh), strict=True))
    collection = _joined(where, form, shards, [members[shard] for shard in shards])
    if file is not None:
        _keep(file, collection, [members[shard] for shard in shards])
    return collection


def _listed(form: ShardFormat, shards: Sequence[Shard]) -> Iterator[Members]:
    """The members of each shard, several shards read at a time."""
    counting = Counting("Listing the images of shards: {count}", len(shards))
    with ThreadPoolExecutor(_THREADS) as pool, counting:
        for members in pool.map(lambda shard: _members(form, shard), shards):
            counting.add()
            yield members


def _members(form: ShardFormat, shard: Shard) -> Members:
    return Members(problem=_MISSING) if shard.size < 0 else form.members(shard)


def _joined(where: str, form: ShardFormat, shards: Sequence[Shard], members: Sequence[Members]) -> Collection:
    """The members of all shards in the order of their names."""
    bad = _bad(shards, [each.problem for each in members], [len(each.names) for each in members])
    if len(bad) == len(shards) and not any(len(each.names) for each in members):
        several = f"none of the {len(shards):,} shards of {where} can be read: {bad[0].name} ({bad[0].reason})"
        raise UserError(several if len(shards) > 1 else f"the shard {where} cannot be read ({bad[0].reason})")
    names = _concatenated([Names.of(*each.names.arrays()) for each in members])
    owners = np.repeat(np.arange(len(members)), [len(each.names) for each in members])
    order, repeated = _order(names)
    prefixed = repeated
    if repeated:
        labels = _labels(shards)
        names = Names(f"{labels[owner]}/{name}" for owner, name in zip(owners.tolist(), names, strict=True))
        order, repeated = _order(names)
        assert not repeated, "the last of equal names in a shard counts"
    starts, lengths = (
        np.concatenate([np.frombuffer(getattr(each, key), np.int64) for each in members])
        for key in ("starts", "lengths")
    )
    places = Places(owners, starts, lengths)
    if order is not None:
        names = Names(names[index] for index in order.tolist())
        places = Places(owners[order], starts[order], lengths[order])
    others = sum((each.others for each in members), Counter())
    return Collection(where, form, shards, names, places, others, bad, prefixed=prefixed)


def _concatenated(parts: Sequence[Names]) -> Names:
    ends = np.cumsum([0, *(len(part.buffer) for part in parts)])
    offsets = [part.offsets[:-1] + end for part, end in zip(parts, ends[:-1], strict=True)]
    return Names.of(np.concatenate([part.buffer for part in parts]), np.concatenate([*offsets, ends[-1:]]))


def _order(names: Names) -> tuple[Int64[np.ndarray, " images"] | None, bool]:
    """The order of names by their bytes, None if they are in it; and whether some are equal."""
    if all(one < other for one, other in pairwise(names.encoded())):
        return None, False
    encoded = np.array(list(names.encoded()), dtype=np.bytes_)
    order = np.argsort(encoded, kind="stable")
    encoded = encoded[order]
    return order, bool((encoded[1:] == encoded[:-1]).any())


def _labels(shards: Sequence[Shard]) -> list[str]:
    """What is put before the names of each shard's members: its name, with folders where that is not enough."""
    names = [shard.name for shard in shards]
    if len(set(names)) == len(names):
        return names
    start = len(os.path.commonpath([shard.where for shard in shards]))
    return [shard.where[start:].lstrip("/") for shard in shards]


def _bad(shards: Sequence[Shard], problems: Sequence[str], counts: Sequence[int]) -> list[BadShard]:
    """The shards with a problem, and how many images those probably lack, by the mean of the sound ones."""
    sound = [count for count, problem in zip(counts, problems, strict=True) if not problem]
    usual = round(sum(sound) / len(sound)) if sound else 1
    return [
        BadShard(shard.name, problem, max(1, usual - count))
        for shard, problem, count in zip(shards, problems, counts, strict=True)
        if problem
    ]


def _keep(file: Path, collection: Collection, members: Sequence[Members]) -> None:
    shards = [
        {"shard": [shard.where, shard.size, shard.changed], "problem": each.problem, "others": dict(each.others)}
        for shard, each in zip(collection.shards, members, strict=True)
    ]
    names, places = collection.names, collection.places
    arrays = {
        **{"buffer": names.buffer, "offsets": names.offsets},
        **{"shards": places.shards, "starts": places.starts, "lengths": places.lengths},
    }
    keep(file, {"shards": shards, "prefixed": collection.prefixed}, arrays)  # if it fails, it is made again


def _shards(kept: KeptArrays) -> list[Shard]:
    return [Shard(*entry["shard"]) for entry in kept.about["shards"]]


def _is_sound(kept: KeptArrays) -> bool:
    """Whether all shards but missing ones could be read: what could not be read may be so now."""
    return all(entry["problem"] in ("", _MISSING) for entry in kept.about["shards"])


def _opened(where: str, form: ShardFormat, kept: KeptArrays) -> Collection:
    """The collection of a kept index."""
    shards, arrays, entries = _shards(kept), kept.arrays, kept.about["shards"]
    counts = np.bincount(arrays["shards"], minlength=len(shards)).tolist()
    bad = _bad(shards, [entry["problem"] for entry in entries], counts)
    return Collection(
        *(where, form, shards, Names.of(arrays["buffer"], arrays["offsets"])),
        Places(arrays["shards"], arrays["starts"], arrays["lengths"]),
        sum((Counter(entry["others"]) for entry in entries), Counter()),
        bad,
        prefixed=kept.about["prefixed"],
    )


def _known(kept: KeptArrays) -> dict[Shard, Members]:
    """The members of the shards in a kept index, but for those that could not be read, perhaps for a while only."""
    shards, arrays, entries = _shards(kept), kept.arrays, kept.about["shards"]
    names = Names.of(arrays["buffer"], arrays["offsets"])
    labels = _labels(shards)
    found = {}
    for number, (shard, entry) in enumerate(zip(shards, entries, strict=True)):
        if entry["problem"]:
            continue
        (rows,) = np.nonzero(arrays["shards"] == number)
        rows = rows[np.argsort(arrays["starts"][rows], kind="stable")]
        members = Members(others=Counter(entry["others"]))
        cut = len(labels[number]) + 1 if kept.about["prefixed"] else 0
        for row in rows.tolist():
            place = int(arrays["starts"][row]), int(arrays["lengths"][row])
            members.add(os.fsencode(names[row][cut:]), *place)
        found[shard] = members
    return found
