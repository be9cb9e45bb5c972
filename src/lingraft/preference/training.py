"""Cross-lingual optimization of a causal language model, its baselines and ablations, on one loop."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lingraft.errors import TrainingError
from lingraft.preference.best import BestWeights
from lingraft.preference.collation import EncodedItem, Format, ItemDataset, encode_items
from lingraft.preference.items import PairedItem, write_items
from lingraft.preference.plan import PreferencePlan
from lingraft.preference.policies import Learning, check_policy, learning_parameters
from lingraft.preference.references import item_logs, kept_logs
from lingraft.preference.shared_prompt import answering
from lingraft.preference.trainer import PreferenceTrainer
from lingraft.training.allocation import kept_memory
from lingraft.training.attention import cpu_attention
from lingraft.training.checkpoints import latest_checkpoint
from lingraft.training.packing import block_order
from lingraft.training.plan import Precision, weights_fingerprint
from lingraft.training.running import (
    check_trackers,
    open_training_directory,
    trainer_arguments,
    training_bar,
    training_directory,
    training_dtype,
)
from lingraft.training.trainer import Evaluation, cast_forward, require_accelerate

REFERENCES, BAD_BATCH = "references.safetensors", "bad-batch.jsonl"


@dataclass(frozen=True, slots=True)
class PreferenceResult:
    """What a training did.

    Attributes:
        model: The plain model that came out, float32.
        losses: float64 [steps], before each step's update.
        measures: A mapping a step: margin, accuracy and nats a token by direction, gradient norm, seconds.
        evaluations: What `evaluate` returned, by step.
        dropped: Numbers of items that were too long, by reason.
        steps: Steps taken, those before an interruption included.
        answer_tokens: Tokens of answers trained on, both of a prompt.
        computed_tokens: Tokens that went through the model, a shared prompt once, without padding.
        seconds: Time in steps.
        learning: Numbers that learned.
        step: The step whose weights the model has.
        resumed_from: The step that training went on from, 0 for a fresh start.
    """

    model: Any
    losses: NDArray[np.float64]
    measures: Sequence[Mapping[str, float]]
    evaluations: Mapping[int, Mapping[str, Any]]
    dropped: Mapping[str, Sequence[int]]
    steps: int
    answer_tokens: int
    computed_tokens: int
    seconds: float
    learning: int
    step: int
    resumed_from: int = 0


def check_training(
    model: Any,
    items: Sequence[PairedItem],
    form: Format,
    plan: PreferencePlan,
    *,
    trackers: Sequence[str] = (),
) -> int:
    """Find out, before anything is written, what `train_preference` would refuse, and how many steps it will take.

    Args:
        model: The model.
        items: Paired items.
        form: How prompts and answers become ids.
        plan: What is to be done.
        trackers: Trackers that Trainer knows.

    Returns:
        Its steps: items that are too long are dropped, so they can be fewer than the items make.

    Raises:
        MissingExtraError: accelerate is not installed.
        TrainingError: Options or items that do not fit.
    """
    require_accelerate()
    check_policy(plan.parameters)
    check_trackers(trackers)
    objective, _, _ = plan.resolved_objective()
    encoded, _ = encode_items(items, form, objective, longest=plan.longest_for(model))
    return plan.training_plan(len(encoded)).steps


def train_preference(
    model: Any,
    items: Sequence[PairedItem],
    form: Format,
    plan: PreferencePlan,
    *,
    output_dir: Path | None = None,
    gradient_accumulation: int = 1,
    tokens_together: int | None = None,
    save_every: int | None = None,
    resume: bool = True,
    evaluate_at: Sequence[int] = (),
    evaluate: Evaluation | None = None,
    keep: str = "last",
    trackers: Sequence[str] = (),
    progress: bool = False,
) -> PreferenceResult:
    """Train on paired items; the order depends on the seed and the number of items alone.

    Both directions of an item are in one step. Under `accelerate launch` a step is shared between the processes; the
    loss is normalised by the whole step's tokens and items, so neither that nor `gradient_accumulation` changes it.

    Args:
        model: A causal LM of a known architecture, trained on the device it is on.
        items: Paired items.
        form: How prompts and answers become ids.
        plan: What to do.
        output_dir: Directory of the run, for checkpoints. None keeps everything in memory.
        gradient_accumulation: Pieces that a process's share of a step is computed in.
        tokens_together: Tokens, padding included, of one forward pass in a piece; None takes a piece at once. As
            `gradient_accumulation` it changes memory and not the result, but it divides rows instead of items.
        save_every: Steps between checkpoints; only the newest is kept. None saves at the end alone.
        resume: Go on from a checkpoint in `output_dir`; False refuses a directory that has one.
        evaluate_at: Steps after which `evaluate` is called; 0 is before training.
        evaluate: `evaluate(step, model) -> mapping` of JSON values; see `best.py` for what decides the best.
        keep: `last`, or `best`: the weights of the best evaluation (needs `output_dir` and `evaluate`).
        trackers: Trackers that Trainer knows, such as `tensorboard`.
        progress: Show progress bars.

    Returns:
        The model that came out, and what was seen on the way.

    Raises:
        MissingExtraError: accelerate, or for `lora` peft, is not installed.
        OutputError: `output_dir` holds something else, or too little space is free.
        TrainingError: Options or items that do not fit, or a loss that is no finite number.
    """
    require_accelerate()
    if keep not in {"last", "best"} or (keep == "best" and (output_dir is None or evaluate is None)):
        raise TrainingError(f"keep {keep!r}", "last, or best with output_dir and evaluate", "give those")
    objective, _, _ = plan.resolved_objective()
    encoded, dropped = encode_items(items, form, objective, longest=plan.longest_for(model))
    loop = plan.training_plan(len(encoded))
    command = {
        "preference": asdict(plan),
        "items": _fingerprint(encoded),
        "model": weights_fingerprint(model),
    }
    with training_directory(output_dir) as directory, training_bar(progress, loop.steps) as advance:
        save_steps = None if output_dir is None else save_every or loop.steps
        arguments = trainer_arguments(
            model, loop, directory, pieces=gradient_accumulation, save_steps=save_steps, trackers=trackers
        )
        with learning_parameters(model, plan.parameters, plan.lora, seed=plan.seed) as policy:
            learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
            if output_dir is not None:
                open_training_directory(arguments, directory, command, model, resume=resume)
            with _prepared(model, plan.precision) as masters:
                references = _references(model, encoded, plan, arguments, output_dir, progress)
                order = block_order(len(encoded), loop.steps * loop.batch_size, loop.seed)
                dataset = ItemDataset(encoded, order, loop.batch_size, references)
                _, share, beta = plan.resolved_objective()
                trainer = PreferenceTrainer(
                    model,
                    arguments,
                    dataset,
                    loop,
                    objective=objective,
                    share=share,
                    beta=beta,
                    best=None if evaluate is None or output_dir is None else BestWeights(directory),
                    save_batch=_batch_saver(dataset, items, output_dir),
                    tokens_together=tokens_together,
                    masters=masters,
                    evaluate_at=evaluate_at,
                    evaluate=None if evaluate is None else _of_what_is_kept(policy, evaluate),
                    advance=advance,
                )
                checkpoint = latest_checkpoint(directory)
                resumed_from = int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0
                advance(resumed_from)
                trainer.run(checkpoint)
            step = BestWeights(directory).restore(model) if keep == "best" else loop.steps
            trained = policy.finish()
    return _result(trained, trainer, dropped, learning=learning, step=step, resumed_from=resumed_from)


def _of_what_is_kept(policy: Learning, evaluate: Evaluation) -> Evaluation:
    """Let an evaluation see the weights that would be kept: what goes back at the end is not to be measured."""

    def measure(step: int, model: Any) -> Mapping[str, Any]:
        with policy.as_kept():
            return evaluate(step, model)

    return measure


@contextmanager
def _prepared(model: Any, precision: Precision) -> Iterator[dict[int, torch.Tensor] | None]:
    """Give the model what it trains with; yield the float32 masters where its own type is narrower."""
    device = next(model.parameters()).device.type
    with (
        kept_memory(device),
        cpu_attention(model),
        answering(model),
        training_dtype(model, precision) as masters,
    ):
        yield masters


def _references(
    model: Any,
    encoded: Sequence[EncodedItem],
    plan: PreferencePlan,
    arguments: Any,
    output_dir: Path | None,
    progress: bool,
) -> list[NDArray[np.float32]] | None:
    """Return the initial model's log-probabilities where the objective needs them; one process computes them."""
    objective, _, _ = plan.resolved_objective()
    if not objective.reference:
        return None

    def casting() -> AbstractContextManager[Any]:
        return cast_forward(plan.precision, next(model.parameters()).device.type)

    with arguments.main_process_first(local=False, desc="log-probabilities of the initial model"):
        file = None if output_dir is None else output_dir / REFERENCES
        return kept_logs(file, encoded, lambda: item_logs(model, encoded, casting=casting, progress=progress))


def _batch_saver(
    dataset: ItemDataset, items: Sequence[PairedItem], output_dir: Path | None
) -> Callable[[int], str]:
    """Return what writes the items of a step (counted from 1) and says where."""

    def save(step: int) -> str:
        if output_dir is None:
            return ""
        numbers = [dataset.items[place].number for place in dataset.order[step - 1]]
        write_items(output_dir / BAD_BATCH, [items[number] for number in numbers])
        return str(output_dir / BAD_BATCH)

    return save


def _fingerprint(encoded: Sequence[EncodedItem]) -> str:
    digest = hashlib.sha256()
    for item in encoded:
        for row in item.rows:
            for ids in (row.prompt, row.chosen, row.rejected):
                digest.update(np.array([len(ids), *ids], dtype=np.int64).tobytes())
    return digest.hexdigest()[:16]


def _result(
    trained: Any,
    trainer: PreferenceTrainer,
    dropped: Mapping[str, Sequence[int]],
    *,
    learning: int,
    step: int,
    resumed_from: int,
) -> PreferenceResult:
    history: list[dict[str, Any]] = trainer.state.log_history
    taken = [entry for entry in history if "loss" in entry]
    dataset: Any = trainer.train_dataset
    rows = [row for place in dataset.order.flat for row in dataset.items[place].rows]
    return PreferenceResult(
        model=trained,
        losses=np.array([entry["loss"] for entry in taken], dtype=np.float64),
        measures=taken,
        evaluations={entry["step"]: entry["evaluation"] for entry in history if "evaluation" in entry},
        dropped=dropped,
        steps=len(taken),
        answer_tokens=sum(len(row.chosen) + len(row.rejected) for row in rows),
        computed_tokens=sum(map(len, rows)),
        seconds=sum(entry["seconds"] for entry in taken),
        learning=learning,
        step=step,
        resumed_from=resumed_from,
    )
