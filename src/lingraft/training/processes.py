"""Which of the processes of a training this is."""

import os


def is_main_process() -> bool:
    """Say whether this process writes results: the only one, or the first of those that accelerate launch started."""
    return int(os.environ.get("RANK", "0")) == 0
