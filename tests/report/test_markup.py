"""Elements escape what is not markup; a drawing in a page clashes with nothing."""

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from lsh_native.report.inline import inline
from lsh_native.report.markup import Markup, element, join


def test_elements():
    assert element("td", "a < b", class_="x") == '<td class="x">a &lt; b</td>'
    assert element("p", element("i", "&"), "<") == "<p><i>&amp;</i>&lt;</p>"
    assert element("meta", name='"', http_equiv="b") == '<meta name="&quot;" http-equiv="b">'
    assert join(("<", Markup("<br>"))) == "&lt;<br>"


characters = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co"))


@given(st.text(characters), st.text(characters))
def test_any_text_comes_back(text, value):
    root = ElementTree.fromstring(element("p", text, title=value))
    assert (root.text or "") == text
    assert root.attrib["title"] == value


SVG = """<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
     viewBox="0 0 420 200" width="420pt" height="200pt" version="1.1">
  <metadata>who</metadata>
  <defs><style>*{stroke: red}</style><clipPath id="clip"><path id="m1" d="M 0 0"/></clipPath></defs>
  <g id="figure_1" clip-path="url(#clip)">
    <use xlink:href="#m1" style="fill: #1c2127; stroke: #abcdef"/>
    <text>#1c2127 &lt;b&gt;</text>
  </g>
</svg>"""


def test_a_drawing_in_a_page():
    page = inline(SVG, prefix="a", label='"<', colours={"ink": "#1c2127"})
    root = ElementTree.fromstring(page)
    assert root.tag == "svg"
    assert root.attrib["aria-label"] == '"<'
    assert root.attrib["viewBox"] == "0 0 420 200"
    assert "height" not in root.attrib
    assert [node.attrib["id"] for node in root.iter() if "id" in node.attrib] == ["a-clip", "a-m1"]
    assert root.find("g").attrib == {"clip-path": "url(#a-clip)"}
    use = root.find("g/use")
    assert use.attrib == {"href": "#a-m1", "style": "fill: var(--ink); stroke: #abcdef"}
    assert root.find("g/text").text == "#1c2127 <b>"
    assert "http" not in page
    assert "stroke: red" not in page
    assert "who" not in page
