"""The table of a comparison: means over seeds, and differences to the unchanged model at equal compute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lingraft.reports.intervals import Estimate, ratio_interval, seeds_interval
from lingraft.vocabulary.probe import ProbeRun, ProbeSettings

UNCHANGED = "unchanged"
"""The method, and the mode, of the model as it is."""


@dataclass(frozen=True, slots=True)
class ComparedMethod:
    """One line of the table.

    Attributes:
        method: The initialiser, or `unchanged`.
        mode: `replace`, `extend`, or `unchanged`.
        scores: Text name to step to bits per byte over seeds. For `unchanged` the step names the adapted runs'
            step that its compute equals.
        versus_unchanged: Text name to step to the difference to the unchanged model at equal compute, with a
            bootstrap interval over documents (negative: better).
        runs: Seeds behind the line.
    """

    method: str
    mode: str
    scores: Mapping[str, Mapping[int, Estimate]]
    versus_unchanged: Mapping[str, Mapping[int, Estimate]]
    runs: int


def summarise(runs: Sequence[ProbeRun], settings: ProbeSettings) -> list[ComparedMethod]:
    """Mean bits per byte over seeds, and the difference to the unchanged model at equal compute.

    Args:
        runs: What `compare_methods` returned.
        settings: Its settings.

    Returns:
        One line a method and mode: for each mode the unchanged model at that mode's compute, then the methods
        by their score at the last step.
    """
    steps = (0, *settings.steps)
    lines = []
    unchanged = [run for run in runs if run.method == UNCHANGED]
    for mode in dict.fromkeys(run.mode for run in runs if run.method != UNCHANGED):
        place = {step: _unchanged_step(unchanged, mode, step) for step in steps}
        lines.append(_line(UNCHANGED, mode, unchanged, unchanged, steps, place, place))
        own = {step: step for step in steps}
        members = [run for run in runs if run.mode == mode]
        methods = [
            _line(
                method, mode, [run for run in members if run.method == method], unchanged, steps, own, place
            )
            for method in dict.fromkeys(run.method for run in members)
        ]
        lines += sorted(methods, key=lambda line: _final_score(line, steps[-1]))
    return lines


def _final_score(line: ComparedMethod, step: int) -> float:
    first_text = next(iter(line.scores.values()))
    return first_text[step].value


def _line(
    method: str,
    mode: str,
    runs: Sequence[ProbeRun],
    unchanged: Sequence[ProbeRun],
    steps: Sequence[int],
    own: Mapping[int, int],
    place: Mapping[int, int],
) -> ComparedMethod:
    texts = list(runs[0].scores[own[0]])
    scores = {
        text: {step: seeds_interval([run.scores[own[step]][text] for run in runs]) for step in steps}
        for text in texts
    }
    versus = {
        text: {step: _difference(runs, unchanged, text, own[step], place[step]) for step in steps}
        for text in texts
    }
    return ComparedMethod(method, mode, scores, versus, len(runs))


def _difference(
    runs: Sequence[ProbeRun], unchanged: Sequence[ProbeRun], text: str, step: int, unchanged_step: int
) -> Estimate:
    """Bits per byte against the unchanged model: seeds averaged, documents resampled in pairs."""
    ours = np.mean([np.array(run.bits[step][text])[:, 0] for run in runs], axis=0)
    theirs = np.mean([np.array(run.bits[unchanged_step][text])[:, 0] for run in unchanged], axis=0)
    sizes = np.array(runs[0].bits[step][text])[:, 1]
    return ratio_interval(ours - theirs, sizes)


def _unchanged_step(unchanged: Sequence[ProbeRun], mode: str, step: int) -> int:
    """The unchanged model's step of equal compute, as its run noted it."""
    return 0 if step == 0 else int(unchanged[0].notes["equal_compute_steps"][mode][str(step)])
