"""Run a grafting recipe: transfer, train, and score, for each mode and for the unchanged model; then the report."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lingraft.assets.catalog import fetch_asset, find_asset
from lingraft.contents import with_contents
from lingraft.errors import ConfigError
from lingraft.evaluation.likelihood import bits_per_byte
from lingraft.files import find_run, open_run_directory, write_json
from lingraft.models.loading import LoadedModel, load_model
from lingraft.models.saving import save_checkpoint
from lingraft.recipes.graft_report import write_graft_report
from lingraft.recipes.graft_schema import GraftRecipe
from lingraft.recipes.inputs import VocabularyInputs, load_inputs, read_corpus, take_bytes
from lingraft.reports.result import RunResult, read_result
from lingraft.training.causal import pack_blocks, train_causal, training_flops
from lingraft.vocabulary.initializers import find_initializer
from lingraft.vocabulary.inspection import inspect_vocabulary
from lingraft.vocabulary.transfer import transfer_vocabulary

UNCHANGED = "unchanged"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Texts:
    """Paths of the recipe's texts, fetched, and the documents to score."""

    corpus: Path
    scored: Mapping[str, list[str]]


def run_graft(
    recipe: GraftRecipe, out: Path, *, device: str = "auto", say: Say = lambda _: None
) -> RunResult:
    """Run the recipe; every finished stage is kept, so a killed run continues.

    Args:
        recipe: What to do.
        out: Run directory. It gets `MODE/model` (the trained checkpoint that plain transformers loads), `MODE.json` and
            `unchanged.json` (scores and losses), result.json and report.html.
        device: Where the models train.
        say: Called with one line at each stage.

    Returns:
        What result.json holds.

    Raises:
        LingraftError: A bad recipe or input.
    """
    if find_run(out, with_contents(recipe.model_dump(mode="json"))) and (out / "result.json").exists():
        return read_result(out)
    if recipe.method != "auto":
        find_initializer(recipe.method)
    say("fetching")
    texts = _texts(recipe)
    stages: dict[str, dict[str, Any]] = {}
    for mode in recipe.modes:
        stages[mode] = _stage(
            out / f"{mode}.json",
            lambda mode=mode: _graft(recipe, mode, texts, out, device, say),  # type: ignore[misc]
        )
    stages[UNCHANGED] = _stage(
        out / f"{UNCHANGED}.json", lambda: _train_unchanged(recipe, texts, stages, out, device, say)
    )
    say("writing the report")
    return write_graft_report(recipe, stages, out, device=device)


def _stage(file: Path, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The stage's result: read where it is there, else worked out and kept."""
    if not file.exists():
        write_json(file, work())
    stage: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return stage


def _texts(recipe: GraftRecipe) -> _Texts:
    paths = {name: text_path(getattr(recipe, name)) for name in ("corpus", "held_out", "english")}
    scored = {
        "target": take_bytes(read_corpus(paths["held_out"]), recipe.held_out_bytes),
        "english": take_bytes(read_corpus(paths["english"]), recipe.held_out_bytes // 2),
    }
    return _Texts(paths["corpus"], scored)


def text_path(reference: str) -> Path:
    """The file that a text field names; an asset is fetched when it is missing.

    Args:
        reference: A path, or `asset:NAME/FILE`.

    Returns:
        The path.

    Raises:
        ConfigError: `asset:` without a file.
        AssetError: The asset cannot be fetched.
    """
    if not reference.startswith("asset:"):
        return Path(reference)
    name, slash, file = reference.removeprefix("asset:").partition("/")
    if not slash or not file:
        raise ConfigError(
            f"text {reference!r}", "asset:NAME/FILE", "name a file of the asset, such as train.txt"
        )
    return (find_asset(name) or fetch_asset(name).path) / file


def _graft(recipe: GraftRecipe, mode: Any, texts: _Texts, out: Path, device: str, say: Say) -> dict[str, Any]:
    """Transfer, train and score one mode."""
    say(f"{mode}: tokenizer and transfer by {recipe.method}")
    inputs: VocabularyInputs = load_inputs(
        model=recipe.model,
        tokenizer=recipe.tokenizer if mode == "replace" else None,
        donor=recipe.donor,
        corpus=texts.corpus,
        mode=mode,
        new_tokens=recipe.new_tokens,
        vocabulary_size=None,
        device=device,
        dtype="float32",
    )
    inspection = inspect_vocabulary(
        inputs.model, inputs.tokenizer, donor=inputs.donor, corpus=inputs.corpus, mode=mode
    )
    source_flops = training_flops(inputs.model.model, 1)
    transferred = transfer_vocabulary(
        inputs.model,
        inputs.tokenizer,
        donor=inputs.donor,
        corpus=inputs.corpus,
        method=recipe.method,
        mode=mode,
        seed=recipe.seed,
    )
    trained = _train(
        recipe,
        transferred.model,
        transferred.tokenizer,
        inputs.corpus or [],
        texts,
        recipe.steps,
        out / mode,
        say,
        mode,
    )
    checkpoint = out / mode / "model"
    if not checkpoint.exists():
        save_checkpoint(
            checkpoint, transferred.model, transferred.tokenizer, recipe=recipe.model_dump(mode="json")
        )
    return {
        **trained,
        "inspection": inspection,
        "origins": dict(transferred.counts),
        "flops_ratio": training_flops(transferred.model, 1) / source_flops,
        "inputs": [item.model_dump() for item in inputs.revisions],
        "checkpoint": f"{mode}/model",
    }


def _train_unchanged(
    recipe: GraftRecipe, texts: _Texts, stages: Mapping[str, Any], out: Path, device: str, say: Say
) -> dict[str, Any]:
    """Train the model with its own tokenizer for the compute of the most costly mode."""
    loaded: LoadedModel = load_model(recipe.model, device=device, dtype="float32")
    steps = {mode: max(1, round(recipe.steps * stages[mode]["flops_ratio"])) for mode in recipe.modes}
    trained = _train(
        recipe,
        loaded.model,
        loaded.tokenizer,
        read_corpus(texts.corpus),
        texts,
        max(steps.values()),
        out / UNCHANGED,
        say,
        UNCHANGED,
        also=sorted(set(steps.values())),
    )
    return {**trained, "equal_compute_steps": steps}


def _train(
    recipe: GraftRecipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    corpus: list[str],
    texts: _Texts,
    steps: int,
    directory: Path,
    say: Say,
    name: str,
    also: list[int] | None = None,
) -> dict[str, Any]:
    """Continued pre-training with scores before and after."""
    blocks = pack_blocks(corpus, tokenizer, recipe.block_length)
    # Only now: bad input must not leave a directory that the corrected recipe would find taken.
    open_run_directory(directory.parent, with_contents(recipe.model_dump(mode="json")))
    say(f"{name}: {steps} steps of {recipe.batch_size} x {recipe.block_length} tokens")

    def evaluate(_: int, current: PreTrainedModel) -> dict[str, Any]:
        scored = {
            text: bits_per_byte(
                current,
                tokenizer,
                documents,
                precision="model" if recipe.precision == "float32" else "bf16-autocast",
            )
            for text, documents in texts.scored.items()
        }
        return {
            text: {
                "bits_per_byte": found.bits_per_byte,
                "interval": list(found.interval()),
                "tokens": found.tokens,
            }
            for text, found in scored.items()
        }

    result = train_causal(
        model,
        blocks,
        output_dir=directory / "training",
        steps=steps,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        embedding_learning_rate=recipe.embedding_learning_rate,
        warmup_steps=min(recipe.warmup_steps, steps),
        schedule=recipe.schedule,
        body_after=recipe.body_after,
        precision=recipe.precision,
        seed=recipe.seed,
        save_every=recipe.save_every,
        evaluate_at=sorted({0, steps, *(also or [])}),
        evaluate=evaluate,
        progress=True,
    )
    return {
        "scores": {str(step): dict(found) for step, found in result.evaluations.items()},
        "losses": [float(loss) for loss in result.losses],
        "steps": steps,
        "tokens": int(result.tokens),
        "flops": float(result.flops),
        "seconds": float(result.seconds),
    }
