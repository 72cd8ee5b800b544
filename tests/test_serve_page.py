"""The page in a browser: paste, click, highlight, accept, add, export; keys; phones."""

import json
import re

import pytest
from browser import CHROMIUM, browsing
from serving import serving

from skxmc.datasets import load_table
from skxmc.inspection import explain

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
TOKEN = "a-token-of-32-characters-or-more"
LISTED = "document.querySelectorAll('#ranking .row').length"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def client(colour_classifier, folder):
    models = {"colours": colour_classifier, "again": colour_classifier}
    with serving(models, log=folder / "log.jsonl") as client:
        yield client


@pytest.fixture(scope="module")
def browser(folder):
    with browsing(folder) as page:
        yield page


@pytest.fixture
def page(browser, client):
    browser.show_as(1200)
    open_page(browser, client)
    yield browser
    assert browser.errors == []


def open_page(page, client, path="/"):
    page.open(f"http://127.0.0.1:{client.port}{path}")
    page.wait("document.getElementById('about').textContent")


def suggest(page, text):
    page.click("#text")
    page.type(text)
    page.click("#suggest")
    page.wait(LISTED)


def texts_of(page, selector):
    return page.run(
        f"[...document.querySelectorAll({json.dumps(selector)})]"
        ".map(e => e.textContent.trim())"
    )


def status(page):
    return page.run("document.getElementById('status').textContent")


def pressed(page, selector):
    return page.run(f"document.querySelector('{selector}').ariaPressed")


def test_paste_click_highlight_accept_add_export(
    page, client, colours, colour_classifier, folder
):
    text = f"😀 {colours[0][0]}"
    suggest(page, text)
    names, scores = colour_classifier.predict_topk([text], 10, return_names=True)
    assert texts_of(page, ".row .title") == names[0].tolist()
    assert page.run(LISTED) == 10
    shown = [float(p.strip("<% ")) for p in texts_of(page, ".percent")]
    assert shown == pytest.approx(100 * scores[0], abs=0.51)
    assert names[0][0] in status(page)

    # A click on a label marks the words behind it, where explain finds them.
    page.click(".row:nth-child(2) .name")
    page.wait("!document.getElementById('reading').hidden")
    explanation = explain(colour_classifier, text, names[0][1])
    largest = abs(explanation.weights).max()
    marked = [
        word
        for word, weight in zip(explanation.words, explanation.weights, strict=True)
        if abs(weight) >= max(0.1 * largest, 0.005)
    ]
    assert texts_of(page, "#reading mark") == marked != []
    assert page.run("document.getElementById('reading').textContent") == text
    assert pressed(page, ".row:nth-child(2) .name") == "true"
    page.click("#edit")
    assert page.run("document.activeElement.id") == "text"
    assert page.run("document.getElementById('text').value") == text

    page.click(".row:nth-child(1) .accept")
    page.click(".row:nth-child(2) .accept")
    page.click(".row:nth-child(3) .reject")
    page.click(".row:nth-child(2) .reject")  # a change of mind
    assert pressed(page, ".row:nth-child(2) .accept") == "false"
    assert texts_of(page, ".chip span") == [names[0][0]]

    other = next(n for n in colours[2] if n not in names[0][:3])
    page.click("#search")
    page.type(other[:3])
    page.wait("document.querySelectorAll('[role=option]').length")
    assert other in texts_of(page, "[role=group]:first-child [role=option]")
    by_meaning = texts_of(page, "[role=group]:last-child [role=option]")
    assert by_meaning and not set(by_meaning) & set(
        texts_of(page, "[role=group]:first-child [role=option]")
    )
    page.run(
        "[...document.querySelectorAll('[role=option]')]"
        f".find(e => e.textContent === {json.dumps(other)})"
        ".dispatchEvent(new MouseEvent('mousedown', {bubbles: true, cancelable: true}))"
    )
    assert texts_of(page, ".chip span") == [names[0][0], other]

    page.click("#export")
    file = folder / "tagged.jsonl"
    page.wait("document.getElementById('status').textContent.includes('exported')")
    wait_for_file(page, file)
    row = json.loads(file.read_text())
    assert row["text"] == text and row["labels"] == [names[0][0], other]
    assert row["rejected"] == [names[0][2], names[0][1]]
    # It is a table that skxmc train reads.
    data = load_table(file)
    assert data.texts == [text] and data.label_names == sorted([names[0][0], other])

    page.click("#save")
    page.wait("document.getElementById('save').textContent === 'Saved'")
    line = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    assert {key: line[key] for key in row} == row


def wait_for_file(page, file):
    for _ in range(500):
        if file.exists() and file.stat().st_size:
            return
        page.run("new Promise(done => setTimeout(done, 20))")
    raise AssertionError(f"no {file}")


def test_with_the_keyboard_alone(page, colours, folder):
    focused = "document.activeElement.id || document.activeElement.className"

    def tab_to(selector):
        for _ in range(60):
            page.press("Tab")
            if page.run(f"document.activeElement.matches('{selector}')"):
                # What has the focus can be seen, and shows it.
                assert page.run(
                    "(() => { const r = document.activeElement.getBoundingClientRect();"
                    "return r.width > 0 && r.bottom > 0 && r.top < innerHeight; })()"
                )
                outline = "getComputedStyle(document.activeElement).outlineStyle"
                assert page.run(outline) != "none"
                return
        raise AssertionError(f"Tab does not lead to {selector}")

    tab_to("#text")
    page.type(colours[0][1])
    page.press("Enter", control=True)
    page.wait(LISTED)
    assert page.run(focused) == "text"  # the focus stays
    tab_to(".row .name")
    page.press("ArrowDown")
    assert page.run("document.activeElement.matches('.row:nth-child(2) .name')")
    page.press("a")
    assert page.run("document.activeElement.matches('.row:nth-child(2) .name')")
    assert pressed(page, ".row:nth-child(2) .accept") == "true"
    page.press("ArrowUp")
    page.press("r")
    assert pressed(page, ".row:nth-child(1) .reject") == "true"
    page.press("Enter")
    page.wait("!document.getElementById('reading').hidden")
    assert page.run("document.activeElement.matches('.row:nth-child(1) .name')")
    page.press("Tab")
    assert page.run("document.activeElement.matches('.row:nth-child(1) .accept')")
    page.press(" ")
    assert pressed(page, ".row:nth-child(1) .accept") == "true"
    assert page.run("document.activeElement.matches('.row:nth-child(1) .accept')")

    tab_to("#search")
    page.type(colours[2][0])
    page.wait("document.querySelectorAll('[role=option]').length")
    page.press("ArrowDown")
    active = page.run(
        "document.getElementById("
        "document.activeElement.getAttribute('aria-activedescendant')).textContent"
    )
    assert active == colours[2][0]
    page.press("Escape")
    assert page.run("document.getElementById('found').hidden")
    page.type(" ")
    page.wait("document.querySelectorAll('[role=option]').length")
    n_chosen = len(texts_of(page, ".chip"))
    page.press("Enter")
    assert page.run(focused) == "search"
    accepted = texts_of(page, ".chip span")
    assert colours[2][0] in accepted and len(accepted) >= n_chosen
    page.press("Tab")  # the first of the labels that were chosen
    page.press("Enter")
    assert texts_of(page, ".chip span") == accepted[1:]
    tab_to("#save")
    page.press("Enter")
    page.wait("document.getElementById('save').textContent === 'Saved'")
    line = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    assert line["labels"] == accepted[1:] and line["text"] == colours[0][1]


@pytest.mark.parametrize("path", ["/", "/docs"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1200])
def test_nothing_is_too_wide_pale_or_small(page, client, path, scheme, width):
    page.show_as(width, 844, scheme=scheme, touch=width < 400)
    open_page(page, client, path)
    if path == "/":
        suggest(page, f"red fox {'x' * 200} cat")
        page.click(".row:nth-child(1) .accept")
        page.click(".row:nth-child(3) .reject")
        page.click(".row:nth-child(2) .name")
        page.wait("!document.getElementById('reading').hidden")
        page.click("#search")
        page.type("r")
        page.wait("document.querySelectorAll('[role=option]').length")
        page.press("ArrowDown")
    else:
        page.wait("document.querySelectorAll('.card').length > 5")
    size = "[document.documentElement.scrollWidth, innerWidth]"
    found, wanted = page.run(size)
    assert found <= wanted == width
    dark = page.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", dark))) < 3 * 60) == (scheme == "dark")
    assert page.run(PALE) == []
    if width < 400:
        assert page.run(SMALL) == []


# Texts whose contrast with what is behind them is below WCAG's AA, 4.5.
PALE = """(() => {
  const parse = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const found = parse(getComputedStyle(e).backgroundColor);
      if (found.length < 4 || found[3] === 1) return found;
    }
  };
  const pale = [];
  for (const e of document.body.querySelectorAll('*')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || !e.checkVisibility({checkVisibilityCSS: true}) || e.disabled) continue;
    if (['SCRIPT', 'NOSCRIPT', 'TEMPLATE'].includes(e.tagName)) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < 4.5) pale.push([e.outerHTML.slice(0, 80), contrast]);
  }
  return pale;
})()"""
# Buttons that are too small for a finger. Links in a line of text may be smaller.
SMALL = """[...document.querySelectorAll('button:not(.link)')]
  .filter(e => e.checkVisibility())
  .map(e => [e.outerHTML.slice(0, 60), e.offsetWidth, e.offsetHeight])
  .filter(([, width, height]) => width < 44 || height < 44)"""


def test_everything_has_a_name_for_screen_readers(page):
    suggest(page, "red fox cat")
    page.click(".row:nth-child(1) .accept")
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    page.click(".row:nth-child(2) .name")  # the field gives way to marked words
    page.wait("!document.getElementById('reading').hidden")
    nodes += page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {}
    for node in nodes:
        if not node["ignored"]:
            name = node.get("name", {}).get("value", "")
            roles.setdefault(node["role"]["value"], []).append(name)
    for role in ("button", "textbox", "combobox", "region", "heading", "list", "link"):
        assert roles[role] and all(roles[role]), (role, roles[role])
    for name in ("Accept", "Reject"):
        assert sum(each.startswith(name) for each in roles["button"]) == 20
    assert roles["status"] and page.run("document.documentElement.lang") == "en"
    live = "document.getElementById('status').getAttribute('aria-live')"
    assert page.run(live) == "polite" and status(page).startswith("Words that speak")


FILES = {
    "one.txt": ("red\nfox ", [("red\nfox", [])]),
    "some.csv": (
        '\ufeffid,text,labels\r\n1,"red, ""the"" fox\nruns",red|fox\r\n2,cat,\r\n',
        [('red, "the" fox\nruns', ["red", "fox"]), ("cat", [])],
    ),
    "semicolons.csv": ("text;labels\nred, fox;fox\n", [("red, fox", ["fox"])]),
    "some.tsv": (
        'text\tlabels\nred\t["fox", "cat"]\ncat\t',
        [("red", ["fox", "cat"]), ("cat", [])],
    ),
    "some.jsonl": (
        '{"text": "red \\ud83d\\ude00", "labels": ["fox"]}\n\n{"text": "", "x": 1}\n',
        [("red 😀", ["fox"]), ("", [])],
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_files_are_opened(page, tmp_path, name):
    content, documents = FILES[name]
    path = tmp_path / name
    path.write_bytes(content.encode())
    page.choose_file("#file", path)
    for i, (text, labels) in enumerate(documents):
        if len(documents) > 1:
            place = f"{i + 1} of {len(documents)}"
            page.wait(f"document.getElementById('position').textContent === '{place}'")
        if text:
            page.wait(LISTED)  # suggestions come by themselves
        assert page.run("document.getElementById('text').value") == text
        assert texts_of(page, ".chip span") == labels
        if i + 1 < len(documents):
            page.click("#next")
    if len(documents) > 1:
        page.click("#previous")
        assert texts_of(page, ".chip span") == documents[-2][1]
    page.click("#export")  # nothing is left for the next test to lose


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", b"body,labels\nx,y\n", 'no column "text"; there are body, labels'),
        ("a.csv", b"text,labels\nx\n", "row 1 has 1 cells, and the header 2"),
        ("a.csv", b'text\n"x', "a quote is not closed"),
        ("a.csv", b"text\n", "holds no texts"),
        ("a.txt", b"\xff\xfe", "is not UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{', "line 2 is not valid JSON"),
        ("a.jsonl", b'{"text": 1}', 'line 1 has no field "text"'),
        ("a.jsonl", b"null", 'line 1 has no field "text"'),
        ("a.pdf", b"x", "only .txt, .csv, .tsv and .jsonl"),
    ],
)
def test_files_that_cannot_be_read_are_told(page, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    page.choose_file("#file", tmp_path / name)
    page.wait("document.getElementById('status').className === 'error'")
    assert message in status(page)


def test_a_file_can_be_dropped(page, folder):
    page.run(
        "(() => { const data = new DataTransfer();"
        "data.items.add(new File(['text\\nred fox\\n'], 'dropped.csv'));"
        "for (const kind of ['dragover', 'drop']) document.body.dispatchEvent("
        "new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));"
        "})()"
    )
    page.wait(LISTED)
    assert page.run("document.getElementById('text').value") == "red fox"


def test_saving_leads_through_a_file(page, folder, tmp_path):
    (tmp_path / "two.jsonl").write_text('{"text": "red one"}\n{"text": "fox two"}\n')
    before = len((folder / "log.jsonl").read_text().splitlines())
    page.choose_file("#file", tmp_path / "two.jsonl")
    page.wait(LISTED)
    for text in ("red one", "fox two"):
        page.wait(f"document.getElementById('text').value === '{text}' && {LISTED}")
        page.click(".row:nth-child(1) .accept")
        page.click("#save")
    page.wait("document.getElementById('save').textContent === 'Saved'")
    lines = (folder / "log.jsonl").read_text().splitlines()[before:]
    assert [json.loads(line)["text"] for line in lines] == ["red one", "fox two"]
    # Another text may follow; those before it stay.
    page.click("#new")
    assert page.run("document.activeElement.id") == "text"
    assert texts_of(page, "#position") == ["3 of 3"]
    assert texts_of(page, ".chip span") == [] and page.run(LISTED) == 0


def test_what_users_give_is_never_html(page, tmp_path):
    evil = "<img src=x onerror=window.hacked=1><b>red</b> fox"
    rows = json.dumps({"text": evil, "labels": ["<img src=x onerror=window.hacked=1>"]})
    (tmp_path / "<b>.jsonl").write_text(rows)
    page.choose_file("#file", tmp_path / "<b>.jsonl")
    page.wait(LISTED)
    page.click(".row:nth-child(1) .name")
    page.wait("!document.getElementById('reading').hidden")
    assert page.run("document.getElementById('reading').textContent") == evil
    assert texts_of(page, ".chip span") == ["<img src=x onerror=window.hacked=1>"]
    assert page.run("document.querySelectorAll('img, #reading b').length") == 0
    assert page.run("window.hacked") is None
    page.click("#export")


def test_leaving_with_unsaved_tags_asks(page, client):
    suggest(page, "red fox")
    page.click(".row:nth-child(1) .accept")
    before = len(page.dialogs)
    open_page(page, client, "/?again")
    assert page.dialogs[before:] == ["beforeunload"]
    open_page(page, client)
    assert page.dialogs[before:] == ["beforeunload"]


def test_answers_to_an_older_text_are_dropped(page):
    suggest(page, "red fox")
    page.click("#text")
    page.type(" cat")
    # Rankings belong to the text that was read.
    assert page.run(LISTED) == 0


def test_errors_are_shown(page):
    page.click("#suggest")
    assert status(page) == "Paste a text first."
    page.run("document.getElementById('text').value = 'x'.repeat(100001)")
    page.run("document.getElementById('text').dispatchEvent(new Event('input'))")
    page.click("#suggest")
    page.wait("document.getElementById('status').className === 'error'")
    assert "100001 characters" in status(page)


def test_another_model_can_be_chosen(page):
    assert texts_of(page, "#model option") == ["colours", "again"]
    page.run("document.getElementById('model').value = 'again'")
    page.run("document.getElementById('model').dispatchEvent(new Event('change'))")
    page.wait("document.getElementById('about').textContent.startsWith('again:')")


def test_the_page_asks_for_the_token(browser, colour_classifier):
    browser.show_as(1200)
    with serving({"colours": colour_classifier}, token=TOKEN) as client:
        browser.open(f"http://127.0.0.1:{client.port}/")
        browser.wait("document.getElementById('ask').open")
        for token, is_right in [("wrong-token", False), (TOKEN, True)]:
            assert browser.run("document.activeElement.id") == "token"
            browser.type(token)
            browser.press("Enter")
            shown = "document.getElementById('about').textContent"
            if is_right:
                browser.wait(shown)
            else:
                browser.wait("document.getElementById('ask').open")
        assert not browser.run("document.getElementById('ask').open")
        suggest(browser, "red fox")
        # Without a log there is nothing to save to, and labels are exported.
        assert browser.run("document.getElementById('save').hidden")
        # The token may come with the link, and does not stay in the address.
        browser.open(f"http://127.0.0.1:{client.port}/docs")
        browser.open(f"http://127.0.0.1:{client.port}/#token={TOKEN}")
        browser.wait("document.getElementById('about')?.textContent.includes(':')")
        assert TOKEN not in browser.run("location.href")
    assert browser.errors == []
