"""The initialisers by name: the one place where a method is registered."""

import importlib

from lingraft.errors import ConfigError
from lingraft.vocabulary.donor_maps import clp, omp, sava
from lingraft.vocabulary.draws import mean, multivariate, random
from lingraft.vocabulary.fused import fused_plain
from lingraft.vocabulary.lexical import lexicon, subword_mean, wechsel
from lingraft.vocabulary.problem import Initializer
from lingraft.vocabulary.salt import focus, salt, salt_safe
from lingraft.vocabulary.unigram import shifted

INITIALIZERS: dict[str, Initializer] = {
    "salt": salt,
    "salt-safe": salt_safe,
    "focus": focus,
    "wechsel": wechsel,
    "clp": clp,
    "sava": sava,
    "omp": omp,
    "subword-mean": subword_mean,
    "multivariate": multivariate,
    "lexicon": lexicon,
    "fused": shifted(fused_plain),
    "fused-plain": fused_plain,
    "random": random,
    "mean": mean,
}
"""Every method by the name that `--method` takes."""

SHIFT_SUFFIX = "+unigram"

COPIES_NO_OVERLAP = frozenset({"wechsel"})
"""Methods whose paper initialises shared tokens too, special tokens excepted."""


def find_initializer(name: str) -> Initializer:
    """The initialiser of that name, or a third party's given as `module:function`.

    `NAME+unigram` is any method with its new rows shifted to the corpus's unigram frequencies, as `fused` shifts them:
    what a comparison needs to tell the two apart.

    Args:
        name: A key of `INITIALIZERS`, or `module:function`.

    Returns:
        The initialiser.

    Raises:
        ConfigError: No such method, module or function.
    """
    if name in INITIALIZERS:
        return INITIALIZERS[name]
    if name.endswith(SHIFT_SUFFIX):
        return shifted(find_initializer(name.removesuffix(SHIFT_SUFFIX)))
    if ":" in name:
        module_name, _, function_name = name.partition(":")
        try:
            found = getattr(importlib.import_module(module_name), function_name)
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            raise ConfigError(
                f"method {name!r}: {error}", "module:function that can be imported", "check the name"
            ) from error
        if callable(found):
            return found  # type: ignore[no-any-return]
    raise ConfigError(
        f"method {name!r}", f"one of {', '.join(INITIALIZERS)}, auto, or module:function", "name one of them"
    )
