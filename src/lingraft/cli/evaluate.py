"""`lingraft eval`: measure a model on text, on answers, on tasks."""

from pathlib import Path
from typing import Annotated, Any

import typer

# Imported for the verbs that they add.
from lingraft.cli import eval_compare, eval_fidelity, eval_tasks  # noqa: F401
from lingraft.cli.eval_options import app
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

__all__ = ["app", "bpb"]

BPB_EPILOG = """\b
Examples:
  lingraft eval bpb --model smollm2-135m-instruct --text heldout.txt
  lingraft eval bpb --model ./runs/basque/model --text heldout.txt --json

\b
Bits per UTF-8 byte of the same text can be compared between tokenizers, perplexities cannot.
Every byte is counted once; each line of a .txt file is a document, scored alone."""


@app.command(epilog=BPB_EPILOG)
def bpb(
    model: Annotated[
        str, typer.Option(help="Hub id, directory, .gguf file or asset name of a causal language model.")
    ],
    text: Annotated[Path, typer.Option(help="Held-out text: .txt (a document a line), .jsonl, .parquet.")],
    context: Annotated[
        int | None, typer.Option(help="Tokens in the longest window (default: 1024 or the model's limit).")
    ] = None,
    stride: Annotated[
        int | None, typer.Option(help="Tokens by which a window moves on (default: half of the context).")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Full windows in one forward pass.", min=1)] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16 (default: the checkpoint's).")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that the model carries.")
    ] = False,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Accept the terms of use of a catalogued model.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Bits per byte of a text under a model: lower is better, 8 is no knowledge at all."""
    with prints_to_stderr():
        from lingraft.corpora.reading import ReadingCounts, read_documents
        from lingraft.evaluation.likelihood import bits_per_byte
        from lingraft.models.loading import load_model
        from lingraft.reports.intervals import ratio_interval

        # The text first: it is read in a moment, and a wrong path should not wait for a model to load.
        counts = ReadingCounts()
        texts = [document.text for document in read_documents(text, counts=counts)]
        loaded = load_model(
            model, dtype=dtype, device=device, trust_remote_code=trust_remote_code, accept_terms=accept_terms
        )
        likelihood = bits_per_byte(
            loaded.model,
            loaded.tokenizer,
            texts,
            context=context,
            stride=stride,
            batch_size=batch_size,
            progress=True,
        )
        found = ratio_interval(likelihood.document_bits, likelihood.document_bytes)
    result: dict[str, Any] = {
        **likelihood.summary(),
        "interval": [found.low, found.high],
        "model": model,
        "revision": loaded.revision,
        "text": str(text),
        "bad_lines": dict(counts.bad),
    }
    interval = "" if found.low is None else f" (95% interval {found.low:.4f} to {found.high:.4f})"
    lines = [
        f"{likelihood.bits_per_byte:.4f} bits per byte{interval}",
        f"{likelihood.bytes:,} bytes, {likelihood.tokens:,} tokens, {likelihood.documents:,} documents; "
        f"context {likelihood.context}, stride {likelihood.stride} tokens",
    ]
    if counts.bad:
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in counts.bad.items())
        lines.append(f"lines passed over: {reasons}")
    if likelihood.unknown_tokens:
        lines.append(f"{likelihood.unknown_tokens:,} unknown tokens: their bytes are charged 8 bits each")
    if likelihood.altered_bytes:
        lines.append(
            f"{likelihood.altered_bytes:,} bytes that the tokenizer normalises away are charged 8 bits each;"
            f" without any charge it is {likelihood.model_bits_per_byte:.4f}"
        )
    print_result(result, lines, as_json=json)
