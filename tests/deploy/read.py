"""Reads what host/deploy holds and gives it as JSON, for the tests.

    read.py yaml FILE     a template (with its `!Ref`s in the long form) or any other YAML
    read.py promql        expressions, a JSON list on standard input: which metrics and labels each names
"""

import json
import sys

import promql_parser
import yaml


class Template(yaml.SafeLoader):
    """CloudFormation's short forms, spelled out."""


def short_form(loader, tag, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if tag == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


Template.add_multi_constructor("!", short_form)


def selectors(node):
    """The series that an expression names, however deep."""
    if isinstance(node, promql_parser.MatrixSelector):
        node = node.vector_selector
    if isinstance(node, promql_parser.VectorSelector):
        yield node
        return
    for part in ("expr", "lhs", "rhs", "param"):
        if (inner := getattr(node, part, None)) is not None:
            yield from selectors(inner)
    for argument in getattr(node, "args", None) or []:
        yield from selectors(argument)


def read(expression):
    tree = promql_parser.parse(expression)
    return [
        {"metric": s.name, "labels": {m.name: m.value for m in s.matchers.matchers}} for s in selectors(tree)
    ]


if sys.argv[1] == "yaml":
    with open(sys.argv[2], encoding="utf-8") as file:
        print(json.dumps(yaml.load(file, Loader=Template)))
elif sys.argv[1] == "promql":
    print(json.dumps([read(expression) for expression in json.load(sys.stdin)]))
else:
    sys.exit(f"{sys.argv[1]}: expected yaml or promql")
