"""The documentation site: pages of `docs/` and pages made from the code, built with Sphinx.

`make docs` builds it. `sources` collects every page in one folder, `__main__` runs Sphinx on it:

    handwritten   pages of the repository, their links turned into links of the site
    methods       a page for each method, from its class
    families      a page for each family of models, from the registry
    reference     a page for each public name, whose text is its docstring
    contents      the table of contents

What has been measured is read from the tables of `docs/` (`measured`, `support`), never written
down a second time.
"""
