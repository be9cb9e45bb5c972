"""`lingraft vocab compare`: the methods side by side on the user's own model and text."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lingraft.cli.options import DeviceOption, DtypeOption, RemoteCodeOption, TermsOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr
from lingraft.cli.vocab import (
    AuxiliaryOption,
    DonorOption,
    LexiconOption,
    ModelOption,
    NewTokensOption,
    SizeOption,
    SourceWordsOption,
    TokenizerOption,
    app,
)

COMPARE_EPILOG = """\b
Example:
  lingraft vocab compare --model smollm2-135m-instruct --tokenizer trim:multilingual-e5-small \\
    --donor multilingual-e5-small --corpus basque.txt --held-out basque-heldout.txt \\
    --english english-heldout.txt --methods salt,focus,subword-mean,fused \\
    --modes replace,extend --probe-steps 50,500 --seeds 2 --out comparison

\b
Every probe is kept in --out as it finishes: the same command continues a killed comparison, one with other --methods
or --seeds adds to it, and started in several shells at once it shares the probes between them."""


@app.command(epilog=COMPARE_EPILOG)
def compare(
    model: ModelOption,
    corpus: Annotated[Path, typer.Option(help="Target-language text to train on.")],
    held_out: Annotated[
        Path, typer.Option(help="Target-language text to score; must not resemble the corpus.")
    ],
    out: Annotated[
        Path, typer.Option(help="Run directory: probes, table, report. More methods and seeds add to it.")
    ],
    methods: Annotated[
        str, typer.Option(help="Methods with commas between.")
    ] = "salt,focus,subword-mean,fused",
    tokenizer: TokenizerOption = None,
    donor: DonorOption = None,
    modes: Annotated[str, typer.Option(help="replace, extend, or both with a comma.")] = "replace",
    english: Annotated[Path | None, typer.Option(help="English text to score beside it.")] = None,
    probe_steps: Annotated[str, typer.Option(help="Steps to score at; the last is the budget.")] = "50",
    seeds: Annotated[int, typer.Option(help="Seeds: data orders and draws.", min=1)] = 2,
    batch_size: Annotated[int, typer.Option(help="Blocks a step.", min=1)] = 4,
    block_length: Annotated[int, typer.Option(help="Tokens a block.", min=8)] = 128,
    learning_rate: Annotated[float, typer.Option(help="Peak rate of the body.")] = 3e-4,
    embedding_learning_rate: Annotated[
        float | None, typer.Option(help="Peak rate of the embeddings.")
    ] = None,
    warmup_steps: Annotated[int, typer.Option(help="Steps of linear warm-up.", min=0)] = 10,
    body_after: Annotated[int, typer.Option(help="First steps that train the embeddings alone.", min=0)] = 0,
    averaged_share: Annotated[
        float,
        typer.Option(help="Share of the steps before a score whose weights are averaged for it, 0 to 1."),
    ] = 0.2,
    precision: Annotated[str, typer.Option(help="float32, bf16-autocast or bfloat16.")] = "bfloat16",
    held_out_bytes: Annotated[int, typer.Option(help="UTF-8 bytes of --held-out to score.", min=1)] = 20_000,
    new_tokens: NewTokensOption = 8000,
    vocabulary_size: SizeOption = None,
    auxiliary: AuxiliaryOption = "donor",
    lexicon: LexiconOption = None,
    source_words: SourceWordsOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "float32",
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """Compare methods: same overlap, data order and budget, beside the unchanged model at equal compute."""
    given = dict(locals())
    with prints_to_stderr():
        from lingraft.errors import ConfigError
        from lingraft.recipes.vocabulary.comparing import run_comparison
        from lingraft.vocabulary.probe import ProbeSettings

        try:
            steps = tuple(sorted({int(step) for step in probe_steps.split(",")}))
        except ValueError as error:
            raise ConfigError(
                f"--probe-steps {probe_steps}", "whole numbers with commas", "for instance 50,500"
            ) from error
        if steps[0] < 1:
            raise ConfigError(f"--probe-steps {probe_steps}", "steps from 1 up", "step 0 is always scored")
        if precision not in {"float32", "bf16-autocast", "bfloat16"}:
            raise ConfigError(
                f"--precision {precision}", "float32, bf16-autocast or bfloat16", "name one of them"
            )
        probe_fields = (
            "batch_size",
            "block_length",
            "learning_rate",
            "embedding_learning_rate",
            "warmup_steps",
            "averaged_share",
        )
        settings = ProbeSettings(
            steps=steps,
            body_after=body_after,
            precision=precision,  # type: ignore[arg-type]
            **{name: given[name] for name in probe_fields},
        )
        skipped = {"json", "out", "device", "probe_steps", "precision", "body_after", *probe_fields}
        options: dict[str, Any] = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in given.items()
            if name not in skipped
        }
        options["methods"] = [method.strip() for method in methods.split(",") if method.strip()]
        options["modes"] = [mode.strip() for mode in modes.split(",") if mode.strip()]
        result, tables = run_comparison(options, out=out, device=device, settings=settings)
    lines = [*tables, f"report: {out / 'report.html'}"]
    print_result({**result.as_json(), "out": str(out)}, lines, as_json=json)
