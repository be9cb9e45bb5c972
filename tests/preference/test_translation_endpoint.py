"""The endpoint engine against a real server on this machine that speaks OpenAI's format, and misbehaves."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lingraft.errors import TranslationError
from lingraft.preference.translation import PartialTranslationError
from lingraft.recipes.preference.translation_endpoint import EndpointEngine, EndpointOptions


class Server:
    """A chat completions endpoint; `script` says what happens to each request, by its number from 0."""

    def __init__(self, script=None):
        self.script = script or (lambda number, text: text.upper())
        self.requests, self.running, self.most = [], 0, 0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                text = body["messages"][-1]["content"]
                with lock:
                    number = len(outer.requests)
                    outer.requests.append((self.path, dict(self.headers), body))
                    outer.running += 1
                    outer.most = max(outer.most, outer.running)
                answer = outer.script(number, text)
                with lock:
                    outer.running -= 1
                if answer is None:
                    self.connection.close()
                    return
                status, headers, content = answer if isinstance(answer, tuple) else (200, {}, answer)
                if isinstance(content, str):
                    content = completion(content)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


def completion(text, reason="stop"):
    message = {"role": "assistant", "content": text}
    return json.dumps({"choices": [{"message": message, "finish_reason": reason}]}).encode()


def refusal(status, message, **headers):
    return status, headers, json.dumps({"error": {"message": message}}).encode()


@contextlib.contextmanager
def serving(script=None):
    server = Server(script)
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join()
        server.http.server_close()


def engine_of(server, **options):
    given = {"pause": 0.01, "workers": 1, "timeout": 5, "attempts": 3} | options
    return EndpointEngine(
        server.url,
        "babel-1",
        licence="",
        source_language="en",
        target_language="sw",
        options=EndpointOptions(**given),
    )


def test_what_is_asked_and_what_comes_back(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret\n")
    with serving() as server:
        engine = engine_of(server, key_variable="MY_KEY")
        assert engine.translate(["A dog.", "größe 日本"]) == ["A DOG.", "GRÖSSE 日本"]
        path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer sk-secret"
    assert body["model"] == "babel-1" and body["temperature"] == 0
    assert "from English to Swahili" in body["messages"][0]["content"]
    assert "secret" not in engine.version + engine.name


def test_no_key_no_header(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving() as server:
        engine_of(server).translate(["A dog."])
        assert "Authorization" not in server.requests[0][1]


def test_several_requests_at_a_time_and_answers_in_order():
    def script(number, text):
        time.sleep(0.2 if number == 0 else 0.1)
        return text.upper()

    with serving(script) as server:
        texts = [f"text {letter}" for letter in "abcdefgh"]
        assert engine_of(server, workers=4).translate(texts) == [text.upper() for text in texts]
        assert 1 < server.most <= 4


@pytest.mark.parametrize(
    "trouble",
    [
        refusal(500, "try later"),
        refusal(429, "slow down", **{"Retry-After": "0"}),
        (200, {}, b"{not json"),
        (200, {}, b'{"choices": []}'),
        (200, {}, b"[1]"),
        None,
    ],
)
def test_trouble_that_passes(trouble):
    with serving(lambda number, text: trouble if number < 2 else text.upper()) as server:
        assert engine_of(server).translate(["A dog."]) == ["A DOG."]
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("trouble", "said", "requests"),
    [
        (refusal(503, "over\nloaded"), "HTTP 503: over loaded, 3 times", 3),
        (refusal(400, "no such model"), "HTTP 400: no such model", 1),
        (refusal(401, "bad key"), "HTTP 401: bad key.*environment variable OPENAI_API_KEY", 1),
        ((302, {"Location": "http://127.0.0.1:9/steal"}, b""), "HTTP 302", 1),
        ((200, {}, b"<html>"), "an answer that is no chat completion, 3 times", 3),
        (None, "no answer .*3 times", 3),
    ],
)
def test_trouble_that_does_not(trouble, said, requests):
    with serving(lambda number, text: trouble) as server:
        with pytest.raises(TranslationError, match=said) as caught:
            engine_of(server).translate(["A dog."])
        assert len(server.requests) == requests and "\n" not in str(caught.value)


def test_it_waits_as_long_as_it_is_told_to():
    with serving(
        lambda number, text: refusal(429, "", **{"Retry-After": "1"}) if not number else text
    ) as server:
        started = time.monotonic()
        engine_of(server).translate(["A dog."])
        assert 0.9 < time.monotonic() - started < 4


def test_a_server_that_hangs():
    release = threading.Event()
    with serving(lambda number, text: release.wait(5) and None) as server:
        with pytest.raises(TranslationError, match=r"no answer .*timed out"):
            engine_of(server, timeout=0.2, attempts=1).translate(["A dog."])
        release.set()


@pytest.mark.parametrize("workers", [1, 3])
def test_what_was_done_before_it_died_is_handed_over(workers):
    def script(number, text):
        return text.upper() if number < 5 else refusal(400, "out of credit")

    with serving(script) as server:
        texts = [f"text {number}" for number in range(20)]
        with pytest.raises(PartialTranslationError, match="out of credit") as caught:
            engine_of(server, workers=workers).translate(texts)
        # Nothing is asked any more once one was refused, but for what was under way.
        assert 5 < len(server.requests) <= 5 + workers
    assert len(caught.value.done) == 5
    assert all(answer == text.upper() for text, answer in caught.value.done.items())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (completion("cut of", "length"), ""),
        (completion("", "content_filter"), ""),
        (completion(None), ""),
        (completion("<think>hm\nhm</think>\n mbwa "), "mbwa"),
    ],
)
def test_answers_that_are_no_translation(answer, expected):
    with serving(lambda number, text: (200, {}, answer)) as server:
        assert engine_of(server).translate(["A dog."]) == [expected]
