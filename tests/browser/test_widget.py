"""The example chat page with the widget, in a real Chromium, on the real server: tap, take back, mark, go offline."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import uvicorn
from playwright.sync_api import Page, expect

from annotation.actions import counting
from annotation.models import Reaction, Response
from examples.chat.app import CANNED, Canned, Chat
from redpen_client import AsyncClient
from tests.annotation.conftest import make_desk
from tests.annotation.shop import make_key
from tests.browser.harness import NARROW, WIDE
from tests.browser.test_accessibility import violations
from tests.cast import make_cast

ROCKET = next(text for text in CANNED if "🏭" in text)


class Fixed(Canned):
    """Always the answer with an emoji in it: what stands after it has other offsets in UTF-16."""

    async def answer(self, messages):
        return ROCKET, {}


class ChatServer:
    """The example under uvicorn, on a port of its own, so that Redpen is another origin."""

    def __init__(self, redpen_url: str) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.redpen_url = redpen_url

    def start(self, project) -> None:
        self.key, _ = make_key(project)
        self.public, self.public_row = make_key(
            project, public=True, origins=[self.url], per_minute=6000, scopes=["reactions.write"]
        )
        self.client = AsyncClient(self.redpen_url, self.key, flush_interval=0.05)
        chat = Chat(self.client, self.redpen_url, self.public, Fixed())
        config = uvicorn.Config(chat.application(), log_config=None, log_level="error", lifespan="on")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()


@pytest.fixture
def chat(front, transactional_db):
    desk = make_desk(make_cast())
    one = ChatServer(front.url("").rstrip("/"))
    one.start(desk.cast.project)
    yield one
    one.stop()


@pytest.fixture
def page(browser, chat) -> Page:
    return opened(browser, chat)


def opened(browser, chat, **options) -> Page:
    page = browser.context(base_url=chat.url, **options).new_page()
    page.goto("/")
    ask(page)
    return page


def ask(page: Page) -> None:
    page.get_by_label("Your question").fill("When was it built?")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("group", name="What do you think of this answer?")).to_be_visible(timeout=20_000)


def standing() -> list[str]:
    """The reactions that count, by kind, oldest first; `shown` apart. A pass of the worker joins and settles them."""
    counting.catch_up()
    rows = Reaction.objects.filter(ended_at=None, retracts=False).exclude(kind__key="shown").select_related("kind")
    return [row.kind.key for row in rows.order_by("event_at")]


def joined() -> int:
    counting.catch_up()
    return Reaction.objects.filter(response__text=ROCKET).count()


def soon(probe, expected, seconds: float = 8) -> None:
    """The widget sends in the background."""
    deadline = time.monotonic() + seconds
    while (found := probe()) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == expected


def select(page: Page, words: str) -> None:
    """With the mouse's means: the words in the answer are the document's selection."""
    page.evaluate(
        """(words) => {
          const node = document.querySelector(".answer").firstChild;
          const at = node.data.indexOf(words);
          const range = document.createRange();
          range.setStart(node, at);
          range.setEnd(node, at + words.length);
          getSelection().removeAllRanges();
          getSelection().addRange(range);
        }""",
        words,
    )


def test_the_answer_and_that_it_was_shown_reach_redpen(page):
    soon(lambda: Response.objects.filter(text=ROCKET, model="canned").count(), 1)
    soon(lambda: [row.kind.key for row in Reaction.objects.select_related("kind")], ["shown"])
    answer, shown = Response.objects.get(text=ROCKET), Reaction.objects.get()
    assert answer.external_user == shown.external_user != ""
    soon(joined, 1)


def test_an_answer_that_nobody_scrolled_to_was_not_shown(browser, chat):
    page = browser.context(base_url=chat.url, viewport={"width": 800, "height": 300}).new_page()
    page.goto("/")
    page.evaluate("document.querySelector('#talk').before(Object.assign(document.createElement('pre'), {id: 'far'}))")
    page.evaluate("document.querySelector('#far').textContent = '\\n'.repeat(100)")
    page.get_by_label("Your question").fill("When?")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".answer")).to_have_text(ROCKET)
    page.evaluate("scrollTo(0, 0)")
    soon(lambda: Response.objects.filter(text=ROCKET).count(), 1)
    before = Reaction.objects.count()
    page.locator(".answer").scroll_into_view_if_needed()
    soon(lambda: Reaction.objects.filter(kind__key="shown").count(), 1)
    assert before == 0


def test_a_tap_counts_and_a_second_tap_takes_it_back(page):
    like = page.get_by_role("button", name="Good answer")
    like.click()
    expect(like).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("status")).to_have_text("Thank you.")
    soon(standing, ["like"])
    like.click()
    expect(like).to_have_attribute("aria-pressed", "false")
    expect(page.get_by_role("status")).to_have_text("Taken back.")
    soon(standing, [])
    assert Reaction.objects.filter(retracts=True, kind__key="like").count() == 1


def test_thumbs_down_takes_back_thumbs_up_and_love(page):
    page.get_by_role("button", name="Good answer").click()
    page.get_by_role("button", name="Love it").click()
    soon(standing, ["like", "love"])
    page.get_by_role("button", name="Bad answer").click()
    soon(standing, ["dislike"])
    pressed = page.locator("[aria-pressed=true]")
    expect(pressed).to_have_count(1)
    expect(pressed).to_have_accessible_name("Bad answer")


def test_taps_within_one_millisecond_count_in_their_order(page):
    names = ("like", "dislike", "like", "like", "love", "dislike", "like")
    page.locator(".answer + div").evaluate(
        "(host, names) => { for (const name of names) host.shadowRoot.querySelector('.' + name).click() }", names
    )
    soon(standing, ["like"])


def test_what_was_wrong_is_stored_at_its_place_in_code_points(page, screenshot):
    select(page, "colour has not changed")
    page.get_by_role("button", name="What was wrong?").click()
    expect(page.get_by_label("Which words?")).to_have_value("colour has not changed")
    expect(page.get_by_label("Why?")).to_be_focused()
    assert page.evaluate("CSS.highlights.get('redpen').size") == 1
    screenshot(page, "widget-mark-wide")
    page.keyboard.type("It has: it was red.")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("status")).to_have_text("Thank you.")
    soon(standing, ["dislike"])
    (span,) = Reaction.objects.get(kind__key="dislike").spans
    start = ROCKET.index("colour has not changed")
    assert (span["start"], span["end"]) == (start, start + len("colour has not changed"))
    assert ROCKET[span["start"] : span["end"]] == span["quote"] == "colour has not changed"
    assert (span["critique"], span.get("sentiment", -1)) == ("It has: it was red.", -1)
    expect(page.get_by_role("button", name="Bad answer")).to_have_attribute("aria-pressed", "true")


def test_words_are_selected_while_the_panel_is_open_and_a_selection_beyond_the_answer_is_cut(page):
    page.get_by_role("button", name="What was wrong?").click()
    page.locator(".answer").click(click_count=3)  # takes the paragraph, and more than it
    expect(page.get_by_label("Which words?")).to_have_value(ROCKET)
    select(page, "🏭")
    expect(page.get_by_label("Which words?")).to_have_value("🏭")
    page.get_by_role("button", name="Send").click()
    soon(standing, ["dislike"])
    (span,) = Reaction.objects.get(kind__key="dislike").spans
    assert (span["start"], span["end"]) == (ROCKET.index("🏭"), ROCKET.index("🏭") + 1)


def test_words_that_are_not_in_the_answer_are_not_sent(page):
    page.get_by_role("button", name="What was wrong?").click()
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("status")).to_contain_text("or say why")
    page.get_by_label("Which words?").fill("built in 1913")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("status")).to_contain_text("do not stand in the answer")
    page.get_by_label("Which words?").fill("")
    page.get_by_label("Why?").fill("It is too short.")
    page.get_by_role("button", name="Send").click()
    soon(standing, ["dislike"])
    row = Reaction.objects.get(kind__key="dislike")
    assert (row.text, row.spans) == ("It is too short.", None)


def test_everything_works_with_the_keyboard_alone(page):
    keys = page.keyboard
    page.get_by_label("Your question").focus()
    for _ in range(10):
        keys.press("Shift+Tab")
        if page.evaluate("document.activeElement?.shadowRoot?.activeElement?.textContent") == "What was wrong?":
            break
    keys.press("Enter")
    expect(page.get_by_label("Which words?")).to_be_focused()
    keys.type("in Vienna")
    keys.press("Tab")
    keys.type("It was Graz.")
    keys.press("Tab")
    keys.press("Enter")
    soon(standing, ["dislike"])
    (span,) = Reaction.objects.get(kind__key="dislike").spans
    assert (span["quote"], span["critique"]) == ("in Vienna", "It was Graz.")
    expect(page.get_by_role("button", name="What was wrong?")).to_be_focused()
    keys.press("Enter")
    keys.press("Escape")
    expect(page.get_by_label("Which words?")).to_be_hidden()
    keys.press("Shift+Tab")
    keys.press("Space")
    expect(page.get_by_role("button", name="Love it")).to_have_attribute("aria-pressed", "true")
    soon(standing, ["love"])


def test_taps_without_a_connection_are_kept_and_sent_when_it_is_back(page):
    soon(lambda: Reaction.objects.count(), 1)  # shown
    page.context.set_offline(True)
    page.get_by_role("button", name="Good answer").click()
    expect(page.get_by_role("status")).to_contain_text("sent later")
    page.get_by_role("button", name="Love it").click()
    page.wait_for_timeout(800)
    assert standing() == []
    page.context.set_offline(False)
    soon(standing, ["like", "love"], 2)  # at once, not when the next try is due
    expect(page.get_by_role("status")).to_have_text("Thank you.")
    soon(lambda: waiting(page), 0)


def waiting(page: Page) -> int:
    return page.evaluate("Object.keys(localStorage).filter((name) => name.startsWith('redpen:send')).length")


def test_what_could_not_be_sent_is_sent_by_the_next_page(page, chat):
    """The page's last words do not arrive either: a beacon that the browser takes may still be lost."""
    soon(lambda: Reaction.objects.count(), 1)
    context = page.context
    context.route("**/api/v1/reactions*", lambda route: route.abort())
    page.evaluate("navigator.sendBeacon = () => true")
    page.get_by_role("button", name="Good answer").click()
    page.wait_for_timeout(800)
    page.close()
    assert standing() == []
    context.unroute("**/api/v1/reactions*")
    again = context.new_page()
    again.goto("/")
    ask(again)
    soon(standing, ["like"])


def test_a_reply_that_got_lost_counts_once(page):
    lost = []

    def lose(route):
        if not lost:
            lost.append(route.fetch())
            route.abort()
        else:
            route.continue_()

    page.route("**/api/v1/reactions*", lose)
    page.get_by_role("button", name="Good answer").click()
    soon(lambda: waiting(page), 0, 15)
    assert lost
    assert standing() == ["like"]
    assert Reaction.objects.filter(kind__key="like").count() == 1


def test_the_last_tap_before_leaving_arrives(page):
    soon(lambda: Reaction.objects.count(), 1)
    page.get_by_role("button", name="Good answer").click()
    page.goto("about:blank")  # before the widget's own pause is over
    soon(standing, ["like"])


def test_an_origin_that_the_key_does_not_name_is_refused_and_the_page_goes_on(browser, chat):
    chat.public_row.origins = ["https://elsewhere.example"]
    chat.public_row.save(update_fields=["origins"])
    page = opened(browser, chat)
    page.get_by_role("button", name="Good answer").click()
    expect(page.get_by_role("status")).to_contain_text("sent later")
    assert not Reaction.objects.exists()


def test_another_answer_names_the_one_that_it_replaces(page):
    page.get_by_role("button", name="Another answer").click()
    expect(page.locator(".answer")).to_have_count(2)
    soon(lambda: Response.objects.filter(text=ROCKET).exclude(parent=None).count(), 1)
    soon(standing, ["regenerate"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "size"), [("wide", WIDE), ("narrow", NARROW)])
def test_the_chat_has_no_faults_that_axe_knows(browser, chat, screenshot, scheme, name, size):
    page = opened(browser, chat, viewport=size, color_scheme=scheme)
    page.get_by_role("button", name="Good answer").click()
    select(page, "in 1912")
    page.get_by_role("button", name="What was wrong?").click()
    page.get_by_label("Why?").fill("It was 1921.")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    screenshot(page, f"widget-{name}-{scheme}", full=True)


ATTACH = """async ([endpoint, key, options]) => {
  const { attach } = await import(`${endpoint}/static/client/redpen-widget.js`);
  const answer = document.createElement("p");
  answer.id = "own";
  answer.append(Object.assign(document.createElement("b"), { textContent: "red" }), ", blue and red");
  document.querySelector("main").prepend(answer);
  globalThis.widget = attach(answer, { endpoint, key, ...options });
}"""


@pytest.fixture
def bare(browser, chat):
    """A page of the product with an answer in Markdown; `bare(options)` attaches a widget to it."""
    page = browser.context(base_url=chat.url).new_page()
    page.goto("/")

    def attached(**options):
        page.evaluate(ATTACH, [chat.redpen_url, chat.public, {"response": "a-1", **options}])
        return page

    return attached


def test_own_words_own_kinds_no_user_and_text_that_is_shown_otherwise(bare):
    page = bare(
        kinds=["copy", "wrong"], strings={"copy": "Kopiert", "wrong": "Was war falsch?"}, text="**red**, blue and *red*"
    )
    page.get_by_role("button", name="Kopiert").click()
    soon(lambda: Reaction.objects.filter(kind__key="copy").count(), 1)
    user = page.evaluate("localStorage['redpen:user']")
    assert len(user) == 36
    assert set(Reaction.objects.values_list("external_user", flat=True)) == {user}
    page.get_by_role("button", name="Was war falsch?").click()
    page.evaluate("getSelection().setBaseAndExtent(own.lastChild, 11, own.lastChild, 14)")
    expect(page.get_by_label("Which words?")).to_have_value("red")
    page.get_by_role("button", name="Send").click()
    soon(lambda: Reaction.objects.filter(kind__key="dislike").count(), 1)
    (span,) = Reaction.objects.get(kind__key="dislike").spans
    assert (span["start"], span["end"]) == (19, 22)
    expect(page.get_by_role("button", name="Good answer")).to_have_count(0)


def test_a_page_that_comes_back_shows_what_was_tapped_and_tells_no_second_showing(bare):
    page = bare(user="u-1")
    page.get_by_role("button", name="Love it").click()
    soon(lambda: Reaction.objects.count(), 2)
    page.reload()
    bare(user="u-1")
    expect(page.get_by_role("button", name="Love it")).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(1000)
    assert Reaction.objects.count() == 2
    page.evaluate("widget.remove()")
    expect(page.get_by_role("button", name="Love it")).to_have_count(0)
