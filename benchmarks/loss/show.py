"""Tables and plot of the figures of the losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.loss.contestants import CONTESTANTS, STREAMED
from benchmarks.records import table


def markdown(result: dict[str, Any]) -> str:
    """Two tables by number of vectors: memory in multiples of the vectors', and time in multiples of ours in blocks."""
    sizes = result["sizes"]
    head = [f"{int(count):,}" for count in sizes]
    taking_part = [each for each in CONTESTANTS if any(each.name in size["losses"] for size in sizes.values())]
    memory = [[each.name, each.how, *(_memory(size, each.name) for size in sizes.values())] for each in taking_part]
    time = [[each.name, *(_time(size, each.name) for size in sizes.values())] for each in taking_part]
    left_out = f" Not installed, so left out: {', '.join(result['left_out'])}." if result["left_out"] else ""
    vectors = (
        f"Vectors of {result['dim']:,} dimensions, {result['vectors_of_an_image']} of an image; {result['device']}."
    )
    return "\n\n".join(
        [
            f"{vectors}{left_out} Memory at the peak of loss and gradient, the gradient included, in multiples of the "
            "vectors' own; none where there was not enough of it.",
            table(["vectors", "", *head], memory, text_columns=2),
            "Time of loss and gradient in multiples of the one in blocks: median of the rounds, lowest and highest.",
            table(["vectors", *head], time),
        ]
    )


def _memory(size: dict[str, Any], name: str) -> str:
    return f"{size['losses'][name]['extra_bytes'] / size['vector_bytes']:.1f}" if name in size["losses"] else ""


def _time(size: dict[str, Any], name: str) -> str:
    if name not in size["losses"]:
        return ""
    ratio, rounds = size["losses"][name]["times_as_long"], len(size["losses"][name]["seconds"])
    if rounds == 1 or name == STREAMED:
        return f"{ratio['median']:.2f}"
    return f"{ratio['median']:.2f} ({ratio['lowest']:.2f} to {ratio['highest']:.2f})"


def draw(result: dict[str, Any], file: Path) -> None:
    """Memory and time of each loss by number of vectors, as a PNG."""
    from matplotlib.figure import Figure

    sizes = {int(count): size for count, size in result["sizes"].items()}
    figure = Figure(figsize=(10, 4), layout="constrained")
    memory, time = figure.subplots(1, 2)
    first = min(sizes)
    unit = min(sizes[first]["losses"][STREAMED]["seconds"])
    for each in CONTESTANTS:
        found = {count: size["losses"][each.name] for count, size in sizes.items() if each.name in size["losses"]}
        if found:
            extra = [about["extra_bytes"] / 2**30 for about in found.values()]
            (line,) = memory.plot(list(found), extra, "o-", label=each.name)
            lasted = [
                about["times_as_long"]["median"] * min(sizes[count]["losses"][STREAMED]["seconds"]) / unit
                for count, about in found.items()
            ]
            time.plot(list(found), lasted, "o-", color=line.get_color(), label=each.name)
    own = [size["vector_bytes"] / 2**30 for size in sizes.values()]
    memory.plot(list(sizes), own, "k:", label="the vectors themselves")
    memory.set(title="memory at the peak of loss and gradient", ylabel="GiB beyond the vectors")
    time.set(title="time of loss and gradient", ylabel=f"times that of {first:,} vectors in blocks")
    for axes in (memory, time):
        axes.set(xlabel=f"vectors of {result['dim']:,} dimensions", xscale="log", yscale="log")
        axes.set_xticks(list(sizes), [f"{count:,}" for count in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
