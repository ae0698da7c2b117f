"""A page of the studio from another package."""

HELLO = """
from nicegui import html

from looksharp.studio.layout import put
from looksharp.studio.page import PAGES, Page


async def hello(workspace):
    put(html.p, f"Hello, {workspace.title}.")


PAGES.add("hello", Page("Hello", hello))
"""


def test_another_package_adds_a_page(plugin):
    python = plugin(HELLO)
    code = "from looksharp.studio.page import pages; print(*pages())"
    assert python("-c", code).split()[-1] == "hello"
