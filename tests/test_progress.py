import io

import pytest

from lingraft.progress import progress_enabled, progress_shown, progress_task, track


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A function that puts a terminal in the place of stderr; pytest's own capture comes after fixtures."""

    def put():
        stream = Terminal()
        monkeypatch.setattr("sys.stderr", stream)
        return stream

    return put


def test_items_pass_unchanged_and_nothing_is_read_ahead():
    read = []

    def numbers():
        for number in range(5):
            read.append(number)
            yield number

    for item in track(numbers(), description="counting"):
        assert read[-1] == item


def test_quiet_where_nobody_watches(monkeypatch, capsys):
    with progress_enabled(None):
        assert list(track([1, 2], description="x")) == [1, 2]
    assert capsys.readouterr() == ("", "")


def test_drawn_on_stderr_only(terminal, capsys):
    stream = terminal()
    with progress_enabled(None):
        assert progress_shown()
        assert list(track(range(7), description="Größe [x]")) == list(range(7))
    assert "Größe [x]" in stream.getvalue()
    assert "7/7" in stream.getvalue()
    assert capsys.readouterr().out == ""


def test_disabled_beats_a_terminal(terminal):
    stream = terminal()
    with progress_enabled(False):
        list(track(range(7), description="x"))
    assert stream.getvalue() == ""


def test_forced_without_a_terminal(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with progress_enabled(True):
        list(track(range(3), description="forced"))
    assert "forced" in stream.getvalue()


def test_loops_nest_and_may_be_left_early(terminal):
    stream = terminal()
    with progress_enabled(True):
        for outer in track(range(3), description="outer"):
            for inner in track(range(100), description=f"inner {outer}"):
                if inner == 2:
                    break
        with progress_task("steps", 10) as advance:
            advance(4, description="later steps")
    assert "outer" in stream.getvalue()
    assert "later steps" in stream.getvalue()
    from lingraft.progress import _display

    assert _display._bars is None
    assert _display._open_tasks == 0


def test_an_error_closes_the_bar(terminal):
    terminal()
    with progress_enabled(True), pytest.raises(ZeroDivisionError):
        for _ in track(range(3), description="x"):
            raise ZeroDivisionError
    from lingraft.progress import _display

    assert _display._bars is None
