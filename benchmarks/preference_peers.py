"""A few steps of Lingraft's preference training and of TRL's, on the same items: what each step and reference took."""

import copy
import importlib
import tempfile
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from transformers import TrainerCallback
from transformers.utils import logging

from lingraft.models.architecture import attention_parameters
from lingraft.preference import training
from lingraft.preference.items import PairedItem
from lingraft.preference.plan import PreferencePlan

SKIPPED = 1
"""First steps, which make the optimiser's state and warm caches up."""
RATE = 1e-6


@contextmanager
def answers_alone():
    """Let TRL's output head score answers alone on a CPU too, as it does where Triton is: a change in its favour."""
    utils = importlib.import_module("trl.trainer.utils")
    own = utils._use_triton
    utils._use_triton = lambda device: True
    try:
        yield
    finally:
        utils._use_triton = own


@dataclass(frozen=True)
class Spent:
    """Seconds of the processor and of the clock; those of the reference are for the answers of all steps."""

    step: tuple
    reference: tuple
    answer_tokens: float
    steps: int

    def rate(self, *, reference, clock=0):
        """Tokens of answers a second, with or without a step's share of the reference (one epoch)."""
        share = self.reference[clock] / self.steps if reference else 0.0
        return self.answer_tokens / (self.step[clock] + share)


def stamp():
    return time.process_time(), time.perf_counter()


def between(begin, end, parts=1):
    return tuple((b - a) / parts for a, b in zip(begin, end, strict=True))


class IdFormat:
    """A text is numbers, and those are its ids: both programs are given the same."""

    def prompt_ids(self, prompt):
        return list(map(int, prompt.split()))

    def response_ids(self, prompt, response):
        return list(map(int, response.split()))


def random_items(count, prompt, answer, vocabulary, seed, *, ragged=False):
    """Items whose prompts and answers all have these lengths in tokens; ragged ones from a half to one and a half."""
    drawn = np.random.default_rng(seed)

    def text(length):
        if ragged:
            length = int(drawn.integers(length // 2, 3 * length // 2 + 1))
        return " ".join(map(str, drawn.integers(10, vocabulary - 10, length)))

    return [
        PairedItem(text(prompt), text(answer), text(prompt), text(answer), "de", str(number))
        for number in range(count)
    ]


def answer_tokens(items):
    """Of all preferences: each direction of an item has both answers."""
    form = IdFormat()
    sides = [(item.english_response, item.target_response) for item in items]
    return 2 * sum(len(form.response_ids("", text)) for side in sides for text in side)


@contextmanager
def timed_reference(kept):
    """Time the pass of the initial model that `train_preference` makes."""
    own = training.item_logs

    def timed(*arguments, **options):
        begin = stamp()
        found = own(*arguments, **options)
        kept.append(between(begin, stamp()))
        return found

    training.item_logs = timed
    try:
        yield
    finally:
        training.item_logs = own


def ours(model, items, per_step, parameters, *, objective="clo", pieces=1, together=None, around=None):
    """`train_preference`: steps of so many items, as many as there are; the model is bfloat16 afterwards again."""
    steps = len(items) // per_step
    plan = PreferencePlan(
        objective=objective,
        parameters=parameters,
        steps=steps,
        batch_size=per_step,
        learning_rate=RATE,
        precision="bfloat16",
    )
    stamps, reference = {}, []

    def note(step, current):
        stamps[step] = stamp()
        if around is not None:
            around(step)
        return {}

    with timed_reference(reference):
        training.train_preference(
            model,
            items,
            IdFormat(),
            plan,
            gradient_accumulation=pieces,
            tokens_together=together,
            evaluate_at=(SKIPPED, steps),
            evaluate=note,
        )
    model.to(torch.bfloat16)
    return Spent(
        step=between(stamps[SKIPPED], stamps[steps], steps - SKIPPED),
        reference=reference[0] if reference else (0.0, 0.0),
        answer_tokens=answer_tokens(items[SKIPPED * per_step :]) / (steps - SKIPPED),
        steps=steps,
    )


class Stamps(TrainerCallback):
    """When each step was over."""

    def __init__(self, around):
        self.at, self.around = {}, around

    def on_step_end(self, args, state, control, **_):
        self.at[state.global_step] = stamp()
        if self.around is not None:
            self.around(state.global_step)


def find_trl():
    try:
        return importlib.import_module("trl")
    except ImportError:
        return None


def freeze(model, parameters):
    attention = attention_parameters(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameters == "full" or name in attention)


def preferences(items):
    """Two of each item, as TRL's own preparation would leave them."""
    form = IdFormat()
    rows = {"prompt_ids": [], "chosen_ids": [], "rejected_ids": []}
    for item in items:
        answers = form.response_ids("", item.english_response), form.response_ids("", item.target_response)
        for prompt, chosen, rejected in (
            (item.english_prompt, *answers),
            (item.target_prompt, *reversed(answers)),
        ):
            rows["prompt_ids"].append(form.prompt_ids(prompt))
            rows["chosen_ids"].append(chosen)
            rows["rejected_ids"].append(rejected)
    return rows


def trl_arguments(trl, kind, directory, batch, steps, **options):
    return getattr(trl, kind)(
        output_dir=directory,
        per_device_train_batch_size=batch,
        max_steps=steps,
        learning_rate=RATE,
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        max_length=None,
        **options,
    )


def trl_dpo(
    model,
    tokenizer,
    items,
    per_step,
    parameters,
    *,
    online=False,
    checkpointing=False,
    compact=False,
    around=None,
):
    """TRL's DPOTrainer on a model in bfloat16, given ids instead of texts.

    Args:
        model: The model; it has its own forward back afterwards.
        tokenizer: For its padding.
        items: Paired items, two preferences each.
        per_step: Items a step.
        parameters: `attention` or `full`.
        online: A second model gives the reference in every step, TRL's default; else it is computed before.
        checkpointing: Gradient checkpointing, TRL's default.
        compact: Score answers alone, see `answers_alone`.
        around: Called after every step.

    Returns:
        What was spent.
    """
    from datasets import Dataset

    trl = find_trl()
    logging.set_verbosity_error()
    reference = []

    class Peer(trl.DPOTrainer):
        def _prepare_dataset(self, dataset, *_):
            return dataset

        def compute_ref_log_probs(self, *arguments):
            begin = stamp()
            found = super().compute_ref_log_probs(*arguments)
            reference.append(between(begin, stamp()))
            return found

    steps = len(items) // per_step
    freeze(model, parameters)
    with tempfile.TemporaryDirectory() as directory, answers_alone() if compact else nullcontext():
        arguments = trl_arguments(
            trl,
            "DPOConfig",
            directory,
            2 * per_step,
            steps,
            gradient_checkpointing=checkpointing,
            precompute_ref_log_probs=not online,
        )
        stamps = Stamps(around)
        trainer = Peer(
            model,
            copy.deepcopy(model) if online else None,
            args=arguments,
            train_dataset=Dataset.from_dict(preferences(items)),
            processing_class=tokenizer,
            callbacks=[stamps],
        )
        trainer.train()
    release(model)
    return Spent(
        step=between(stamps.at[SKIPPED], stamps.at[steps], steps - SKIPPED),
        reference=tuple(map(sum, zip(*reference, strict=True))) if reference else (0.0, 0.0),
        answer_tokens=answer_tokens(items[SKIPPED * per_step :]) / (steps - SKIPPED),
        steps=steps,
    )


def trl_sft(model, tokenizer, items, per_step, parameters, *, checkpointing=False):
    """TRL's SFTTrainer on the answers in the prompts' languages, both directions of an item."""
    from datasets import Dataset

    trl = find_trl()
    logging.set_verbosity_error()
    rows = preferences(items)
    pairs = list(zip(rows["prompt_ids"], rows["chosen_ids"], strict=True))
    data = {
        "input_ids": [prompt + answer for prompt, answer in pairs],
        "completion_mask": [[0] * len(prompt) + [1] * len(answer) for prompt, answer in pairs],
    }
    freeze(model, parameters)
    with tempfile.TemporaryDirectory() as directory:
        steps = len(items) // per_step
        arguments = trl_arguments(
            trl, "SFTConfig", directory, 2 * per_step, steps, gradient_checkpointing=checkpointing
        )
        trainer = trl.SFTTrainer(
            model, args=arguments, train_dataset=Dataset.from_dict(data), processing_class=tokenizer
        )
        trainer.train()
    release(model)


def release(model):
    """Let a model that a trainer has patched be a plain one again."""
    model.__dict__.pop("forward", None)
    model.gradient_checkpointing_disable()
    for parameter in model.parameters():
        parameter.grad = None
        parameter.requires_grad_(True)
