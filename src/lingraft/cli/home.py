"""The home directory in `--out=~/runs` and `--set data.corpus=~/text`, where bash leaves the `~` to us."""

from pathlib import Path


def with_home(argument: str) -> str:
    """Return an argument with `~` behind its first `=` made the home directory.

    Args:
        argument: What was typed; other arguments have been read by the shell already.

    Returns:
        The same, or with the directory's path.
    """
    name, equals, value = argument.partition("=")
    if equals and (value == "~" or value.startswith("~/")):
        return f"{name}={Path(value).expanduser()}"
    return argument
