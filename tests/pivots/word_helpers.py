"""Tiny models of every architecture, and a small task in several scripts."""

import importlib.util
from pathlib import Path
from typing import Any

from lingraft.pivots.languages import find_language
from lingraft.pivots.wordtask import WordItem, WordTask


def load_models() -> Any:
    """Load the builders of tests/models, with a GPT-2 that has room for the prompts."""
    path = Path(__file__).parent.parent / "models" / "conftest.py"
    specification = importlib.util.spec_from_file_location("tiny_models_of_pivots", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    plain = module.MAKERS["gpt2"]

    def roomy() -> Any:
        config = plain()
        config.n_positions = 512
        return config

    module.MAKERS["gpt2"] = roomy
    return module


MODELS = load_models()


def small_task(draws: int = 2) -> WordTask:
    """Words of unequal lengths, several tokens each, outside ASCII too."""
    examples = ((("fox", "Fuchs"), ("size", "Größe")), (("paper", "бумага"), ("day", "날씨")))
    items = (
        WordItem("dog", "überprüft", ("überprüft",), ("lazy", "Straße", "q")),
        WordItem("document", "Königsallee", ("Königsallee", "Seite"), ("page", "quick brown", "文書")),
        WordItem("文書", "book", ("book",), ("hours", "sleeps", "मेरा")),
        WordItem("page", "मेरा", ("मेरा",), ("over", "fox", "and")),
        WordItem("open", "e", ("e",), ("the", "brown", "12345")),
    )
    return WordTask(find_language("en"), find_language("de"), items, examples[:draws], {})
