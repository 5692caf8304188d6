"""What is woven into a template's syntax tree: marks of its lines, counted loop turns, bounded joining of texts."""

from __future__ import annotations

from typing import cast

from jinja2 import TemplateSyntaxError, nodes
from jinja2.visitor import NodeTransformer

from specforge.kernel.lines import mark, mark_text


class Instrument(NodeTransformer):
    """Marks template text with its lines, counts loop turns, and keeps marks out of expressions."""

    def __init__(self, short: str, name: str | None, filename: str | None) -> None:
        self._short, self._name, self._filename = short, name, filename

    def visit_Output(self, node: nodes.Output) -> nodes.Output:
        """Put marks before every piece that is written; a bare name or call is written with the marks it brings."""
        written: list[nodes.Expr] = []
        for child in node.nodes:
            if isinstance(child, nodes.TemplateData):
                written.append(
                    nodes.TemplateData(mark_text(child.data, self._short, child.lineno), lineno=child.lineno)
                )
                continue
            written.append(nodes.TemplateData(mark(self._short, child.lineno), lineno=child.lineno))
            bare = isinstance(child, nodes.Name | nodes.Getattr | nodes.Call)
            written.append(cast(nodes.Expr, self.generic_visit(child) if bare else self.visit(child)))
        node.nodes = written
        return node

    def visit_Name(self, node: nodes.Name) -> nodes.Expr:
        """Keep marks out of expressions."""
        return _filter(node, "plain") if node.ctx == "load" else node

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Expr:
        """Keep marks out of expressions."""
        self.generic_visit(node)
        return _filter(node, "plain")

    def visit_Call(self, node: nodes.Call) -> nodes.Expr:
        """Keep marks out of expressions."""
        self.generic_visit(node)
        return _filter(node, "plain")

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.CallBlock:
        """Leave the call itself as it is: jinja compiles it in a way of its own."""
        self.generic_visit(node.call)
        node.body = [self.visit(child) for child in node.body]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:
        """`a ~ b` becomes `+`, which is bounded."""
        parts: list[nodes.Expr] = [_filter(self.visit(part), "string") for part in node.nodes]
        joined = parts[0]
        for part in parts[1:]:
            joined = nodes.Add(joined, part, lineno=node.lineno)
        return joined

    def visit_For(self, node: nodes.For) -> nodes.For:
        """Count the turns, each weighed by the text that it writes."""
        if node.recursive:
            raise TemplateSyntaxError(
                "recursive loops are not part of kernel templates", node.lineno, self._name, self._filename
            )
        weight = sum(len(text.data) for text in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        node.iter = _filter(cast(nodes.Expr, node.iter), "counted", nodes.Const(weight, lineno=node.lineno))
        return node


def _filter(node: nodes.Expr, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)
