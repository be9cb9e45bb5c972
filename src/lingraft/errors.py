"""One exception family: each message says what was found, what was expected and what to do."""


class LingraftError(Exception):
    """An error the user can cause and mend; the command line prints it as one line.

    Each argument stays readable as an attribute.

    Args:
        found: What was met, with its value (a path, an id, a count).
        expected: What would have been right.
        remedy: What the user can do about it.
    """

    def __init__(self, found: str, expected: str, remedy: str) -> None:
        self.found = found
        self.expected = expected
        self.remedy = remedy
        super().__init__(f"{found}; expected {expected}; {remedy}")

    def __reduce__(self) -> tuple[type["LingraftError"], tuple[str, str, str]]:
        """Survive the way between processes, which rebuilds an exception from its arguments."""
        return type(self), (self.found, self.expected, self.remedy)


class AssetError(LingraftError):
    """A catalogued model or corpus that cannot be fetched, checked or converted."""


class ModelError(LingraftError):
    """A model that cannot be found, read, trusted or written."""


class ArchitectureError(ModelError):
    """A model whose layers are not where any known adapter looks for them."""


class TokenizerError(LingraftError):
    """A tokenizer that cannot be read, or lacks something the work needs."""


class CorpusError(LingraftError):
    """Text that cannot be found, decoded or used."""


class TransferError(LingraftError):
    """A vocabulary transfer whose inputs do not fit each other."""


class TrainingError(LingraftError):
    """Training that cannot start, or that left the rails."""


class TranslationError(LingraftError):
    """A translation engine that cannot be started, or that died at its work."""


class OutputError(LingraftError):
    """A place to write to that is taken, full or forbidden."""


class ConfigError(LingraftError):
    """An option or recipe field that does not hold what it should."""


class MissingExtraError(LingraftError):
    """A library of an optional extra that is not installed."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        self.library, self.extra, self.purpose = library, extra, purpose
        super().__init__(
            f"the library {library!r} is not installed",
            f"it for {purpose}",
            f'run: pip install "lingraft[{extra}]"',
        )

    def __reduce__(self) -> tuple[type[LingraftError], tuple[str, str, str]]:
        """Survive the way between processes."""
        return type(self), (self.library, self.extra, self.purpose)
