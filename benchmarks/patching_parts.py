"""Parts of the results page of `patching_sweep.py` that stand on their own: more threads, bfloat16, the curve."""

import statistics

import matplotlib as mpl

TITLES = {"first-token": "first token", "generate": "20 tokens"}


REMARKS = """\
## Remarks

- The released algorithm and the plain loop run one prompt at a time, as the released code does. nnsight's batch of all
  donor layers is the strongest peer, what a careful user would write: against it the gain is what is saved by reading
  the prefix once, large for first tokens and smaller for texts, where every row has to be decoded by either.
- Decoding is bound by the multiplies: every row takes 19 steps through all layers and the vocabulary, whatever the
  prompts' length. Longer prompts therefore favour Lingraft more, longer texts less.
- Both stay within a factor of two of the multiply limit. Of a first-token map most is the rows' own multiplies, and the
  logits of every row over the vocabulary, which an ordinary forward with the last token's logits does not have.
- Every timed answer of the peers was compared with Lingraft's, see the table: that is a sample, the tests compare all.
"""


class Report:
    """Lines that are printed as they come, and written at the end."""

    def __init__(self):
        self.lines = []

    def say(self, line=""):
        self.lines.append(line)
        print(line, flush=True)

    def table(self, heads, rows):
        self.say("| " + " | ".join(heads) + " |")
        self.say("|" + "---|" * len(heads))
        for row in rows:
            self.say("| " + " | ".join(map(str, row)) + " |")
        self.say()


def ratio(problem, seconds, name):
    each = seconds.middle(name)
    if each is None:
        return None
    return each * (problem.layers if name == "traced" else problem.layers**2) / seconds.middle("ours")


def report_second(report, problem, options, second):
    found, last = second
    pairs = len(found["ffn", "generate"].released)
    report.say(f"## With {options.second_threads} threads (site ffn, {pairs} pairs, one round)")
    report.say()
    rows = []
    for (_, score), seconds in found.items():
        mine = seconds.middle("ours")
        rows.append(
            [
                TITLES[score],
                f"{mine:.1f}",
                *(
                    f"{seconds.middle(name) * problem.layers**2:,.0f} ({ratio(problem, seconds, name):.0f} times)"
                    for name in ("released", "hook")
                ),
                f"{mine / statistics.median(last):.1f}" if score == "first-token" else "-",
            ]
        )
    report.table(["score", "Lingraft, s", "released, s", "plain loop, s", "in ordinary forwards"], rows)


def report_agreement(report, agreement):
    report.say("## bfloat16")
    report.say()
    report.say("Rounding differs with the shape of a batch, so this is reported, not promised.")
    report.say()
    report.table(
        [
            "site",
            "batched = one by one",
            "batched = float32",
            "one by one = float32",
            "batched = float32, all pairs",
            "20-token texts, batched = one by one",
            "first-token map, s",
            "20 tokens, s",
        ],
        [
            [
                one.site,
                f"{one.batched_naive:.1%} of {one.pairs}",
                f"{one.batched_float:.1%}",
                f"{one.naive_float:.1%}",
                f"{one.all_float:.1%}",
                f"{one.batched_naive_texts:.0%} of {one.texts}" if one.texts else "-",
                f"{one.seconds:.2f}",
                f"{one.text_seconds:.1f}" if one.texts else "-",
            ]
            for one in agreement
        ],
    )
    report.say(
        "Shares of equal first tokens (argmax), on one sample of pairs in the first three. `One by one` is one hook and"
        " one forward a pair, in bfloat16 too: it departs from float32 as the batch does."
    )
    report.say()


def report_curve(report, curve, page):
    report.say("## Layers N and prompt length T")
    report.say()
    report.say(
        "Random models of width 256 (vocabulary 8,192), site ffn, float32, both prompts of T tokens. A map passes 2 N T"
        " token-layers in its prefills and N x N(N + 1)/2 in its rows, so it costs 1 + N(N + 1) / 4T forwards over both"
        " prompts, the rows' logits left out."
    )
    report.say()
    rows = []
    for one in curve:
        rows.append(
            [
                one.length,
                one.layers,
                one.layers**2,
                f"{one.counted:,}",
                f"{1e3 * one.first:,.0f}",
                f"{1e6 * one.first / one.counted:.1f}",
                f"{one.counted_forwards:.2f}",
                f"{one.first / one.forward:.2f}",
                f"{one.released / one.first:.0f}",
                f"{one.counted_text:,}",
                "-" if one.text is None else f"{one.text:.2f}",
                "-" if one.text is None else f"{1e6 * one.text / one.counted_text:.1f}",
            ]
        )
    report.table(
        [
            "T",
            "N",
            "pairs",
            "token-layers",
            "first-token map, ms",
            "us a token-layer",
            "in forwards, counted",
            "measured",
            "times faster than released",
            "token-layers, 20 tokens",
            "s",
            "us a token-layer",
        ],
        rows,
    )
    report.say(
        "`Measured` exceeds `counted` by the logits of every row (each as much as 2.7 of these layers) and, in tiny"
        " maps, by what a call of Python and of a kernel costs. For short prompts it may be below: an ordinary forward"
        " over 32 tokens costs more a token than many rows do."
    )
    report.say()
    if page is not None:
        draw(curve, page.with_suffix(".png"))
        report.say(f"![Seconds over counted token-layers]({page.with_suffix('.png').name})")
        report.say()


def draw(curve, path):
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for length, marker in zip(sorted({one.length for one in curve}), "os^Dv", strict=False):
        points = [one for one in curve if one.length == length]
        axes.loglog(
            [one.counted for one in points],
            [one.first for one in points],
            marker + "-",
            label=f"first token, T = {length}",
        )
        texts = [one for one in points if one.text is not None]
        if texts:
            axes.loglog(
                [one.counted_text for one in texts],
                [one.text for one in texts],
                marker + "--",
                label=f"20 tokens, T = {length}",
            )
        axes.loglog(
            [one.counted for one in points],
            [one.released for one in points],
            marker + ":",
            label=f"released, first token, T = {length}",
        )
    axes.set_xlabel("token-layers that the plan counts")
    axes.set_ylabel("seconds")
    axes.legend(fontsize=6)
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
