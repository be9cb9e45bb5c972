"""`lingraft clo translate`: English instruction data, translated into paired items."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lingraft.cli.clo_options import app
from lingraft.cli.options import DeviceOption, DtypeOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

TRANSLATE_EPILOG = """\b
Engines:
  apertium:eng-spa            rule-based; the one on the PATH, else fetched as an asset
  seq2seq:MODEL               Marian, M2M100, NLLB, mBART, MADLAD or T5: hub id or directory
  ctranslate2:DIR             such a model after ct2-transformers-converter
  endpoint:URL#MODEL          an OpenAI-compatible chat endpoint, such as endpoint:http://localhost:8000/v1#NAME
  parallel:FILE               your own translations: .tsv (text, tab, translation) or .jsonl (source, target)

\b
Examples:
  lingraft clo translate --instructions alpaca.json --engine apertium:eng-spa --target-language es --out pairs-es
  lingraft clo translate --instructions oasst.jsonl.gz --engine seq2seq:facebook/nllb-200-distilled-600M \\
    --target-language sw --batch-size 32 --out pairs-sw

\b
Leaves pairs.jsonl for `lingraft clo train`, rejects.jsonl (each refused item with its reason), result.json,
report.html, and translations.sqlite: a killed run, or one whose engine died, goes on there by the same command."""


@app.command("translate", epilog=TRANSLATE_EPILOG)
def translate(
    instructions: Annotated[
        Path,
        typer.Option(
            help="English instruction data: Alpaca, OpenAssistant, ShareGPT, or prompt and response."
        ),
    ],
    engine: Annotated[str, typer.Option(help="KIND:WHAT, see below.")],
    target_language: Annotated[str, typer.Option(help="ISO 639-1 code, such as sw.")],
    out: Annotated[Path, typer.Option(help="Run directory.")],
    format: Annotated[
        str, typer.Option(help="auto, alpaca, openassistant, sharegpt, messages or plain.")
    ] = "auto",
    limit: Annotated[int | None, typer.Option(help="Only the first so many instructions.", min=1)] = None,
    max_bad_lines: Annotated[int, typer.Option(help="How many bad lines to go on after.", min=0)] = 1000,
    cache: Annotated[
        Path | None, typer.Option(help="File of translations to share between runs (default: in --out).")
    ] = None,
    segment: Annotated[
        bool | None,
        typer.Option(
            "--sentences/--whole-texts",
            help="What the engine is given (default: sentences; whole texts for endpoints and parallel data).",
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Sentences translated together (default: the engine's own).", min=1)
    ] = None,
    identifier: Annotated[
        Literal["lingua", "none"], typer.Option(help="Language identification; none judges no language.")
    ] = "lingua",
    letters: Annotated[
        int, typer.Option(help="Texts with fewer letters are not judged by their language.", min=1)
    ] = 20,
    confidence: Annotated[
        float, typer.Option(help="Refuse a text that is so surely in another language.", min=0, max=1)
    ] = 0.6,
    length_ratio: Annotated[
        float, typer.Option(help="How many times longer or shorter than its English a text may be.", min=1)
    ] = 2.5,
    repetition: Annotated[
        float,
        typer.Option(
            help="How much more of a text's triples of words may repeat than in English.", min=0, max=1
        ),
    ] = 0.25,
    engine_licence: Annotated[
        str | None, typer.Option(help="The engine's licence, where it does not state it; kept in the result.")
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    beams: Annotated[int | None, typer.Option(help="Width of a model's beam search.", min=1)] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens of a translation.", min=1)] = 256,
    source_code: Annotated[str | None, typer.Option(help="A model's own code of English.")] = None,
    target_code: Annotated[
        str | None, typer.Option(help="A model's own code of the target language, such as zho_Hant.")
    ] = None,
    prefix: Annotated[
        str, typer.Option(help="Put before each sentence, such as 'translate English to German: '.")
    ] = "",
    tokenizer: Annotated[
        str | None, typer.Option(help="Tokenizer of a model that has none beside it.")
    ] = None,
    api_key_variable: Annotated[
        str, typer.Option(help="Environment variable with an endpoint's API key.")
    ] = "OPENAI_API_KEY",
    requests: Annotated[int, typer.Option(help="Requests to an endpoint at a time.", min=1)] = 4,
    attempts: Annotated[int, typer.Option(help="Requests for one text before giving up.", min=1)] = 5,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an endpoint.", min=0.1)] = 120.0,
    json: JsonOption = False,
) -> None:
    """Translate English instruction data into paired items; code, links and numbers come back exactly."""
    with prints_to_stderr():
        from lingraft.preference.translation_filters import FilterLimits
        from lingraft.recipes.preference.translating import TranslateOptions, run_translation
        from lingraft.recipes.preference.translation_endpoint import EndpointOptions
        from lingraft.recipes.preference.translation_engines import EngineOptions

        endpoint = EndpointOptions(
            key_variable=api_key_variable,
            attempts=attempts,
            timeout=timeout,
            workers=requests,
            max_tokens=max(max_new_tokens, 1024),
        )
        options = TranslateOptions(
            instructions=instructions,
            engine=engine,
            target_language=target_language,
            engine_options=EngineOptions(
                batch_size=batch_size,
                device=device,
                dtype=dtype,
                beams=beams,
                max_new_tokens=max_new_tokens,
                source_code=source_code,
                target_code=target_code,
                prefix=prefix,
                tokenizer=tokenizer,
                licence=engine_licence,
                endpoint=endpoint,
            ),
            limits=FilterLimits(
                letters=letters, confidence=confidence, longest=length_ratio, repetition=repetition
            ),
            identifier=identifier,
            segment=segment,
            limit=limit,
            format=format,
            maximum_bad_lines=max_bad_lines,
        )
        result = run_translation(options, out=out, cache=cache)
    print_result({**result.as_json(), "out": str(out)}, _lines(result.as_json(), out), as_json=json)


def _lines(result: dict[str, object], out: Path) -> list[str]:
    """Return what a person reads."""
    metrics, counts = result["metrics"], result["counts"]
    assert isinstance(metrics, dict) and isinstance(counts, dict)
    refused = {reason: number for reason, number in counts["items"].items() if reason != "kept"}
    sentences = counts["sentences"]
    lines = [
        f"{metrics['items']:,} items in {metrics['target_language']} by {metrics['engine']} "
        f"({metrics['engine_version']}; licence: {metrics['engine_licence']})",
        f"{sentences['translated now']:,} sentences translated now, {sentences['from the cache']:,} from the cache",
    ]
    if metrics["words_a_second"]:
        lines.append(f"{metrics['words_a_second']:,.0f} words a second")
    for label, reasons in (("refused", refused), ("bad lines", counts["lines refused"])):
        if reasons:
            lines.append(
                f"{label}: " + ", ".join(f"{number:,} {reason}" for reason, number in reasons.items())
            )
    return [*lines, f"pairs: {out / 'pairs.jsonl'}", f"report: {out / 'report.html'}"]
