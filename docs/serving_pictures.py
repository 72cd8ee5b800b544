"""Take the pictures of docs/serving.rst: the page in a headless Chromium.

    python docs/serving_pictures.py

It fits GRankClassifier on phrases about the eye (a quarter of a minute on one core),
serves it on a free port of this machine, and writes docs/serving-page.png and
docs/serving-phone.png.
"""

import sys
import tempfile
from pathlib import Path

from skxmc import GRankClassifier
from skxmc.datasets import load_icd10cm

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from browser import browsing  # noqa: E402
from serving import serving  # noqa: E402

TEXT = "Age-related nuclear cataract of the left eye, with low-tension glaucoma"
CODES = "[...document.querySelectorAll('.row .code')].map(e => e.textContent)"


def tag(page, address):
    """Ask for labels of the text, decide on some, and have one explained."""
    page.open(address)
    page.wait("document.getElementById('about').textContent")
    page.click("#text")
    page.type(TEXT)
    page.click("#suggest")
    page.wait("document.querySelectorAll('.row').length")
    rows = {code: i for i, code in enumerate(page.run(CODES), start=1)}
    page.click(f".row:nth-child({rows['H25.12']}) .accept")
    page.click(f".row:nth-child({rows['H40.1']}) .accept")
    page.click(f".row:nth-child({rows['H25.11']}) .reject")
    page.click(f".row:nth-child({rows['H25.12']}) .name")
    page.wait("!document.getElementById('reading').hidden")
    # The line that tells what has just happened is for the moment only.
    page.run("document.getElementById('status').textContent = ''")
    page.run("document.activeElement.blur()")
    page.run("scrollTo(0, 0)")
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)


def main():
    data = load_icd10cm(chapters=[7])
    model = GRankClassifier(
        label_texts=data.label_names, label_names=data.label_codes, random_state=0
    )
    model.fit(data.texts_train, data.Y_train)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving({"eye-codes": model}, log=Path(folder, "tagged.jsonl")) as client,
        browsing() as page,
    ):
        address = f"http://127.0.0.1:{client.port}/"
        page.show_as(1120, 1150)
        tag(page, address)
        page.screenshot(DOCS / "serving-page.png")
        page.show_as(390, 860, scheme="dark", touch=True)
        tag(page, address + "?phone")
        page.screenshot(DOCS / "serving-phone.png")


if __name__ == "__main__":
    main()
