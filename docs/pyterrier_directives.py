"""The directives of PyTerrier's documentation that pt_docs uses, for our own build of these pages.

PyTerrier renders them with extensions that are not in its wheel. This is a simpler rendering:

* ``how-to``: a section with the question as its title;
* ``schematic``: a drawing of the pipeline on the last line of the code;
* ``cite`` and ``cite.dblp``: an admonition with the citation, a link and the BibTeX entry;
* ``related``: a "see also" box;
* ``code-block``: ``# :footnote: …`` becomes a numbered note below the code.
"""

from __future__ import annotations

import ast
import re
from typing import Any, ClassVar

import pyterrier as pt
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.directives.code import CodeBlock
from sphinx.util.docutils import SphinxDirective

_FOOTNOTE = re.compile(r"# :footnote: (.+)")


class HowTo(SphinxDirective):
    """A section. Its argument is the title."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        section = nodes.section()
        titles, messages = self.parse_inline(self.arguments[0])
        section += nodes.title(self.arguments[0], "", *titles)
        section["names"].append(nodes.fully_normalize_name(self.arguments[0]))
        self.state.document.note_implicit_target(section, section)
        section += self.parse_content_to_nodes(allow_section_headings=True)
        return [section, *messages]


class Schematic(SphinxDirective):
    """The drawing of a pipeline. A local model takes the place of one on the hub, so nothing is downloaded."""

    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"input_columns": directives.unchanged, "show_code": directives.flag}

    def run(self) -> list[nodes.Node]:
        code = "\n".join(self.content)
        columns = self.options.get("input_columns")
        pipeline = self._last_value(code)
        drawing = pt.schematic.draw(pipeline, input_columns=columns and re.split(r",\s*", columns))
        shown: list[nodes.Node] = [nodes.raw("", drawing, format="html")]
        if "show_code" in self.options:
            visible = code.partition("# FOLD\n")[2] or code
            shown.insert(0, nodes.literal_block(visible, visible, language="python"))
        return shown

    def _last_value(self, code: str) -> Any:
        for name, folder in self.config.schematic_models.items():
            code = code.replace(repr(name).replace("'", '"'), repr(str(folder)))
        *statements, pipeline = ast.parse(code).body
        names: dict[str, Any] = {"pt": pt}
        exec(compile(ast.Module(statements, []), "schematic", "exec"), names)
        assert isinstance(pipeline, ast.Expr), "a schematic must end with a pipeline"
        return eval(compile(ast.Expression(pipeline.value), "schematic", "eval"), names)


class Cite(SphinxDirective):
    """A citation. Its identifier is the argument, its BibTeX entry the content."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"citation": directives.unchanged, "link": directives.uri}

    def run(self) -> list[nodes.Node]:
        link = self.options.get("link") or self.link()
        box = nodes.admonition("", nodes.title("", "Citation"), classes=["note"])
        box += nodes.paragraph(
            "", self.options.get("citation", self.arguments[0]) + " ", nodes.reference("", link, refuri=link)
        )
        if self.content:
            box += nodes.literal_block("\n".join(self.content), "\n".join(self.content), language="bibtex")
        return [box]

    def link(self) -> str:
        """Returns the address of the publication, for citations without the option ``link``."""
        raise self.error("cite needs the option :link:")


class CiteDblp(Cite):
    """A citation by its key in DBLP, which is not contacted."""

    has_content = False

    def link(self) -> str:
        return f"https://dblp.org/rec/{self.arguments[0]}"


class Related(SphinxDirective):
    """A "see also" box. PyTerrier's own documentation also adds a link in the other direction."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(f".. seealso:: :py:obj:`~{self.arguments[0]}`")


class CodeBlock_(CodeBlock):
    """Code with footnotes in its comments."""

    def run(self) -> list[nodes.Node]:
        notes: list[str] = []

        def number(match: re.Match[str]) -> str:
            notes.append(match[1])
            return f"# [{len(notes)}]"

        self.content = StringList([_FOOTNOTE.sub(number, line) for line in self.content], self.content.source(0))
        shown = super().run()
        if notes:
            listed = "\n".join(f"{place}. {note}" for place, note in enumerate(notes, start=1))
            shown += self.parse_text_to_nodes(listed)
        return shown


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directives."""
    app.add_config_value("schematic_models", {}, "env", dict)
    app.add_directive("how-to", HowTo)
    app.add_directive("schematic", Schematic)
    app.add_directive("cite", Cite)
    app.add_directive("cite.dblp", CiteDblp)
    app.add_directive("related", Related)
    app.add_directive("code-block", CodeBlock_, override=True)
    pt.documentation.url_for_class = lambda stage: None  # it would look up PyTerrier's own classes online
    return {"parallel_read_safe": True, "parallel_write_safe": True}
