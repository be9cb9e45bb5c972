"""`lingraft patch pairs`: paired prompts of a known task, as the file that the other verbs read."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lingraft.cli.output import JsonOption, print_result, prints_to_stderr
from lingraft.cli.patch_options import app

PAIRS_EPILOG = """\b
Examples:
  lingraft patch pairs --task xnli --data XNLI --languages sw,de --limit 50 --out xnli.jsonl
  lingraft patch pairs --task words --data lexicons --languages sw --limit 100 --out words-sw.jsonl

\b
Tasks and the files that --data holds:
  xnli            split/LANG.json (whole prompts as JSON strings), ans/LANG.json (the right option, from 1)
  xcopa           LANG/test.LANG.jsonl of the data set, with --donor-file for English; or as xnli
  xquad           split/xquad.LANG.json, ans/xquad.LANG.json
  globalopinionqa split/LANG.json (English prompts and shares), translated/LANG.json
  words           lexicons: german.txt, swahili.txt, ... with lines of English, tab, translation
The two languages' rows are checked to belong together: public files have been found shifted.
Your own questions need no task: write rows with id, donor, receiver, and optionally options, answer, language."""


@app.command(epilog=PAIRS_EPILOG)
def pairs(
    task: Annotated[
        Literal["xnli", "xcopa", "xquad", "globalopinionqa", "words"], typer.Option(help="Which task.")
    ],
    data: Annotated[Path, typer.Option(help="Directory with the task's files, see below.")],
    languages: Annotated[str, typer.Option(help="Receiving languages, commas between.")],
    out: Annotated[Path, typer.Option(help="JSONL file to write.")],
    donor: Annotated[str, typer.Option(help="Donor language, or several with commas between.")] = "en",
    donor_file: Annotated[
        Path | None, typer.Option(help="The donor's file where it lies elsewhere (xcopa).")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the data set (xcopa): test or val.")] = "test",
    limit: Annotated[int | None, typer.Option(help="Only the first so many rows of each language.")] = None,
    misaligned: Annotated[
        Literal["refuse", "before", "all"],
        typer.Option(help="Rows that do not belong together: refuse, keep those before, or keep all."),
    ] = "refuse",
    examples: Annotated[int, typer.Option(help="Example pairs in a prompt (words).", min=1)] = 5,
    seed: Annotated[int, typer.Option(help="Of the draws of words and examples.", min=0)] = 0,
    json: JsonOption = False,
) -> None:
    """Write a task's paired prompts, after checking that the two languages' rows belong together."""
    with prints_to_stderr():
        from lingraft.patching.instances import write_instances
        from lingraft.patching.tasks import build_pairs

        wanted, donors = (
            [part.strip() for part in text.split(",") if part.strip()] for text in (languages, donor)
        )
        instances = build_pairs(
            task,
            data,
            donor=donors,
            receivers=wanted,
            limit=limit,
            misaligned=misaligned,
            donor_file=donor_file,
            split=split,
            examples=examples,
            seed=seed,
        )
        write_instances(out, instances)
    counts = {name: sum(item.language == name for item in instances) for name in wanted}
    lines = [f"{name}: {count:,} rows" for name, count in counts.items()]
    print_result({"out": str(out), "task": task, "rows": counts}, [*lines, f"pairs: {out}"], as_json=json)
