"""How the tests read SVG: attributes of elements, whatever their order."""

import re


def elements_of(svg, tag):
    """The attributes of each element of this tag, as dicts of strings, in order."""
    found = re.findall(rf"<{tag}((?:\s[^<>]*)?)>", svg)
    return [dict(re.findall(r'([\w-]+)="([^"]*)"', text)) for text in found]


def numbers_of(svg, tag, *names):
    """For each element of this tag, these attributes as numbers."""
    return [tuple(float(each[name]) for name in names) for each in elements_of(svg, tag)]
