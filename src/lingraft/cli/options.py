"""Options that mean the same in every noun."""

from typing import Annotated

import typer

SeedOption = Annotated[int, typer.Option(help="Seeds every draw.", min=0)]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
DtypeOption = Annotated[
    str | None, typer.Option(help="float32, bfloat16 or float16 (default: the checkpoint's).")
]
RemoteCodeOption = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run Python code that a model carries.")
]
TermsOption = Annotated[
    bool, typer.Option("--accept-terms", help="Accept the terms of use of a catalogued model.")
]
