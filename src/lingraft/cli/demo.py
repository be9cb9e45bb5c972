"""The demo: `python -m lingraft.cli.demo` grafts Basque onto a small model and says where the report is."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from lingraft.cli.output import JsonOption, print_result, prints_to_stderr, quiet_libraries, report_exception

BUILTIN = Path(__file__).parent.parent / "recipes" / "builtin" / "demo.yaml"

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Run directory.")] = Path("runs/demo"),
    recipe: Annotated[Path, typer.Option(help="Recipe file.")] = BUILTIN,
    method: Annotated[str | None, typer.Option(help="In place of the recipe's method.")] = None,
    steps: Annotated[int | None, typer.Option(help="In place of the recipe's steps.", min=1)] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="In place of the recipe's blocks a step.", min=1)
    ] = None,
    block_length: Annotated[
        int | None, typer.Option(help="In place of the recipe's tokens a block.", min=8)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json: JsonOption = False,
) -> None:
    """Graft a language onto a model: inspect, transfer, train, measure, report. Run again to continue."""
    started = time.monotonic()
    given = {"method": method, "steps": steps, "batch_size": batch_size, "block_length": block_length}
    with prints_to_stderr():
        from lingraft.recipes.graft import run_graft
        from lingraft.recipes.graft_schema import read_recipe

        resolved = read_recipe(recipe, {name: value for name, value in given.items() if value is not None})
        result = run_graft(
            resolved,
            out,
            device=device,
            say=lambda line: print(
                f"[{time.monotonic() - started:5.0f} s] {line}", file=sys.stderr, flush=True
            ),
        )
    print_result(result.as_json(), _lines(result.metrics, out, time.monotonic() - started), as_json=json)


def _lines(metrics: dict[str, Any], out: Path, seconds: float) -> list[str]:
    lines = [f"{'bits per byte':<12} {'target':>18} {'English':>18}"]
    for name, measured in metrics.items():
        cells = [
            f"{measured['before'][text]:.2f} -> {measured['after'][text]:.2f}"
            for text in ("target", "english")
        ]
        lines.append(f"{name:<12} {cells[0]:>18} {cells[1]:>18}")
    return [*lines, f"{seconds / 60:.1f} minutes; report: {out / 'report.html'}"]


def main() -> int:
    """Run the demo; errors are one line."""
    quiet_libraries()
    try:
        app(standalone_mode=False)
    except SystemExit as stop:
        return int(stop.code or 0)
    except BaseException as error:
        return report_exception(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
