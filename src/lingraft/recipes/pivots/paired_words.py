"""From a word task to paired prompts: the same words asked for in English and in the target language."""

from pathlib import Path

from lingraft.errors import ConfigError
from lingraft.patching.instances import Instance
from lingraft.patching.task_words import word_prompt, wordings
from lingraft.pivots.task_file import read_word_task


def word_instances(path: Path, *, limit: int | None = None) -> list[Instance]:
    """Make paired prompts of a word task: the donor is asked in English, the receiver in the target language.

    Examples are those of the task, a draw after another, so that neighbouring words have other ones.

    Args:
        path: What `pivots words` wrote, from English.
        limit: Only the first so many words.

    Returns:
        An instance a word, with the accepted translations.

    Raises:
        ConfigError: It is no word task from English, or there is no wording for its target language.
    """
    task = read_word_task(path)
    if task.source_language.name != "English":
        raise ConfigError(
            f"{path}: words of {task.source_language.name}",
            "English words, which the donor is asked for in English",
            "draw them with --source en",
        )
    language = task.target_language.code
    own, english = wordings(language)
    instances = []
    for number, item in enumerate(task.items[:limit]):
        shown = task.draws[number % len(task.draws)]
        space = "" if own.own.endswith("：") else " "
        instances.append(
            Instance(
                id=f"{language}-{number:04d}",
                donor=(word_prompt(english, shown, item.source_word),),
                receiver=word_prompt(own, shown, item.source_word),
                answers=tuple(space + word for word in item.accepted),
                language=language,
                task="words",
            )
        )
    return instances
