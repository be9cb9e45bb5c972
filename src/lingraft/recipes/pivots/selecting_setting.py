"""What `pivots select` reads and loads before it looks at the corpus."""

from dataclasses import dataclass
from pathlib import Path

from lingraft.corpora.language_id import LinguaIdentifier
from lingraft.corpora.shards import plan_shards
from lingraft.pivots.discovery_tokens import ModelTokens, Tokens
from lingraft.pivots.leakage import TestWords, guard, read_test_words
from lingraft.pivots.selection import split_budget
from lingraft.recipes.pivots.discovering_inputs import load_tokens
from lingraft.recipes.pivots.selecting_inputs import PivotSet, SelectOptions, read_pivot_set
from lingraft.reports.result import InputRevision


@dataclass(frozen=True, slots=True)
class Setting:
    """What was read and loaded before the corpus.

    Attributes:
        options: As given.
        pivot_set: As read.
        pivots: What is left of it behind the guard.
        removed: Pivots that are test words.
        test_words: The test words.
        tokens: What scores are shares of.
        counter: What the budget is counted in; None for the same.
        revisions: Of tokenizers.
    """

    options: SelectOptions
    pivot_set: PivotSet
    pivots: frozenset[str]
    removed: list[str]
    test_words: TestWords
    tokens: Tokens
    counter: ModelTokens | None
    revisions: list[InputRevision]

    @property
    def unit(self) -> str:
        """Say what the budget is counted in."""
        return self.tokens.name() if self.counter is None else self.counter.name()


def prepare(
    options: SelectOptions, *, trust_remote_code: bool = False, accept_terms: bool = False
) -> Setting:
    """Read and load everything but the corpus, which is only looked up.

    Args:
        options: As given.
        trust_remote_code: Run Python code that a tokenizer carries.
        accept_terms: Accept the terms of use of a catalogued model.

    Returns:
        What was read.

    Raises:
        LingraftError: A bad option or input, or an empty pivot set.
    """
    options.check()
    if options.quotas:
        split_budget(options.tokens, dict(options.quotas))
    pivot_set = read_pivot_set(
        Path(options.pivots), least_pairs=options.least_pairs, most=options.most_pivots
    )
    test_words = read_test_words([Path(path) for path in options.test_words])
    plan_shards(options.corpus)
    if options.parallel_corpus:
        plan_shards(options.parallel_corpus)
    if options.languages:
        LinguaIdentifier(options.languages)
    tokens, revisions = load_tokens(pivot_set.tokenizer or None, trust_remote_code, accept_terms)
    counter: ModelTokens | None = tokens if isinstance(tokens, ModelTokens) else None
    if options.tokenizer is not None:
        loaded, more = load_tokens(options.tokenizer, trust_remote_code, accept_terms)
        counter = loaded if isinstance(loaded, ModelTokens) else None
        revisions += more
    pivots, removed = guard(pivot_set.tokens, test_words, tokens=tokens)
    return Setting(options, pivot_set, pivots, removed, test_words, tokens, counter, revisions)
