"""Run as a script: a recipe of tiny stages, in a process that tests can kill. Prints what it does."""

import sys
from pathlib import Path

from tiny_stages import KINDS

from lingraft.errors import LingraftError
from lingraft.recipes.stages import kinds

kinds.STAGES.clear()
kinds.STAGES.update(KINDS)

from lingraft.recipes.checking.loading import load_recipe  # noqa: E402
from lingraft.recipes.running.run import RunOptions, run_recipe  # noqa: E402

if __name__ == "__main__":
    recipe, out, *rest = sys.argv[1:]
    start = rest.pop(0).removeprefix("--from=") if rest and rest[0].startswith("--from=") else None
    try:
        options = RunOptions(Path(out), device="cpu", start_from=start, command="repeat")
        run_recipe(load_recipe(recipe, rest), options, say=lambda line: print(line, flush=True))
    except LingraftError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
