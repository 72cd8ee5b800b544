"""How an explanation looks: repr, HTML and bars."""

import html
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inspection_examples import tick_texts
from matplotlib.colors import same_color
from numpy.testing import assert_allclose

from skxmc._words import WORD
from skxmc.inspection import Explanation

pytest_plugins = ["inspection_fixtures"]
pytestmark = pytest.mark.usefixtures("no_figures")

# How an explanation looks


def an_explanation(text="red fox, red dog", weights=(1.0, -2.0, 0.5, 0.0), label="x"):
    spans = [match.span() for match in re.finditer(WORD, text)]
    return Explanation(
        text=text,
        label=label,
        probability=0.25,
        spans=spans,
        weights=np.array(weights, float),
    )


class Text(HTMLParser):
    """The text of a page, and the styles and titles of its spans."""

    def __init__(self, page):
        super().__init__()
        self.text, self.spans = "", []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        assert tag in ("div", "p", "b", "span")
        if tag == "span":
            self.spans.append(dict(attrs))

    def handle_data(self, data):
        self.text += data


def test_repr():
    assert repr(an_explanation()) == (
        "x (0.250): fox -2.00, red +1.00, red +0.50, dog +0.00"
    )
    many = an_explanation(" ".join("abcdefg"), [1, 2, -3, 4, 5, 6, -7], label=12)
    assert repr(many) == "12 (0.250): g -7.00, f +6.00, e +5.00, d +4.00, c -3.00"


def test_html_marks_words():
    page = Text(an_explanation()._repr_html_())
    assert page.text == "x (0.250)red fox, red dog"
    assert [span["title"] for span in page.spans] == [
        "+1.00",
        "-2.00",
        "+0.50",
        "+0.00",
    ]
    colours = [span["style"].removeprefix("background-color:") for span in page.spans]
    assert colours == [
        *("rgba(31,119,180,0.35)", "rgba(214,39,40,0.70)", "rgba(31,119,180,0.17)"),
        "rgba(214,39,40,0.00)",  # not to be seen
    ]


@pytest.mark.parametrize("label", ["a<b>", "&amp;", '"x"', "</div><script>", 3, None])
def test_html_is_escaped(label):
    text = '<script>alert("x & y")</script> &lt; a<b'
    page = an_explanation(text, range(8), label)._repr_html_()
    assert "<script" not in page
    assert Text(page).text == f"{label} (0.250){text}"
    without_tags = re.sub(r"<[^>]*>", "", page)
    assert html.unescape(without_tags) == f"{label} (0.250){text}"


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=40), label=st.text(max_size=10), seed=st.integers(0, 99))
def test_html_keeps_the_text_whole(text, label, seed):
    n_words = len(re.findall(WORD, text))
    weights = np.random.default_rng(seed).normal(size=n_words)
    page = an_explanation(text, weights, label)._repr_html_()
    assert html.unescape(re.sub(r"<[^>]*>", "", page)) == f"{label} (0.250){text}"
    assert page.count("<span") == n_words


def test_html_without_weights():
    page = an_explanation(weights=[0, 0, 0, 0])._repr_html_()
    assert page.count(",0.00)") == 4 and "nan" not in page


@pytest.mark.parametrize("n_words", [1, 3, 4, 10])
def test_bars_of_words(n_words):
    explanation = an_explanation(weights=[1, -2, 0.5, 0.1])
    assert explanation.plot(n_words=n_words) is explanation
    ax = explanation.ax_
    shown = {1: [1], 3: [0, 1, 2]}.get(n_words, [0, 1, 2, 3])
    assert [bar.get_width() for bar in ax.patches] == [
        explanation.weights[i] for i in shown
    ]
    assert tick_texts(ax.yaxis) == [explanation.words[i] for i in shown]
    middles = [bar.get_y() + bar.get_height() / 2 for bar in ax.patches]
    assert_allclose(middles, range(len(shown)))
    assert ax.yaxis_inverted()  # the first word at the top
    for bar in ax.patches:
        assert same_color(bar.get_facecolor(), "C0" if bar.get_width() > 0 else "C3")
    assert ax.get_title() == "x (0.250)"


def test_ten_words_are_drawn_and_ties_go_to_the_first():
    text = " ".join(f"w{i}" for i in range(14))
    weights = np.ones(14)
    weights[[3, 12]] = -2
    ax = an_explanation(text, weights, label="y" * 40).plot().ax_
    expected = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12]
    assert tick_texts(ax.yaxis) == [f"w{i}" for i in expected]
    assert ax.get_title() == "y" * 27 + "... (0.250)"


def test_two_explanations_on_one_picture(ax):
    for _ in range(2):
        an_explanation().plot(ax)
    assert ax.yaxis_inverted()
