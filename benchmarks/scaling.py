"""Arithmetic of docs/scaling.md: prints its tables. Nothing is measured here; what was is named with its page.

python benchmarks/scaling.py            prints the tables
python benchmarks/scaling.py --check    compares them with docs/scaling.md
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30
PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"

PEAK, SHARE, DEVICES = 989e12, 0.40, 8
"""Dense bfloat16 operations a second of an H100 by its maker, the share of them that is reckoned with, and how many."""
COUNTING = {"Latin scripts": 74, "mixed scripts": 44}
"""MiB a second of one core, docs/results/cooccurrence_speed.md."""
PARTIAL_BYTES = 157_000
"""A shard's partial for 12,000 pairs of 7,581 words: the size of the file that `lingraft pivots count` wrote."""
SHARD_BYTES = 2**26
BYTES_A_TOKEN = 4.5


@dataclass(frozen=True)
class Model:
    """Shape of a gated decoder."""

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    rows: int

    @property
    def kv_width(self) -> int:
        return self.width // self.heads * self.kv_heads

    @property
    def attention(self) -> int:
        return 2 * self.width * self.width + 2 * self.width * self.kv_width

    @property
    def layer(self) -> int:
        return self.attention + 3 * self.width * self.inner

    @property
    def matrix(self) -> int:
        return self.rows * self.width

    @property
    def parameters(self) -> int:
        return self.layers * self.layer + 2 * self.matrix

    @property
    def multiplied(self) -> int:
        """Parameters in matrix products: the input matrix is only looked up."""
        return self.layers * self.layer + self.matrix


BIG = Model(layers=32, width=4096, inner=14336, heads=32, kv_heads=8, rows=128_256)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def gib(count: float) -> str:
    return f"{count / GIB:,.1f}"


def duration(seconds: float) -> str:
    """A time in the unit that one would say it in."""
    for size, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:,.2f} s" if seconds < 10 else f"{seconds:,.0f} s"


def model_table() -> str:
    rows = [
        ["a layer", f"{BIG.layer:,}"],
        ["of it attention (q, k, v, o)", f"{BIG.attention:,}"],
        ["all layers", f"{BIG.layers * BIG.layer:,}"],
        ["a vocabulary matrix, 128,256 x 4,096", f"{BIG.matrix:,}"],
        ["whole, input and output apart", f"{BIG.parameters:,}"],
        ["in matrix products (N)", f"{BIG.multiplied:,}"],
    ]
    return table(["part", "parameters"], rows)


def memory_table() -> str:
    """Weights, gradients and optimiser; per device where all is sharded."""
    attention = BIG.layers * BIG.attention
    # Bytes of a weight as it is kept, of one that learns besides (gradient, master, two moments), and as gathered.
    ways = [
        ("full, float32", 4 * BIG.parameters, 12 * BIG.parameters, 4),
        ("full, bfloat16 with float32 masters", 2 * BIG.parameters, 14 * BIG.parameters, 2),
        ("attention only, float32", 4 * BIG.parameters, 12 * attention, 4),
        ("attention only, bfloat16 with masters", 2 * BIG.parameters, 14 * attention, 2),
        ("embeddings and head only, bfloat16 with masters", 2 * BIG.parameters, 14 * 2 * BIG.matrix, 2),
    ]
    rows = []
    for name, fixed, learning, size in ways:
        whole = fixed + learning
        # While a part is computed its weights are whole on every device.
        largest = size * max(BIG.layer, BIG.matrix)
        rows.append([name, gib(whole), gib(whole / DEVICES), gib(whole / DEVICES + largest)])
    return table(
        ["what learns, precision", "whole, GiB", "an eighth, GiB", "with the largest part whole, GiB"], rows
    )


def activation_bytes() -> tuple[int, int, int]:
    """Bytes a token: kept by all layers, kept with checkpointing, and of the logits."""
    layer = 2 * (6 * BIG.width + 2 * BIG.kv_width + 4 * BIG.inner)
    return BIG.layers * layer, BIG.layers * 2 * BIG.width + layer, BIG.rows * (2 + 4 + 4)


def activation_table() -> str:
    kept, checkpointed, logits = activation_bytes()
    rows = []
    for tokens in (2048, 4096, 8192):
        sizes = (kept * tokens, checkpointed * tokens, logits * tokens)
        rows.append([f"{tokens:,}", *map(gib, sizes)])
    head = ["tokens together", "all layers, GiB", "checkpointed at every layer, GiB", "logits, GiB"]
    return table(head, rows)


def training_table() -> str:
    speed = PEAK * SHARE * DEVICES
    rows = []
    for name, tokens in (
        ("100 million", 1e8),
        ("2 billion", 2e9),
        ("20 billion", 2e10),
        ("100 billion", 1e11),
    ):
        work = 6 * BIG.multiplied * tokens
        rows.append([name, f"{work:.2e}", duration(work / speed), duration(work / speed / 8)])
    return table(["tokens", "operations, 6 N D", "8 devices", "64 devices"], rows)


def vocabulary_table() -> str:
    rows = []
    for name, count in (
        ("128,256 (source)", 128_256),
        ("32,000", 32_000),
        ("136,256 (8,000 added)", 136_256),
    ):
        size = count * BIG.width
        rows.append([name, gib(2 * size), gib(4 * size), gib(2 * 4 * size), gib(2 * 16 * size)])
    head = ["rows x 4,096", "bfloat16, GiB", "float32, GiB", "both in float32", "both in training (16 bytes)"]
    return table(head, rows)


def counting_table() -> str:
    total = 1e11 * BYTES_A_TOKEN
    rows = []
    for name, speed in COUNTING.items():
        one = total / (speed * 2**20)
        rows.append([name, f"{speed}", *(duration(one / workers) for workers in (1, 16, 128))])
    return table([f"{total / 1e9:,.0f} GB of", "MiB/s a core", "1 worker", "16 workers", "128 workers"], rows)


def partials_table() -> str:
    shards = -(-int(1e11 * BYTES_A_TOKEN) // SHARD_BYTES)
    rows = [
        ["shards of 64 MiB", f"{shards:,}"],
        ["a partial, 12,000 pairs of 7,581 words (measured)", f"{PARTIAL_BYTES / 2**10:,.0f} KiB"],
        ["all partials", f"{shards * PARTIAL_BYTES / GIB:,.2f} GiB"],
        ["reading needed for 128 workers at 74 MiB/s", f"{128 * 74 / 1024:,.1f} GiB/s"],
    ]
    return table(["what", "how much"], rows)


def sweep_work(tokens: int, new: int) -> tuple[int, float]:
    """Token-layers and operations of one instance: prefills, one row a pair, and further tokens."""
    n, pairs = BIG.layers, BIG.layers**2
    layers = 2 * n * tokens + n * n * (n + 1) // 2 + (new - 1) * pairs * n
    return layers, 2.0 * (layers * BIG.layer + new * pairs * BIG.matrix)


def sweep_table() -> str:
    rows = []
    for tokens in (128, 512):
        for new in (1, 20):
            layers, work = sweep_work(tokens, new)
            one = work / (PEAK * SHARE)
            rows.append(
                [
                    f"{tokens}",
                    f"{new}",
                    f"{layers:,}",
                    f"{work / 1e12:,.1f} T",
                    duration(one),
                    duration(1000 * one),
                ]
            )
    head = [
        "prompt tokens T",
        "new tokens",
        "token-layers",
        "operations",
        "an instance, 1 device",
        "1,000 instances",
    ]
    return table(head, rows)


def preference_table() -> str:
    """An item: two prompts, four answers; four operations a parameter and token, and two for what learns."""
    learning = {"attention": BIG.layers * BIG.attention, "full": BIG.multiplied}
    speed = PEAK * SHARE * DEVICES
    rows = []
    for prompt, answer in ((64, 128), (128, 256)):
        tokens = 2 * prompt + 4 * answer
        for name, count in learning.items():
            # Training, and the initial model's pass over the same rows.
            work = tokens * (4 * BIG.multiplied + 2 * count + 2 * BIG.multiplied)
            rows.append(
                [
                    f"{prompt}/{answer}",
                    name,
                    f"{tokens:,}",
                    f"{speed / work:,.0f}",
                    duration(6400 * work / speed),
                ]
            )
    return table(
        ["prompt/answer", "what learns", "tokens an item", "items/s, 8 devices", "6,400 items"], rows
    )


TABLES = {
    "model": model_table,
    "memory": memory_table,
    "activations": activation_table,
    "training": training_table,
    "vocabulary": vocabulary_table,
    "counting": counting_table,
    "partials": partials_table,
    "sweep": sweep_table,
    "preference": preference_table,
}


def filled(text: str) -> str:
    """The page with its tables computed anew, each between its marks."""
    first, *parts = text.split("<!-- table ")
    pieces = [first]
    for part in parts:
        name, _, rest = part.partition(" -->")
        _, end, after = rest.partition("<!-- end -->")
        pieces.append(f"<!-- table {name} -->\n\n{TABLES[name]()}\n\n{end}{after}")
    return "".join(pieces)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail where the page says otherwise")
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    wanted = parser.parse_args()
    if wanted.check or wanted.write:
        page = PAGE.read_text(encoding="utf-8")
        if wanted.write:
            PAGE.write_text(filled(page), encoding="utf-8")
        return int(wanted.check and filled(page) != page)
    for name, make in TABLES.items():
        print(f"{name}\n\n{make()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
