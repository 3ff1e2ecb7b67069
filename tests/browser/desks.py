"""What the browser tests of the desk start from, and what they do on it."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.annotation.conftest import Desk, make_desk
from tests.cast import make_cast

LAMP = "The lamp 👩‍👩‍👧‍👦 shines at night. مرحبا بك يا صديقي. It was built in 1066, by a king 🇩🇪."
OTHERS = ("Nobody knows who built it.", "It was built in 1850.")


def make_tasks(*texts: str, pairs: bool = False) -> Desk:
    """The small cast, a furnished project, and a task for each answer, or for each pair of neighbours."""
    from annotation.actions.people import Author
    from annotation.actions.tasks import create_tasks

    desk = make_desk(make_cast(), texts=texts or (LAMP, *OTHERS))
    asked = {"pairs": list(zip(desk.answers, desk.answers[1:], strict=False))} if pairs else {"responses": desk.answers}
    create_tasks(author=Author.person(desk.cast.ada), campaign=desk.campaign, **asked)
    return desk


def open_label(browser, desk: Desk, user=None, **options) -> Page:
    page = browser.signed_in(user or desk.cast.ben, f"/p/{desk.cast.project.slug}/label/", **options)
    expect(page.locator("#answer")).to_be_focused()
    return page


def saved(page: Page) -> None:
    """Wait until everything has arrived."""
    expect(page.locator("#status")).to_have_text("All saved")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def select(page: Page, words: int, *, after: int = 0) -> None:
    """From the beginning: `after` words on, then `words` words selected."""
    press(page, "Control+Home", *["ArrowRight"] * after, *["Shift+ArrowRight"] * words)


def drag(page: Page, start: int, end: int) -> None:
    """Drag with the mouse over the answer from one UTF-16 unit of its text to another."""
    places = page.evaluate(
        """([start, end]) => {
          const walker = document.createTreeWalker(document.getElementById("answer"), NodeFilter.SHOW_TEXT);
          const nodes = []; while (walker.nextNode()) nodes.push(walker.currentNode);
          return [start, end].map((unit) => {
            let left = unit, node = nodes[0];
            for (node of nodes) { if (left <= node.length) break; left -= node.length; }
            const range = document.createRange(); range.setStart(node, left); range.setEnd(node, left);
            const rect = range.getBoundingClientRect();
            return [rect.left, rect.top + rect.height / 2];
          });
        }""",
        [start, end],
    )
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=4)
    page.mouse.up()
    page.wait_for_timeout(60)


def selected(page: Page) -> str:
    return page.evaluate("getSelection().toString()")


def live_marks() -> list:
    from annotation.models import SpanCritique

    return list(SpanCritique.objects.filter(ended_at=None).order_by("start", "end"))
