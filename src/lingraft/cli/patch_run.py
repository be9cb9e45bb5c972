"""`lingraft patch generate` and `evaluate`: one fixed pair of layers."""

from pathlib import Path
from typing import Annotated

import typer

from lingraft.cli.options import DeviceOption, DtypeOption, RemoteCodeOption, SeedOption, TermsOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr
from lingraft.cli.patch_options import (
    DonorLayerOption,
    LimitOption,
    MeanOption,
    MemoryOption,
    ModelOption,
    NewTokensOption,
    OperatorOption,
    PairsOption,
    ReceiverLayerOption,
    ScoreOption,
    SiteOption,
    TemplateOption,
    app,
    sweep_options,
)

GENERATE_EPILOG = """\b
Examples:
  lingraft patch generate --model smollm2-135m-instruct --site ffn --donor-layer 3 --receiver-layer 1 \\
    --donor "The capital of France is" --receiver "Mji mkuu wa Ufaransa ni" --unpatched
  lingraft patch generate --model smollm2-135m-instruct --site ffn --donor-layer 3 --receiver-layer 1 \\
    --pairs xquad-de.jsonl --out answers.jsonl

\b
The transplant is made while the prompt is read; decoding runs as it is, on the changed keys and values."""

EVALUATE_EPILOG = """\b
Example:
  lingraft patch evaluate --model smollm2-135m-instruct --pairs xnli-sw.jsonl --score options \\
    --site attn --donor-layer 29 --receiver-layer 0 --out runs/coarse

\b
Choose the pair elsewhere (`lingraft patch select`), or the numbers say nothing about new rows."""


@app.command(epilog=GENERATE_EPILOG)
def generate(
    model: ModelOption,
    donor_layer: DonorLayerOption,
    receiver_layer: ReceiverLayerOption,
    pairs: Annotated[Path | None, typer.Option(help="JSONL rows with id, donor, receiver.")] = None,
    donor: Annotated[str | None, typer.Option(help="A donor prompt, instead of --pairs.")] = None,
    receiver: Annotated[str | None, typer.Option(help="The prompt to answer, instead of --pairs.")] = None,
    site: SiteOption = "ffn",
    operator: OperatorOption = "replace",
    new_tokens: NewTokensOption = 20,
    unpatched: Annotated[bool, typer.Option("--unpatched", help="Answer without transplant too.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the answers there as JSONL.")] = None,
    batch_size: Annotated[int, typer.Option(help="Prompts at once.", min=1)] = 8,
    chat_template: TemplateOption = False,
    limit: LimitOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """Answer prompts greedily with one fixed transplant."""
    given = dict(locals())
    with prints_to_stderr():
        from lingraft.errors import ConfigError
        from lingraft.patching.instances import parse_instance, read_instances
        from lingraft.recipes.patching.fixed_pair import answer_pairs, write_answers

        if (pairs is None) == (donor is None or receiver is None):
            raise ConfigError(
                "neither or both of --pairs and a --donor with a --receiver",
                "one of the two",
                "give --pairs FILE, or --donor TEXT --receiver TEXT",
            )
        if pairs is not None:
            instances = read_instances(pairs)
        else:
            row = {"id": "1", "donor": donor, "receiver": receiver}
            instances = [parse_instance(row, "the command line")]
        rows = answer_pairs(
            instances,
            sweep_options({**given, "pairs": str(pairs)}),
            donor_layer=donor_layer,
            receiver_layer=receiver_layer,
            batch_size=batch_size,
            device=device,
            unpatched=unpatched,
        )
        if out is not None:
            write_answers(out, rows)
    lines = [f"{len(rows):,} answers: {out}"] if out is not None else []
    if out is None:
        for row in rows:
            lines += [f"{row['id']}: {row['text']}"]
            lines += [f"{row['id']}, unpatched: {row['unpatched']}"] if unpatched else []
    print_result({"answers": rows, "out": None if out is None else str(out)}, lines, as_json=json)


@app.command(epilog=EVALUATE_EPILOG)
def evaluate(
    model: ModelOption,
    pairs: PairsOption,
    donor_layer: DonorLayerOption,
    receiver_layer: ReceiverLayerOption,
    out: Annotated[Path, typer.Option(help="Run directory.")],
    site: SiteOption = "ffn",
    score: ScoreOption = "generate",
    operator: OperatorOption = "replace",
    new_tokens: NewTokensOption = 20,
    mean_donors: MeanOption = False,
    chat_template: TemplateOption = False,
    limit: LimitOption = None,
    memory_mib: MemoryOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """How many rows one fixed transplant answers rightly, beside the unpatched model and the donor itself."""
    given = dict(locals())
    with prints_to_stderr():
        from lingraft.recipes.patching.fixed_pair import evaluate_pair, one_pair
        from lingraft.recipes.patching.pair_choice import selection_rows

        options = one_pair(sweep_options(given), donor_layer, receiver_layer)
        result, lines = evaluate_pair(options, out=out, device=device, memory_mib=memory_mib)
    shown = [*selection_rows(lines), f"report: {out / 'report.html'}"]
    print_result({**result.as_json(), "out": str(out)}, shown, as_json=json)
