"""`lingraft vocab`: give a model another vocabulary."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lingraft.cli.options import DeviceOption, DtypeOption, RemoteCodeOption, SeedOption, TermsOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

app = typer.Typer(
    name="vocab",
    help="Give a model another vocabulary.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

TOKENIZER_HELP = (
    "Target tokenizer: a reference (hub id, directory, asset name); trim:REF for the pieces of it that --corpus"
    " uses; train:unigram or train:bpe to train one on --corpus. Left out with --mode extend, the model's own"
    " tokenizer is extended."
)
MODEL_HELP = "Source model: hub id, directory, .gguf file or asset name."
DONOR_HELP = "Target-language pre-trained model (encoder, T5 or decoder): hub id, directory or asset name."
CORPUS_HELP = (
    "Target-language text: .txt (a document a line), .jsonl, .json, .csv, .parquet; a directory or a glob."
)

ModelOption = Annotated[str, typer.Option(help=MODEL_HELP)]
TokenizerOption = Annotated[str | None, typer.Option(help=TOKENIZER_HELP)]
DonorOption = Annotated[str | None, typer.Option(help=DONOR_HELP)]
CorpusOption = Annotated[Path | None, typer.Option(help=CORPUS_HELP)]
ModeOption = Annotated[
    Literal["replace", "extend"],
    typer.Option(help="Replace the vocabulary, or extend it and keep every source token."),
]
NewTokensOption = Annotated[int, typer.Option(help="Tokens that --mode extend adds.", min=1)]
SizeOption = Annotated[
    int | None,
    typer.Option(help="Tokens of a trimmed or trained tokenizer (trimmed: all used; trained: 16000).", min=1),
]
AuxiliaryOption = Annotated[
    str,
    typer.Option(
        help="Where neighbours are sought: fasttext (trained on --corpus), words:FILE (.vec or .bin), donor."
    ),
]
LexiconOption = Annotated[
    Path | None,
    typer.Option(help="TSV of target-language word, tab, source-language word (lexicon, wechsel)."),
]
SourceWordsOption = Annotated[Path | None, typer.Option(help="Source-language word vectors, for wechsel.")]
NormaliseOption = Annotated[
    Literal["exact", "focus", "focus-symbols", "focus-fuzzy"],
    typer.Option(help="How tokens of the two vocabularies are compared."),
]

INSPECT_EPILOG = """\b
Example:
  lingraft vocab inspect --model smollm2-135m-instruct --tokenizer trim:multilingual-e5-small \\
    --donor multilingual-e5-small --corpus basque.txt"""

TRANSFER_EPILOG = """\b
Examples:
  lingraft vocab transfer --model smollm2-135m-instruct --tokenizer trim:multilingual-e5-small \\
    --donor multilingual-e5-small --corpus basque.txt --method salt --out basque-model
  lingraft vocab transfer --model smollm2-135m-instruct --mode extend --new-tokens 8000 \\
    --donor multilingual-e5-small --corpus basque.txt --method fused --out bilingual-model

\b
Methods: salt, salt-safe, focus, wechsel, clp, sava, omp, subword-mean, multivariate, lexicon, fused,
fused-plain, random, mean; auto takes the one with the smallest error on held-out shared tokens; or module:function.
The checkpoint in --out loads in plain transformers; provenance.parquet has a row a token."""


def bad_line_warnings(bad_lines: Mapping[str, int]) -> list[str]:
    """Say how many lines of the corpus were passed over, and why; nothing where there were none."""
    reasons = ", ".join(f"{number:,} {reason}" for reason, number in bad_lines.items())
    return [f"lines of the corpus passed over: {reasons}"] if reasons else []


@app.callback()
def vocab() -> None:
    """Give a model another vocabulary."""


@app.command(epilog=INSPECT_EPILOG)
def inspect(
    model: ModelOption,
    tokenizer: TokenizerOption = None,
    donor: DonorOption = None,
    corpus: CorpusOption = None,
    mode: ModeOption = "replace",
    new_tokens: NewTokensOption = 8000,
    vocabulary_size: SizeOption = None,
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """The pre-flight report: overlap, fertility before and after, anchor coverage, digits, round trip."""
    with prints_to_stderr():
        from lingraft.recipes.inputs import load_inputs
        from lingraft.vocabulary.inspection import inspect_vocabulary, inspection_lines

        inputs = load_inputs(
            model=model,
            tokenizer=tokenizer,
            donor=donor,
            corpus=corpus,
            mode=mode,
            new_tokens=new_tokens,
            vocabulary_size=vocabulary_size,
            device="cpu",
            trust_remote_code=trust_remote_code,
            accept_terms=accept_terms,
        )
        report = inspect_vocabulary(
            inputs.model, inputs.tokenizer, donor=inputs.donor, corpus=inputs.corpus, mode=mode
        )
        report["warnings"] += bad_line_warnings(inputs.bad_lines)
    print_result(report, inspection_lines(report), as_json=json)


@app.command(epilog=TRANSFER_EPILOG)
def transfer(
    model: ModelOption,
    out: Annotated[Path, typer.Option(help="Directory for the checkpoint, its provenance and the report.")],
    tokenizer: TokenizerOption = None,
    donor: DonorOption = None,
    corpus: CorpusOption = None,
    method: Annotated[str, typer.Option(help="How new rows are made; see below.")] = "salt",
    mode: ModeOption = "replace",
    new_tokens: NewTokensOption = 8000,
    vocabulary_size: SizeOption = None,
    auxiliary: AuxiliaryOption = "donor",
    lexicon: LexiconOption = None,
    source_words: SourceWordsOption = None,
    normalise: NormaliseOption = "exact",
    fasttext_dimension: Annotated[int, typer.Option(help="Width of trained fastText vectors.", min=1)] = 300,
    fasttext_epochs: Annotated[int, typer.Option(help="Passes of fastText over --corpus.", min=1)] = 5,
    fasttext_minimum_count: Annotated[
        int, typer.Option(help="Rarer tokens get no fastText vector.", min=1)
    ] = 10,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """Give the model the target vocabulary; leave a checkpoint that plain transformers loads."""
    options: dict[str, Any] = {
        name: None if value is None else str(value) if isinstance(value, Path) else value
        for name, value in locals().items()
        if name not in {"json", "out", "device"}
    }
    with prints_to_stderr():
        from lingraft.recipes.vocabulary.transferring import run_transfer

        result = run_transfer(options, out=out, device=device)
    lines = [
        f"{result.metrics['target_tokens']:,} target tokens by {result.metrics['method']}"
        f" ({result.metrics['reason']})",
        *(f"  {origin:<10} {number:>9,}" for origin, number in result.counts["tokens"].items()),
        *bad_line_warnings({k: n for k, n in result.counts.get("corpus", {}).items() if k != "documents"}),
        f"checkpoint: {out}",
        f"report:     {out / 'report.html'}",
    ]
    print_result({**result.as_json(), "out": str(out)}, lines, as_json=json)
