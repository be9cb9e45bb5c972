"""What a measurement of fidelity says: metrics, counts with reasons, and the page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lingraft.evaluation.fidelity import Fidelity, pass_rate
from lingraft.files import replacing
from lingraft.recipes.evaluating.fidelity_inputs import Prompts
from lingraft.reports.figures import dot_chart
from lingraft.reports.intervals import Estimate
from lingraft.reports.page import Block, Cell, Figure, Paragraph, Section, Table, write_page
from lingraft.reports.result import RunResult

SHOWN, SHOWN_CHARACTERS = 30, 400
"""Answers on the page, and how much of each."""
MANY_SKIPPED = 0.2
"""Share of skipped answers that the page warns of."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Answers and what was found.

    Attributes:
        answers: The answers to the prompts as given.
        fidelity: How many are in the language.
        asked_answers: The answers where English was asked for, or None.
        asked: How many of those are in English.
        unasked: How many of the answers to the prompts as given are in English.
    """

    answers: list[str]
    fidelity: Fidelity
    asked_answers: list[str] | None = None
    asked: Fidelity | None = None
    unasked: Fidelity | None = None

    def metrics(self, request: str) -> dict[str, Any]:
        """Return the rates, JSON-able.

        Args:
            request: What asked for English.

        Returns:
            `Fidelity.summary`, and under `answer_in_english` the share of English answers with and without the request.
        """
        found = self.fidelity.summary()
        if self.asked is not None and self.unasked is not None:
            found["answer_in_english"] = {
                "request": request,
                **{
                    name: {
                        key: value
                        for key, value in scored.summary().items()
                        if not key.startswith("word") and key != "language"
                    }
                    for name, scored in (("asked", self.asked), ("unasked", self.unasked))
                },
            }
        return found

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many answers passed, or did not and why."""
        counts = {f"answers, {self.fidelity.language}": _line_counts(self.fidelity)}
        words = self.fidelity.word_pass
        counts["answers that pass by lines"] = {
            "no foreign word": int(np.nansum(words)),
            "a foreign word": int((words == 0).sum()),
            "words not judged": int(((self.fidelity.line_pass == 1) & np.isnan(words)).sum()),
        }
        if self.asked is not None:
            counts["answers where English was asked for, en"] = _line_counts(self.asked)
        return counts


def write_fidelity_report(out: Path, prompts: Prompts, measured: Measured, result: RunResult) -> None:
    """Write the picture and the page.

    Args:
        out: The run directory.
        prompts: What was asked.
        measured: What was found.
        result: The result.
    """
    fidelity = measured.fidelity
    rates = _rates(measured)
    blocks: list[Block] = [
        Paragraph(
            f"{fidelity.judged:,} of {fidelity.answers:,} answers were judged;"
            f" {sum(fidelity.skipped.values()):,} were skipped ("
            + ", ".join(f"{reason}: {number:,}" for reason, number in fidelity.skipped.items())
            + ").",
            warning=fidelity.judged < (1 - MANY_SKIPPED) * fidelity.answers,
        )
    ]
    if rates:
        picture = dot_chart({"share": rates}, x_label="share of answers, 95 % interval")
        with replacing(out / "fidelity.png") as temporary:
            temporary.write_bytes(picture.light)
        shown = "; ".join(f"{name}: {rate.value:.2f}" for name, rate in rates.items())
        rows: list[tuple[Cell, ...]] = [(name, rate, rate.observations) for name, rate in rates.items()]
        blocks += [
            Table("Shares of answers, 95 % (Wilson)", ("share", "value", "answers"), rows),
            Figure("How many answers are in their language.", shown, picture),
        ]
    blocks += [
        Paragraph(
            "By lines: every line that can be judged is in the language. By words, of the answers that pass by lines:"
            f" {fidelity.word_rule}."
        ),
        Paragraph(
            f"{result.metrics['echoes']:,} answers repeat a line of their prompt; they are judged like the others."
        ),
        Paragraph(f"Languages were identified by {result.metrics['identifier']}, which errs too."),
        Table("Languages of the judged lines", ("language", "lines"), list(fidelity.line_languages.items())),
    ]
    sections = [Section("In the language?", blocks), _samples("Answers", prompts, measured.answers, fidelity)]
    if measured.asked is not None and measured.asked_answers is not None:
        title = "Answers where English was asked for"
        sections.append(_samples(title, prompts, measured.asked_answers, measured.asked))
    write_page(
        out / "report.html",
        sections,
        title="Response-language fidelity",
        summary=fidelity_sentence(result.metrics),
        result=result,
    )


def fidelity_sentence(metrics: dict[str, Any]) -> str:
    """Say the result in a sentence.

    Args:
        metrics: Of the result.

    Returns:
        For instance "12 of 18 judged answers (66.7 %) are in sw by lines, 11 of those 12 by words; 2 skipped."
    """
    lines, words = metrics["line_pass_rate"], metrics["word_pass_rate"]
    skipped = f"{metrics['skipped']:,} skipped"
    if lines is None:
        return f"No answer could be judged; {skipped}."
    passed = round(lines["value"] * lines["observations"])
    text = (
        f"{passed:,} of {lines['observations']:,} judged answers ({100 * lines['value']:.1f} %) are in"
        f" {metrics['language']} by lines"
    )
    if words is not None:
        by_words = round(words["value"] * words["observations"])
        text += f", {by_words:,} of those {words['observations']:,} by words"
    text += f"; {skipped}"
    english = metrics.get("answer_in_english")
    if english is not None:
        text += f"; {_obeyed(english['asked'], english['unasked'])}"
    return f"{text}."


def _obeyed(asked: dict[str, Any], unasked: dict[str, Any]) -> str:
    rate, before = asked["line_pass_rate"], unasked["line_pass_rate"]
    if rate is None:
        return f"no answer could be judged where English was asked for ({asked['skipped']:,} skipped)"
    passed = round(rate["value"] * rate["observations"])
    return (
        f"where English was asked for, {passed:,} of {rate['observations']:,} ({100 * rate['value']:.1f} %) are in"
        f" English, {asked['skipped']:,} skipped"
        + ("" if before is None else f" (not asked for: {100 * before['value']:.1f} %)")
    )


def _rates(measured: Measured) -> dict[str, Estimate]:
    language = measured.fidelity.language
    arrays = {
        f"in {language}, by lines": measured.fidelity.line_pass,
        f"in {language}, by words of those": measured.fidelity.word_pass,
    }
    if measured.asked is not None and measured.unasked is not None:
        arrays["in English, not asked for"] = measured.unasked.line_pass
        arrays["in English, asked for"] = measured.asked.line_pass
    rates = {name: pass_rate(values) for name, values in arrays.items()}
    return {
        name: Estimate(rate["value"], rate["low"], rate["high"], int(rate["observations"]))
        for name, rate in rates.items()
        if rate is not None
    }


def _line_counts(scored: Fidelity) -> dict[str, int]:
    return {
        "passed": int(np.nansum(scored.line_pass)),
        "a line in another language": int((scored.line_pass == 0).sum()),
        **{f"skipped: {reason}": number for reason, number in scored.skipped.items()},
    }


def _samples(title: str, prompts: Prompts, answers: list[str], scored: Fidelity) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for number, verdict in enumerate(scored.verdicts[:SHOWN]):
        said = verdict.skipped and f"skipped: {verdict.skipped}"
        if not said:
            said = "passed" if scored.line_pass[number] else f"lines: {', '.join(verdict.languages)}"
        if verdict.foreign:
            said = f"foreign: {', '.join(verdict.foreign[:8])}"
        rows.append((prompts.ids[number], _cut(prompts.texts[number]), _cut(answers[number]), said))
    caption = f"The first {len(rows)} of {scored.answers:,}; all are in answers.jsonl"
    return Section(title, [Table(caption, ("id", "prompt", "answer", "verdict"), rows)])


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
