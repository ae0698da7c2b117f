"""Who is served, and which files."""

import pytest

from looksharp.studio.guarding import Guard, inside

TOKEN = "a-token"
COOKIE = f"looksharp-8123={TOKEN}"


async def served(scope, receive, send):
    """What is behind the guard."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": b"the page"})


@pytest.fixture
def asked(awaited):
    """Returns all that is sent for a request: a status, or the kind of message for a websocket; and the headers."""

    def ask(headers, query="", kind="http", host="127.0.0.1", guard=None):
        sent = []

        async def send(message):
            sent.append(message)

        scope = {
            "type": kind,
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        guard = guard or Guard(served, host, 8123, TOKEN)
        awaited(guard(scope, None, send))
        return sent[0].get("status", sent[0]["type"]), dict(sent[0].get("headers", []))

    return ask


@pytest.mark.parametrize("host", ["127.0.0.1:8123", "localhost:8123", "[::1]:8123"])
def test_the_token_opens_the_page_and_is_kept_in_a_cookie_that_no_script_reads(asked, host):
    status, headers = asked({"Host": host}, f"token={TOKEN}")
    assert status == 200
    assert headers[b"set-cookie"] == f"{COOKIE}; Path=/; HttpOnly; SameSite=Strict".encode()
    assert headers[b"referrer-policy"] == b"no-referrer"
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    status, headers = asked({"Host": host, "Cookie": f"other=1; {COOKIE}", "Origin": f"http://{host}"})
    assert status == 200
    assert b"set-cookie" not in headers


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"Host": "127.0.0.1:8123"}, ""),
        ({"Host": "127.0.0.1:8123"}, "token="),
        ({"Host": "127.0.0.1:8123"}, "token=another"),
        ({"Host": "127.0.0.1:8123", "Cookie": "looksharp-8123=another"}, ""),
        ({"Host": "127.0.0.1:8123", "Cookie": f"looksharp-9000={TOKEN}"}, ""),
        ({"Host": "evil.example:8123", "Cookie": COOKIE}, ""),  # DNS rebinding
        ({"Host": "127.0.0.1.evil.example:8123", "Cookie": COOKIE}, ""),
        ({"Host": "127.0.0.1:9000", "Cookie": COOKIE}, ""),
        ({"Host": "192.168.1.9:8123", "Cookie": COOKIE}, ""),
        ({"Host": "127.0.0.1:port", "Cookie": COOKIE}, ""),
        ({"Cookie": COOKIE}, ""),
        ({"Host": "127.0.0.1:8123", "Cookie": COOKIE, "Origin": "http://evil.example"}, ""),
        ({"Host": "127.0.0.1:8123", "Cookie": COOKIE, "Origin": "http://127.0.0.1:9000"}, ""),
        ({"Host": "127.0.0.1:8123", "Cookie": COOKIE, "Origin": "null"}, f"token={TOKEN}"),
    ],
)
def test_all_others_are_refused(asked, headers, query):
    assert asked(headers, query)[0] == 403
    assert asked(headers, query, kind="websocket")[0] == "websocket.close"


def test_the_token_that_a_browser_is_started_with_opens_the_page_once(asked):
    guard = Guard(served, "127.0.0.1", 8123, TOKEN, "once")
    headers = {"Host": "127.0.0.1:8123"}
    status, given = asked(headers, "token=once", guard=guard)
    assert status == 200
    assert given[b"set-cookie"].startswith(f"{COOKIE};".encode())
    assert asked(headers, "token=once", guard=guard)[0] == 403  # whoever reads it in the list of processes
    assert asked(headers, "token=", guard=guard)[0] == 403
    assert asked(headers | {"Cookie": COOKIE}, "token=once", guard=guard)[0] == 200  # the page is loaded again
    assert asked(headers, "token=", guard=Guard(served, "127.0.0.1", 8123, TOKEN))[0] == 403


def test_a_websocket_of_the_page_is_accepted(asked):
    headers = {"Host": "localhost:8123", "Origin": "http://localhost:8123", "Cookie": COOKIE}
    assert asked(headers, kind="websocket")[0] == "websocket.accept"


def test_where_others_are_asked_in_they_need_an_address_and_the_token(asked):
    for host in ("192.168.1.9:8123", "127.0.0.1:8123"):
        assert asked({"Host": host, "Cookie": COOKIE}, host="0.0.0.0")[0] == 200
        assert asked({"Host": host}, host="0.0.0.0")[0] == 403
    assert asked({"Host": "evil.example:8123", "Cookie": COOKIE}, host="0.0.0.0")[0] == 403


def test_paths_stay_inside_their_folder(tmp_path):
    folder = tmp_path / "report"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "a.png").write_bytes(b"a")
    (tmp_path / "secret").write_text("s")
    (folder / "link").symlink_to(tmp_path / "secret")
    assert inside(folder, "figures/a.png") == (folder / "figures" / "a.png").resolve()
    for path in (
        "../secret",
        "figures/../../secret",
        str(tmp_path / "secret"),
        "link",
        "figures",
        "b",
        "a\0b",
        "x" * 300,
    ):
        with pytest.raises(ValueError, match="there is no file"):
            inside(folder, path)
