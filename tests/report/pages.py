"""The page of a report, parsed."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "source", "br"}  # elements without an end tag


class Page(HTMLParser):
    """Tags in order, tables as rows of cells, and whether every tag is closed by its own kind.

    Attributes:
        tags: name and attributes of every start tag, in order.
        tables: per table, the texts of its cells, row by row.
        stack: open tags; empty once the whole page is read, if it is well-formed.
    """

    def __init__(self, text):
        super().__init__()
        self.text = text
        self.tags = []
        self.tables = []
        self.stack = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.stack):
            self.tables[-1][-1][-1] += data

    def all(self, tag):
        """The attributes of every tag of this name."""
        return [attrs for name, attrs in self.tags if name == tag]
