import pickle

import pytest

from lingraft import errors
from lingraft.errors import LingraftError, MissingExtraError

FAMILY = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, LingraftError) and value is not MissingExtraError
]


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_message_says_what_was_found_expected_and_what_to_do(kind):
    error = kind("3 rows in größe.txt", "4 rows", "add one")
    assert str(error) == "3 rows in größe.txt; expected 4 rows; add one"
    assert (error.found, error.expected, error.remedy) == ("3 rows in größe.txt", "4 rows", "add one")


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_errors_cross_process_boundaries(kind):
    error = pickle.loads(pickle.dumps(kind("a", "b", "c")))
    assert type(error) is kind
    assert str(error) == "a; expected b; c"


def test_missing_extra_gives_the_exact_install_command():
    error = MissingExtraError("gensim", "fasttext", "training token vectors")
    assert 'pip install "lingraft[fasttext]"' in str(error)
    assert "gensim" in error.found
    assert "training token vectors" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.extra) == (MissingExtraError, str(error), "fasttext")


def test_each_kind_is_caught_as_the_family():
    for kind in [*FAMILY, MissingExtraError]:
        with pytest.raises(LingraftError):
            raise kind("a", "b", "c")
