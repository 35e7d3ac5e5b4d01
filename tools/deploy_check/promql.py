"""Check of PromQL expressions against the metrics that the programs export: names, and labels in use.

An expression passes if each of its selectors names a metric, selects by labels of that metric, and if each
label that an operator or a function uses is one that its operand still has.
"""

from collections.abc import Iterable
from typing import Any

import promql_parser as promql

from tools.deploy_check import exported_metrics

# Labels that Prometheus adds to every series that it scrapes.
_TARGET_LABELS = frozenset({"instance", "job"})
# Aggregations whose result has the labels of its operand.
_SELECTING = ("topk", "bottomk", "limitk", "limit_ratio")


class UnknownName(ValueError):
    """Raised for an expression that can't be parsed, or that uses a metric or a label that does not exist."""


def labels_of(expression: str) -> frozenset[str]:
    """Labels that the result of an expression may have. Raises UnknownName."""
    try:
        parsed = promql.parse(expression)
    except ValueError as error:
        raise UnknownName(f"its expression can't be read: {error}") from error
    return _labels(parsed)


def labels_of_metric(name: str) -> frozenset[str]:
    """Labels of a time series. Raises UnknownName."""
    try:
        return exported_metrics.labels_by_name()[name] | _TARGET_LABELS
    except KeyError:
        raise UnknownName(f"there is no metric {name}") from None


def require_labels(used: Iterable[str], existing: frozenset[str], where: str) -> None:
    """Raise UnknownName if a label does not exist `where` it is used."""
    if unknown := sorted(set(used) - existing):
        raise UnknownName(f"{where} has no label {', '.join(unknown)}")


def _labels(node: Any) -> frozenset[str]:
    match node:
        case promql.VectorSelector():
            return _labels_of_selector(node)
        case promql.MatrixSelector():
            return _labels_of_selector(node.vector_selector)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _labels(node.expr)
        case promql.AggregateExpr():
            return _labels_of_aggregation(node)
        case promql.BinaryExpr():
            return _labels_of_operation(node)
        case promql.Call():
            return _labels_of_call(node)
        case _:
            return frozenset()


def _labels_of_selector(node: Any) -> frozenset[str]:
    if node.name is None:
        raise UnknownName("a selector names no metric")
    labels = labels_of_metric(node.name)
    alternatives = [node.matchers.matchers, *node.matchers.or_matchers]
    require_labels((matcher.name for some in alternatives for matcher in some), labels, node.name)
    return labels


def _labels_of_aggregation(node: Any) -> frozenset[str]:
    labels = _labels(node.expr)
    listed = frozenset(node.modifier.labels if node.modifier else ())
    require_labels(listed, labels, node.expr.prettify())
    if str(node.op) in _SELECTING:
        return labels
    if node.modifier and node.modifier.type == promql.AggModifierType.Without:
        return labels - listed
    return listed | {node.param.val} if str(node.op) == "count_values" else listed


def _labels_of_operation(node: Any) -> frozenset[str]:
    """Labels of a binary operation, by the rules of vector matching.

    Source: https://prometheus.io/docs/prometheus/latest/querying/operators/#vector-matching.
    """
    left, right = _labels(node.lhs), _labels(node.rhs)
    matching = node.modifier and node.modifier.matching
    matched = frozenset(matching.labels if matching else ())
    for side, labels in ((node.lhs, left), (node.rhs, right)):
        require_labels(matched, labels, side.prettify())
    grouped = frozenset((node.modifier and node.modifier.group_labels) or ())
    match node.modifier and node.modifier.card:
        case promql.VectorMatchCardinality.ManyToMany:
            return left | right if str(node.op) == "or" else left
        case promql.VectorMatchCardinality.ManyToOne:
            require_labels(grouped, right, node.rhs.prettify())
            return left | grouped
        case promql.VectorMatchCardinality.OneToMany:
            require_labels(grouped, left, node.lhs.prettify())
            return right | grouped
    if matching:
        return matched if matching.type == promql.LabelModifierType.Include else left - matched
    # Without matching labels both vectors have the same ones, or one operand is a scalar.
    return left | right


def _labels_of_call(node: Any) -> frozenset[str]:
    labels = frozenset[str]().union(*map(_labels, node.args))
    match node.func.name:
        case "label_replace" | "label_join":
            return labels | {node.args[1].val}
        case "histogram_quantile":
            require_labels({"le"}, labels, node.args[1].prettify())
            return labels - {"le"}
        case "absent" | "absent_over_time":
            return _labels_of_absence(node.args[0])
        case "scalar":
            return frozenset()
        case _:
            return labels


def _labels_of_absence(argument: Any) -> frozenset[str]:
    """Labels of `absent`: those for which its selector, if it is one, requires a value."""
    selector = getattr(argument, "vector_selector", argument)
    if not isinstance(selector, promql.VectorSelector):
        return frozenset()
    return frozenset(
        matcher.name for matcher in selector.matchers.matchers if matcher.op == promql.MatchOp.Equal
    )
