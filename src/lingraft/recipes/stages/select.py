"""Stage `select`: documents rich in semantic pivots, and controls to compare training on them with."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lingraft.errors import ConfigError
from lingraft.files import write_text
from lingraft.pivots.leakage import read_test_words
from lingraft.pivots.matching import Matching
from lingraft.pivots.selection import SELECTED
from lingraft.recipes.pivots.aligned_words import find_aligned
from lingraft.recipes.pivots.discovering import HUBS, kept_discovery_sections, run_discovery
from lingraft.recipes.pivots.discovering_inputs import DiscoverOptions
from lingraft.recipes.pivots.selecting import run_selecting
from lingraft.recipes.pivots.selecting_inputs import SelectOptions
from lingraft.recipes.pivots.selecting_result import kept_selection_sections, summary
from lingraft.recipes.pivots.word_lists import make_words
from lingraft.recipes.stages.adopting import adopt, opening, seed_of
from lingraft.recipes.stages.contract import NEWEST_MODEL, Reference, StageContext, StageKind, StageSettings
from lingraft.reports.page import Section
from lingraft.reports.result import RunResult, read_result

WORDS, WORD_PAIRS, ENGLISH = "words.jsonl", "words.tsv", "english.jsonl"
"""The lexicon's words, the pairs whose pivots are sought, and English documents."""
DISCOVERED, CHOSEN = "discovered", "chosen"
"""Run directories of the two verbs."""
Control = Literal["random", "matched", "frequency", "parallel"]


class SelectSettings(StageSettings):
    """What `pivots discover` and `pivots select` take, and where the words come from."""

    required = ("corpus",)
    one_of = (("lexicon", "aligned", "pivots"),)

    corpus: Annotated[tuple[str, ...], Reference("text", "corpus")] = Field(
        (), description="Documents to choose from."
    )
    english: Annotated[tuple[str, ...], Reference("text", "english")] = Field(
        (),
        description="English text. Pivots come with words of both languages, so they are sought in it too; nothing is"
        " chosen from it, unless `corpus` lists it. Best are documents as long as those of `corpus`: where `aligned`"
        " names its documents, their English sides are taken instead.",
    )
    tokens: int = Field(ge=1, description="Tokens of each set, by `tokenizer`.")
    tokenizer: Annotated[str | None, Reference("tokenizer", NEWEST_MODEL)] = Field(
        None, description="Whose tokens the budget counts; by default the newest model's."
    )
    controls: tuple[Control, ...] = Field(
        ("random",),
        description="Sets of the same size to compare with: random, matched (the selection's languages and lengths),"
        " frequency (chosen by random tokens as frequent as the pivots), parallel (documents in two languages)."
        " A gain over no control says nothing.",
    )
    lexicon: Annotated[str | None, Reference("lexicon", "lexicon")] = Field(
        None,
        description="Bilingual lexicon, English to the language: a TSV, a directory with pairs.tsv, freedict-PAIR.",
    )
    aligned: Annotated[str | None, Reference("file", "aligned")] = Field(
        None,
        description="Parallel text: its words where there is no lexicon, and its English documents. An asset"
        " libreoffice-help-LANG, or lines of text, tab, translation, or of document, id, English, translation.",
    )
    candidates: int | None = Field(
        1000, ge=1, description="Word pairs whose pivots are sought, drawn by the seed; null takes all."
    )
    pivots: Annotated[str | None, Reference("file")] = Field(
        None, description="Pivots of your own: hubs.parquet or a word a line. Then none are sought."
    )
    test_words: Annotated[tuple[str, ...], Reference("file", "words")] = Field(
        (), description="Words that are tested later: none of them seeks or is a pivot."
    )
    keep_out_test_pairs: bool = Field(False, description="Choose no document with both words of a test pair.")
    score: Literal["min-excess", "pmi", "llr"] = Field(
        "min-excess",
        description="What makes a token a pivot: excess of document shares, PMI or log-likelihood.",
    )
    top: int = Field(50, ge=1, description="Most pivots of a word pair.")
    sample: int = Field(500, ge=1, description="Most documents looked at for each word.")
    background: int = Field(2000, ge=1, description="Most documents looked at for all words together.")
    filter_with: Annotated[str | None, Reference("model")] = Field(
        None, description="Keep pivots near the words in this model's input embeddings."
    )
    similarity_quantile: float = Field(
        0.9, ge=0, lt=1, description="Share of the corpus's tokens that a kept pivot is nearer than."
    )
    least_pairs: int = Field(2, ge=1, description="Word pairs that a pivot must serve: 2 takes hubs alone.")
    most_pivots: int = Field(1000, ge=1, description="Most pivots: those that serve the most pairs.")
    least_length: int = Field(20, ge=1, description="Words that a document must have.")
    quotas: dict[str, float] = Field(
        default_factory=dict,
        description="Language to share of the tokens; shares sum to 1: {eu: 0.8, en: 0.2}.",
    )
    languages: tuple[str, ...] = Field(
        (), description="Languages, among which documents that state none are identified: [en, eu]."
    )
    parallel_corpus: Annotated[tuple[str, ...], Reference("text")] = Field(
        (), description="Documents in two languages, for the control parallel."
    )
    parallel_fields: tuple[str, ...] = Field(
        (), max_length=2, description="Two of its fields, to be joined to a document: [en, target]."
    )
    shrink_to_fit: bool = Field(
        False, description="Make all sets as small as the smallest, where the corpus cannot fill them."
    )
    text_field: str = Field("text", description="Field or column that holds the text.")
    max_bad_lines: int = Field(1000, ge=0, description="How many bad lines to go on after.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(set(self.controls)) < len(self.controls):
            raise ValueError("a control stands twice: name each once")
        if "parallel" in self.controls and not self.parallel_corpus and len(self.languages) < 2:
            raise ValueError(
                "control parallel needs `languages: [en, ...]` to look for in documents, or a parallel_corpus"
            )
        if self.quotas and abs(sum(self.quotas.values()) - 1) > 1e-6:
            raise ValueError(f"quotas sum to {sum(self.quotas.values()):g}: make it 1")
        if self.quotas and any(share <= 0 for share in self.quotas.values()):
            raise ValueError("a quota of 0 or less: leave that language out")
        return self


def run(settings: SelectSettings, context: StageContext) -> RunResult:
    """Find pivots and choose documents; see `StageKind.run`."""
    seed = seed_of(settings, context)
    passing: dict[str, Any] = {
        "workers": context.scale.workers,
        "ray_address": context.scale.ray,
        "trust_remote_code": context.trust_remote_code,
        "accept_terms": context.accept_terms,
    }
    discovery, pivots = None, settings.pivots
    if pivots is None:
        count = _word_pairs(settings, context, seed)
        english = _english(settings, context)
        context.say(f"seeking pivots of {count:,} word pairs")
        discovery, _ = run_discovery(
            _discover_options(settings, context, english, seed), out=context.out / DISCOVERED, **passing
        )
        pivots = str(context.out / DISCOVERED / HUBS)
    context.say(f"choosing {settings.tokens:,} tokens and {len(settings.controls)} controls")
    chosen = run_selecting(
        _select_options(settings, pivots, seed),
        out=context.out / CHOSEN,
        shrink_to_fit=settings.shrink_to_fit,
        **passing,
    )
    files = {name: f"{CHOSEN}/{_place(name)}" for name in (SELECTED, *settings.controls)}
    files |= {"selection": f"{CHOSEN}/selection.parquet", "report": f"{CHOSEN}/report.html"}
    metrics, counts = dict(chosen.metrics), dict(chosen.counts)
    if discovery is not None:
        files |= {"hubs": f"{DISCOVERED}/{HUBS}", "discovery report": f"{DISCOVERED}/report.html"}
        metrics["hubs"] = discovery.metrics["hubs"]
        counts["word pairs"] = discovery.counts["pairs"]
    return adopt("select", chosen, files=files, metrics=metrics, counts=counts)


def _place(name: str) -> str:
    return SELECTED if name == SELECTED else f"controls/{name}"


def _word_pairs(settings: SelectSettings, context: StageContext, seed: int) -> int:
    """Write the pairs whose pivots are sought, without test words; return how many there are."""
    if settings.lexicon is None and settings.aligned is None:
        raise ConfigError(
            f"stage {context.name} without word pairs",
            "a lexicon, or parallel text to find words in",
            "name `lexicon`, `aligned` or `pivots` in it, or `data.lexicon`",
        )
    context.say(f"words of {settings.lexicon or settings.aligned}")
    task, _ = make_words(
        settings.lexicon,
        source="en",
        target=context.language,
        out=context.out / WORDS,
        aligned=settings.aligned if settings.lexicon is None else None,
        examples=0,
        draws=1,
        distractors=0,
        seed=seed,
    )
    tested, matching = read_test_words([Path(path) for path in settings.test_words]).words, Matching()
    pairs = [
        (item.source_word, item.target_word)
        for item in task.items
        if not {matching.apply(item.source_word), *map(matching.apply, item.accepted)} & tested
    ][: settings.candidates]
    if not pairs:
        raise ConfigError(
            f"all {len(task.items):,} words of {settings.lexicon or settings.aligned} are test words",
            "words that are not tested later",
            "give a larger lexicon, or fewer test words",
        )
    write_text(context.out / WORD_PAIRS, "".join(f"{source}\t{target}\n" for source, target in pairs))
    return len(pairs)


def _english(settings: SelectSettings, context: StageContext) -> tuple[str, ...]:
    """Return English text to seek pivots in: documents of the parallel text, where it names any.

    Beside whole documents of the language, English paragraphs by themselves would make its commonest words pivots: they
    are rare among all texts taken together.
    """
    if settings.aligned is None:
        return settings.english
    documents: dict[str, list[str]] = {}
    for line in find_aligned(settings.aligned, "en", context.language).read_bytes().split(b"\n"):
        cells = line.decode("utf-8", "replace").split("\t")
        if len(cells) == 4 and cells[2].strip():
            documents.setdefault(cells[0], []).append(cells[2].strip())
    if not documents:
        return settings.english
    rows = ({"id": name, "text": "\n".join(texts), "language": "en"} for name, texts in documents.items())
    path = context.out / ENGLISH
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return (str(path),)


def _discover_options(
    settings: SelectSettings, context: StageContext, english: tuple[str, ...], seed: int
) -> DiscoverOptions:
    same = (
        *("score", "top", "sample", "background", "filter_with", "similarity_quantile"),
        "text_field",
    )
    return DiscoverOptions(
        corpus=tuple(dict.fromkeys((*settings.corpus, *english))),
        pairs=str(context.out / WORD_PAIRS),
        maximum_bad_lines=settings.max_bad_lines,
        seed=seed,
        **{name: getattr(settings, name) for name in same},
    )


def _select_options(settings: SelectSettings, pivots: str, seed: int) -> SelectOptions:
    same = (
        *("corpus", "tokens", "controls", "tokenizer", "least_pairs", "most_pivots", "least_length"),
        *("languages", "parallel_corpus", "parallel_fields", "test_words", "keep_out_test_pairs"),
        "text_field",
    )
    given: dict[str, Any] = {name: getattr(settings, name) for name in same}
    given["maximum_bad_lines"] = settings.max_bad_lines
    # Without test words there is nothing to keep out.
    given["keep_out_test_pairs"] = settings.keep_out_test_pairs and bool(settings.test_words)
    return SelectOptions(**given, pivots=pivots, quotas=tuple(settings.quotas.items()), seed=seed)


def sections(settings: SelectSettings, directory: Path, result: RunResult) -> Sequence[Section]:
    """Show the sets, why documents were chosen, and the pivots; see `StageKind.sections`."""
    found = list(kept_selection_sections(directory / CHOSEN, result))
    if (directory / DISCOVERED / HUBS).exists() and settings.pivots is None:
        discovery = read_result(directory / DISCOVERED)
        # Single pairs and their tables are in the verb's own report.
        found += kept_discovery_sections(directory / DISCOVERED, discovery)[1::2]
    return [opening(summary(result)), *found]


def offers(settings: SelectSettings) -> Collection[str]:
    """Return the outputs: the selection, and the controls that are asked for."""
    return (SELECTED, *settings.controls)


KIND = StageKind(
    about="choose documents rich in semantic pivots, and controls",
    settings=SelectSettings,
    run=run,
    sections=sections,
    outputs={
        "selected": "text",
        "random": "text",
        "matched": "text",
        "frequency": "text",
        "parallel": "text",
    },
    offers=offers,
)
