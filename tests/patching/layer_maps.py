"""Small maps made by hand."""

import numpy as np

from lingraft.patching.maps import Answers, LayerMaps


def make_maps(
    correct,
    *,
    labels=None,
    margin=None,
    entropy=None,
    score=None,
    languages=None,
    layers=None,
    site="ffn",
    known=None,
):
    correct = np.array(correct, dtype=bool)
    count, pairs = correct.shape
    layers = layers or [(donor, 0) for donor in range(pairs)]

    def filled(values):
        return np.zeros((count, pairs), np.float32) if values is None else np.array(values, np.float32)

    return LayerMaps(
        site=site,
        donor=0,
        instances=tuple(f"i{number}" for number in range(count)),
        languages=tuple(languages or ["de"] * count),
        donor_layers=np.array([pair[0] for pair in layers]),
        receiver_layers=np.array([pair[1] for pair in layers]),
        label=np.array(correct if labels is None else labels, dtype=np.int64),
        score=filled(score),
        margin=filled(margin),
        entropy=filled(entropy),
        correct=correct,
        known=np.ones(count, dtype=bool) if known is None else np.array(known, dtype=bool),
    )


def make_answers(correct, *, labels=None, languages=None, known=None):
    correct = np.array(correct, dtype=bool)
    return Answers(
        tuple(f"i{number}" for number in range(len(correct))),
        tuple(languages or ["de"] * len(correct)),
        np.array(correct if labels is None else labels, dtype=np.int64),
        correct,
        np.ones(len(correct), dtype=bool) if known is None else np.array(known, dtype=bool),
    )
