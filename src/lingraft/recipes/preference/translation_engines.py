"""From the name of a translation engine to the engine: `apertium:eng-spa`, `seq2seq:MODEL` and so on."""

import difflib
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lingraft.assets.catalog import FetchedAsset, fetch_asset, find_asset, is_asset_name
from lingraft.corpora.file_kinds import FileKind, file_kind
from lingraft.corpora.named_datasets import is_dataset, rows_revision
from lingraft.corpora.reading import find_files, read_documents
from lingraft.errors import AssetError, ConfigError, TranslationError
from lingraft.files import sha256_of
from lingraft.preference.engine_apertium import ApertiumEngine
from lingraft.preference.engine_parallel import ParallelEngine
from lingraft.preference.languages import short_code
from lingraft.preference.translation import Engine, TranslationPlan
from lingraft.progress import progress_task
from lingraft.recipes.preference.translation_endpoint import EndpointEngine, EndpointOptions

UNSTATED = "not stated"
_NUMBER_MASK = "[{}]"
"""For models: numbers in brackets are common in the text they were trained on, so they copy them."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Options of engines; each takes those that it has.

    Attributes:
        source_language: ISO 639-1 code of the instruction data.
        batch_size: Sentences translated together; None is the engine's own choice.
        device: Where a model computes.
        dtype: What it computes in.
        beams: Width of its beam search; None is its own.
        max_new_tokens: Most tokens of a translation.
        source_code: The tokenizer's code of the source language, where it is not found.
        target_code: The same of the target language.
        prefix: Put before each sentence.
        tokenizer: Reference of the tokenizer, where it is not beside the model.
        licence: The engine's licence, where it does not state it itself.
        endpoint: How an endpoint is asked.
    """

    source_language: str = "en"
    batch_size: int | None = None
    device: str = "auto"
    dtype: str | None = None
    beams: int | None = None
    max_new_tokens: int = 256
    source_code: str | None = None
    target_code: str | None = None
    prefix: str = ""
    tokenizer: str | None = None
    licence: str | None = None
    endpoint: EndpointOptions = field(default_factory=EndpointOptions)


OpenedEngine = tuple[Engine, TranslationPlan]


def open_engine(reference: str, target_language: str, options: EngineOptions | None = None) -> OpenedEngine:
    """Open the engine of a name.

    Args:
        reference: `KIND:WHAT`, with a kind of `ENGINES`.
        target_language: ISO 639-1 code.
        options: The engine's options.

    Returns:
        The engine, and how texts are put to it.

    Raises:
        ConfigError: There is no such kind of engine, or it does not translate between these languages.
        LingraftError: It cannot be opened: a missing program, model, file or library.
    """
    kind, what = split_engine(reference)
    return ENGINES[kind](what, target_language, options or EngineOptions())


def split_engine(reference: str) -> tuple[str, str]:
    """Return kind and rest of an engine's name.

    Args:
        reference: `KIND:WHAT`.

    Returns:
        A kind of `ENGINES`, and what follows it.

    Raises:
        ConfigError: There is no such kind of engine, or nothing follows it.
    """
    kind, colon, what = reference.partition(":")
    if kind not in ENGINES or not colon or not what:
        close = difflib.get_close_matches(kind, ENGINES, n=1)
        raise ConfigError(
            f"--engine {reference!r}",
            "apertium:eng-spa, seq2seq:MODEL, ctranslate2:DIR, endpoint:URL#MODEL or parallel:FILE",
            f"did you mean {close[0]}:...?" if close else "name one of these",
        )
    return kind, what


def _apertium(pair: str, target_language: str, options: EngineOptions) -> OpenedEngine:
    """Open Apertium: the installed one if it has the pair, else the asset of its name."""
    match = re.fullmatch(r"([a-z]{2,3})-([a-z]{2,3})", pair)
    if match is None or (short_code(match[1]), short_code(match[2])) != (
        options.source_language,
        target_language,
    ):
        raise ConfigError(
            f"--engine apertium:{pair}",
            f"a pair from {options.source_language} to {target_language}, such as apertium:eng-spa to es",
            "correct --engine or --target-language",
        )
    command, version, licence = _installed(pair) or _catalogued(pair)
    engine = ApertiumEngine(
        command,
        name=f"apertium:{pair}",
        version=version,
        licence=options.licence or licence,
        source_language=options.source_language,
        target_language=target_language,
    )
    return engine, TranslationPlan(batch_size=options.batch_size or 500)


def _installed(pair: str) -> tuple[list[str], str, str] | None:
    """Return command, version and licence of the Apertium on the PATH, or None where it has not this pair."""
    program = shutil.which("apertium")
    if program is None or pair not in _said([program, "-l"]).split():
        return None
    packages = ["apertium", f"apertium-{pair}"]
    known = shutil.which("dpkg-query") and _said(
        ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages]
    )
    version = ", ".join((known or "").split("\n")).strip(", ") or _said([program, "-V"]).strip() or "unknown"
    return [program, "-u", pair], version, f"GPL (see the copyright file of apertium-{pair})"


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


def _catalogued(pair: str) -> tuple[list[str], str, str]:
    """Return command, version and licence of the asset that holds a pair, fetched where it is not there."""
    # One package holds both directions.
    first, _, second = pair.partition("-")
    name = next(
        (name for name in (f"apertium-{pair}", f"apertium-{second}-{first}") if is_asset_name(name)), None
    )
    if name is None:
        raise TranslationError(
            f"no apertium with the pair {pair} on the PATH",
            "Apertium and its language pair",
            f"install them: apt-get install apertium apertium-{pair} (or the pair's package of that name)",
        )
    try:
        if find_asset(name) is None:
            with progress_task(f"fetching {name}") as advance:
                fetch_asset(name, report=lambda line: advance(0, line))
        asset: FetchedAsset = fetch_asset(name)
    except AssetError as error:
        raise AssetError(
            f"no apertium with the pair {pair} on the PATH, and {error.found}", error.expected, error.remedy
        ) from error
    version = ", ".join(f"{package['name']} {package['version']}" for package in asset.packages[:2])
    return [str(asset.path / "bin" / f"apertium-{pair}")], version, asset.licence


def _seq2seq(reference: str, target_language: str, options: EngineOptions) -> OpenedEngine:
    """Open a model of transformers."""
    from lingraft.models.references import resolve_reference
    from lingraft.models.seq2seq import load_seq2seq, stated_licence
    from lingraft.preference.engine_inputs import find_marks
    from lingraft.preference.engine_seq2seq import Seq2SeqEngine

    loaded = load_seq2seq(reference, dtype=options.dtype, device=options.device, tokenizer=options.tokenizer)
    engine = Seq2SeqEngine(
        loaded.model,
        loaded.tokenizer,
        find_marks(loaded.tokenizer, **_languages(target_language, options)),
        name=f"seq2seq:{reference}",
        revision=loaded.revision,
        licence=options.licence or stated_licence(resolve_reference(reference)) or UNSTATED,
        source_language=options.source_language,
        target_language=target_language,
        beams=options.beams,
        max_new_tokens=options.max_new_tokens,
    )
    return engine, TranslationPlan(mask=_NUMBER_MASK, batch_size=options.batch_size or 16)


def _ctranslate2(reference: str, target_language: str, options: EngineOptions) -> OpenedEngine:
    """Open a model that was converted for CTranslate2."""
    from lingraft.models.devices import choose_device
    from lingraft.models.loading import load_tokenizer
    from lingraft.models.seq2seq import stated_licence
    from lingraft.preference.engine_ctranslate2 import CTranslate2Engine, open_translator
    from lingraft.preference.engine_inputs import find_marks

    directory = Path(reference)
    translator = open_translator(directory, device=choose_device(options.device).type)
    tokenizer = load_tokenizer(options.tokenizer or reference)
    engine = CTranslate2Engine(
        translator,
        tokenizer,
        find_marks(tokenizer, **_languages(target_language, options)),
        name=f"ctranslate2:{reference}",
        revision=f"sha256:{sha256_of(directory / 'model.bin')}",
        licence=options.licence or stated_licence(directory) or UNSTATED,
        source_language=options.source_language,
        target_language=target_language,
        beams=options.beams or 4,
        max_new_tokens=options.max_new_tokens,
    )
    return engine, TranslationPlan(mask=_NUMBER_MASK, batch_size=options.batch_size or 64)


def _languages(target_language: str, options: EngineOptions) -> dict[str, Any]:
    return {
        "source_language": options.source_language,
        "target_language": target_language,
        "source_code": options.source_code,
        "target_code": options.target_code,
        "prefix": options.prefix,
    }


def _endpoint(reference: str, target_language: str, options: EngineOptions) -> OpenedEngine:
    """Open an endpoint, which is given whole texts."""
    url, _, model = reference.rpartition("#")
    engine = EndpointEngine(
        url,
        model,
        licence=options.licence or UNSTATED,
        source_language=options.source_language,
        target_language=target_language,
        options=options.endpoint,
    )
    return engine, TranslationPlan(
        segment=False, batch_size=options.batch_size or 4 * options.endpoint.workers
    )


def _parallel(reference: str, target_language: str, options: EngineOptions) -> OpenedEngine:
    """Open a file of texts with their translations, looked up whole; a row may lack the translation."""
    files = find_files(reference)
    numbered = not is_dataset(reference) and all(file_kind(file) is FileKind.TSV for file in files)
    source, target = ("1", "2") if numbered else ("source", "target")
    rows = read_documents(files, text_field=source)
    pairs = ((row.text, row.meta.get(target)) for row in rows)
    engine = ParallelEngine(
        ((text, translation) for text, translation in pairs if isinstance(translation, str)),
        name=f"parallel:{reference}",
        version=" ".join(f"sha256:{rows_revision(file)}" for file in files),
        licence=options.licence or UNSTATED,
        source_language=options.source_language,
        target_language=target_language,
    )
    return engine, TranslationPlan(segment=False, protect=False, batch_size=options.batch_size or 10_000)


ENGINES: dict[str, Callable[[str, str, EngineOptions], OpenedEngine]] = {
    "apertium": _apertium,
    "seq2seq": _seq2seq,
    "ctranslate2": _ctranslate2,
    "endpoint": _endpoint,
    "parallel": _parallel,
}
"""How each kind of engine is opened."""
