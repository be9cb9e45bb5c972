"""`lingraft eval fidelity`: are answers in the language that was asked for?"""

from pathlib import Path
from typing import Annotated

import typer

from lingraft.cli.eval_options import ModelOption, app
from lingraft.cli.options import DeviceOption, DtypeOption, RemoteCodeOption, TermsOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

FIDELITY_EPILOG = """\b
Examples:
  lingraft eval fidelity --model smollm2-135m-instruct --prompts pairs.jsonl --language sw --out runs/sw
  lingraft eval fidelity --model ./tuned --prompts questions.jsonl --field question --language ru \\
    --english-words words.txt --answer-in-english --english-request "Ответь по-английски." --out runs/ru

\b
By lines: every line of five words or more is in the language. By words: of those answers, the ones
without a foreign word. Answers with nothing to judge are skipped, and their number is in the result.
A killed run keeps the answers that are done: the same command continues."""


@app.command(epilog=FIDELITY_EPILOG)
def fidelity(
    model: ModelOption,
    prompts: Annotated[Path, typer.Option(help="JSON lines with a prompt each, or paired items.")],
    language: Annotated[str, typer.Option(help="ISO 639-1 code of what the answers should be in: de, sw.")],
    out: Annotated[Path, typer.Option(help="Run directory.")],
    field: Annotated[
        str | None,
        typer.Option(help="Field of the prompt (default: prompt, or target_prompt of paired items)."),
    ] = None,
    template: Annotated[
        str, typer.Option(help="chat (the tokenizer's own), plain, or a file with a Jinja template.")
    ] = "chat",
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.", min=1)] = 128,
    batch_size: Annotated[int, typer.Option(help="Prompts at once.", min=1)] = 8,
    limit: Annotated[int | None, typer.Option(help="Only the first so many prompts.")] = None,
    answer_in_english: Annotated[
        bool,
        typer.Option("--answer-in-english", help="Ask again for an answer in English: does it still obey?"),
    ] = False,
    english_request: Annotated[
        str, typer.Option(help="What asks for English, put under each prompt.")
    ] = "Answer in English.",
    accept: Annotated[
        list[str] | None, typer.Option(help="Another code that counts as the language (nn for nb).")
    ] = None,
    among: Annotated[
        list[str] | None,
        typer.Option(help="A language that a line may be in besides (default: all that lingua knows)."),
    ] = None,
    allow: Annotated[Path | None, typer.Option(help="File of words that are never foreign.")] = None,
    english_words: Annotated[
        Path | None,
        typer.Option(help="File of English words in lower case: then only these are English (non-Latin)."),
    ] = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """How many answers are in their prompt's language, by lines and by words."""
    with prints_to_stderr():
        from lingraft.recipes.evaluating.fidelity_report import fidelity_sentence
        from lingraft.recipes.evaluating.measuring_fidelity import FidelityOptions, run_fidelity

        result = run_fidelity(
            FidelityOptions(
                model=model,
                prompts=prompts,
                language=language,
                field=field,
                template=template,
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
                limit=limit,
                answer_in_english=answer_in_english,
                english_request=english_request,
                accept=tuple(accept or ()),
                among=tuple(among or ()),
                allow=allow,
                english_words=english_words,
                dtype=dtype,
            ),
            out=out,
            device=device,
            trust_remote_code=trust_remote_code,
            accept_terms=accept_terms,
        )
    lines = [
        fidelity_sentence(result.metrics),
        f"words: {result.metrics['word_rule']}",
        f"report: {out / 'report.html'}",
    ]
    print_result({**result.as_json(), "out": str(out)}, lines, as_json=json)
