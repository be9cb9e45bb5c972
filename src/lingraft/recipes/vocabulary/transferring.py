"""Vocabulary transfer from references: options in, a checkpoint with its provenance and a report out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lingraft.contents import with_contents
from lingraft.files import find_run, require_free_space, require_replaceable
from lingraft.models.embeddings import read_embeddings
from lingraft.recipes.inputs import VocabularyInputs, auxiliary_space, load_inputs, read_lexicon
from lingraft.reports.result import InputRevision, RunResult, read_result
from lingraft.vocabulary.config import TransferConfig
from lingraft.vocabulary.initializers import find_initializer
from lingraft.vocabulary.inspection import complete_report
from lingraft.vocabulary.transfer import TransferResult, transfer_vocabulary
from lingraft.vocabulary.writing import write_transfer

LOADING_OPTIONS = ("new_tokens", "vocabulary_size", "dtype", "trust_remote_code", "accept_terms")
"""Options that decide how inputs are loaded; the others are the transfer's own."""
ROOM_FOR_THE_REST = 2**25
"""Bytes kept free for tokenizer, provenance and report."""


def run_transfer(options: Mapping[str, Any], *, out: Path, device: str, inspect: bool = False) -> RunResult:
    """Transfer and write; a finished run of the same options is read back instead of repeated.

    Args:
        options: Resolved options of the verb.
        out: Output directory.
        device: Where the model is loaded; the rows are computed on the processor.
        inspect: Keep the pre-flight report of `inspect_vocabulary` in the result, as the metric `inspection`.

    Returns:
        The run's result.

    Raises:
        LingraftError: A bad option or input, or an output directory that holds something else.
    """
    config = TransferConfig.read(
        {name: value for name, value in options.items() if name not in LOADING_OPTIONS}
    )
    if config.method != "auto":
        find_initializer(config.method)
    command = with_contents(options)
    if find_run(out, command):
        return read_result(out)
    require_replaceable(out)
    # Small inputs first: a wrong path among them should not wait for a model to load.
    lexicon, words = read_lexicon(config.lexicon), config.source_words
    auxiliary = auxiliary_space(config.auxiliary)
    source_words = None if words is None else auxiliary_space(f"words:{words}")
    inputs = load_inputs(
        model=config.model,
        tokenizer=config.tokenizer,
        donor=config.donor,
        corpus=config.corpus,
        mode=config.mode,
        device=device,
        **{name: options[name] for name in LOADING_OPTIONS},
    )
    require_free_space(out, needed_bytes(inputs))
    result = transfer_vocabulary(
        inputs.model,
        inputs.tokenizer,
        donor=inputs.donor,
        corpus=inputs.corpus,
        method=config.method,
        mode=config.mode,
        auxiliary=auxiliary,
        lexicon=lexicon,
        source_words=source_words,
        normalise=config.normalise,
        fasttext_dimension=config.fasttext_dimension,
        fasttext_epochs=config.fasttext_epochs,
        fasttext_minimum_count=config.fasttext_minimum_count,
        seed=config.seed,
    )
    revisions: list[InputRevision] = inputs.revisions
    read = {} if inputs.corpus is None else {"documents": len(inputs.corpus), **inputs.bad_lines}
    return write_transfer(
        out,
        result,
        options=options,
        command=command,
        inputs=revisions,
        corpus_counts=read,
        inspection=_inspected(inputs, result) if inspect else None,
    )


def _inspected(inputs: VocabularyInputs, transferred: TransferResult) -> dict[str, Any]:
    report = complete_report(
        transferred.overlap,
        inputs.model.tokenizer,
        transferred.tokenizer,
        corpus=inputs.corpus,
        has_donor=inputs.donor is not None,
    )
    if inputs.bad_lines:
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in inputs.bad_lines.items())
        report["warnings"].append(f"lines of the corpus passed over: {reasons}")
    return report


def needed_bytes(inputs: VocabularyInputs) -> int:
    """About how many bytes the checkpoint will take: the body as it is, the matrices with their new rows."""
    model = inputs.model.model
    matrices = read_embeddings(model)
    width = (1 if matrices.tied else 2) * matrices.input.shape[1] * matrices.input.element_size()
    body = sum(part.numel() * part.element_size() for part in model.parameters())
    return int(body + (len(inputs.tokenizer) - len(matrices.input)) * width + ROOM_FOR_THE_REST)
