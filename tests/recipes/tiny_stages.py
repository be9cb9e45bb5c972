"""Stages that make small files, to test how recipes are checked, kept and run."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from lingraft.errors import ConfigError
from lingraft.files import write_text
from lingraft.recipes.stages.contract import NEWEST_MODEL, Reference, StageContext, StageKind, StageSettings
from lingraft.reports.page import Paragraph, Section
from lingraft.reports.result import RunResult, collect_provenance


class WriteSettings(StageSettings):
    corpus: Annotated[tuple[str, ...], Reference("text", "corpus")] = Field((), description="Text.")
    copies: int = Field(1, ge=1, description="How many times.")
    control: bool = Field(False, description="Make `random` too.")


class TrainSettings(StageSettings):
    required: ClassVar[tuple[str, ...]] = ("model",)
    model: Annotated[str | None, Reference("model", NEWEST_MODEL)] = Field(None, description="Model.")
    text: Annotated[str | None, Reference("text", "corpus")] = Field(None, description="Text.")
    tokenizer: Annotated[str | None, Reference("tokenizer")] = Field(None, description="Tokenizer.")
    steps: int = Field(3, ge=1, description="Steps.")
    rate: float = Field(0.5, gt=0, description="Rate.")
    method: str | None = Field(None, description="Method.")


class MeasureSettings(StageSettings):
    models: dict[str, Annotated[str, Reference("model")]] | None = Field(None, description="Models.")
    pairs: Annotated[str | None, Reference("pairs", "held_out_pairs")] = Field(None, description="Items.")


class PairSettings(StageSettings):
    aligned: Annotated[str | None, Reference("file", "aligned")] = Field(None, description="Documents.")


def _result(context: StageContext, metrics: dict[str, Any], files: dict[str, str]) -> RunResult:
    return RunResult(
        kind=context.name, metrics=metrics, files=files, provenance=collect_provenance(command="test")
    )


def _note(context: StageContext) -> None:
    """Count how often stages run, outside of what they leave."""
    log = os.environ.get("TINY_LOG")
    if log:
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(context.name + "\n")


def write(settings: WriteSettings, context: StageContext) -> RunResult:
    _note(context)
    text = "".join(Path(path).read_text(encoding="utf-8") for path in settings.corpus) * settings.copies
    write_text(context.out / "selected.txt", f"{context.seed} {text}")
    files = {"selected": "selected.txt"}
    if settings.control:
        write_text(context.out / "random.txt", "random")
        files["random"] = "random.txt"
    return _result(context, {"characters": len(text)}, files)


def train(settings: TrainSettings, context: StageContext) -> RunResult:
    """Add a line a step, and continue where a killed start left off; a method leaves a file, `fail` is an error."""
    _note(context)
    if settings.method == "fail":
        raise ConfigError("method fail", "another", "name another")
    kept = context.out / "model" / "steps.txt"
    done = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    text = Path(settings.text).read_text(encoding="utf-8") if settings.text else ""
    for step in range(len(done), settings.steps):
        done.append(f"{step} {len(text)} {context.seed} {settings.rate}")
        write_text(kept, "\n".join(done) + "\n")
        context.say(f"step {step}")
        time.sleep(float(os.environ.get("TINY_SLEEP", "0")))
        if os.environ.get("TINY_KILL") == f"{context.name}:{step}":
            os.kill(os.getpid(), signal.SIGKILL)
    write_text(context.out / "model" / "model.safetensors", "\n".join(done))
    if settings.method:
        write_text(context.out / "model" / "more" / f"{settings.method}.txt", settings.method)
    write_text(context.out / "model" / "config.json", json.dumps({"from": Path(str(settings.model)).name}))
    return _result(context, {"steps": settings.steps}, {"model": "model"})


def measure(settings: MeasureSettings, context: StageContext) -> RunResult:
    _note(context)
    found = {
        name: len((Path(model) / "steps.txt").read_text(encoding="utf-8").splitlines())
        if (Path(model) / "steps.txt").exists()
        else 0
        for name, model in (settings.models or {}).items()
    }
    return _result(context, {"lines": found}, {})


def pair(settings: PairSettings, context: StageContext) -> RunResult:
    write_text(context.out / "pairs.jsonl", "{}\n")
    write_text(context.out / "heldout.jsonl", "{}\n")
    return _result(context, {}, {"pairs": "pairs.jsonl", "heldout": "heldout.jsonl"})


def sections(settings: Any, directory: Path, result: RunResult) -> list[Section]:
    return [Section(f"About {result.kind}", [Paragraph(f"{result.metrics}")])]


KINDS = {
    "select": StageKind(
        "Writes.",
        WriteSettings,
        write,
        sections,
        {"selected": "text", "random": "text"},
        offers=lambda settings: {"selected", "random"} if settings.control else {"selected"},
    ),
    "pretrain": StageKind("Trains.", TrainSettings, train, sections, {"model": "model"}, trains=True),
    "pairs": StageKind("Pairs.", PairSettings, pair, sections, {"pairs": "pairs", "heldout": "pairs"}),
    "evaluate": StageKind("Measures.", MeasureSettings, measure, sections),
}
