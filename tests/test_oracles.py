"""The packages that results are compared with: that they are there, and that the stand-in is enough for them."""

import numpy as np
import pytest
import torch


def test_sparsemax(oracle):
    weights = oracle("entmax").sparsemax(torch.tensor([[1.0, 0.9, -1.0]]))
    assert weights.tolist()[0] == pytest.approx([0.55, 0.45, 0.0])


def test_matching_pursuit(oracle):
    points = torch.eye(6)
    indices, coefficients = oracle("mergekit.tokensurgeon.omp").batch_omp(
        2 * points[:2] + points[3], points, 2
    )
    assert sorted(indices[0].tolist()) == [0, 3]
    assert sorted(coefficients[0].tolist()) == pytest.approx([1.0, 2.0])


def test_wechsel(oracle):
    wechsel = oracle("wechsel")
    assert oracle("wechsel") is wechsel
    assert wechsel.softmax(np.zeros(4)) == pytest.approx([0.25] * 4)
    assert callable(wechsel.create_target_embeddings)


def test_deepfocus(oracle):
    focus = oracle("deepfocus.focus")
    assert callable(focus.focus_additional_token_initialization)
    one = np.array([[1.0, 0.0]], dtype="float32")
    assert focus.fastdist.cosine_matrix_to_matrix(one, one) == pytest.approx(np.ones((1, 1)))


def test_nnsight_leaves_tensors_their_backward(nnsight):
    assert nnsight.__version__
    assert torch.Tensor.backward.__code__.co_filename == torch._tensor.__file__
