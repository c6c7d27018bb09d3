"""Read a config's YAML strictly: what a lax reader drops in silence is an error with its line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml


class ConfigError(ValueError):
    """A config that cannot be run.

    Parameters
    ----------
    lines : list of str
        All that is wrong, one line each, as ``key: value: fix``.
    """

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


# A config has thousands of values at most; aliases of aliases stand for billions in a few lines.
_MOST_BYTES = 1 << 24
_MOST_VALUES = 1_000_000
_MOST_DIGITS = 1000
_LONGEST_CONTENT = 80


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which Snakemake uses too, with an error's place where PyYAML leaves it out."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Give a scalar that its own tag cannot read, such as 0b_ or !!int x, its place."""
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, int) and len(node.value) > _MOST_DIGITS:
                raise ValueError("too many digits to show or to use")
            return value
        except (ValueError, KeyError, AttributeError) as error:
            problem = f"found a value that is no {node.tag.rpartition(':')[2]}; write text in quotes"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


def read_config(path: Path) -> dict[str, Any]:
    """Read a config file.

    Raises
    ------
    ConfigError
        If there is no such file, it does not parse (with line and column), is empty or no mapping, or gives a key twice
        (all such keys, with their lines).
    """
    config, repeated = parse_config(path)
    if repeated:
        raise ConfigError(repeated)
    return config


def parse_config(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Read a config file; return it with a line for each key that is given twice, whose last value stands.

    Raises
    ------
    ConfigError
        As ``read_config``, save for repeated keys.
    """
    text = _read_text(path)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise ConfigError([f"{path}: empty: give models and at least one study"])
        if (n_values := _n_values(node, {})) > _MOST_VALUES:
            raise ConfigError([f"{path}: {n_values:,} values: its aliases stand for too many; write out what is meant"])
        repeated = list(_repeated_keys(node, "", Path(path).name, set()))
        config = loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        place = _place(path, text, error.position)
        raise ConfigError([f"{place}: {chr(error.character)!r}: YAML allows no such character; remove it"]) from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_parse_error(path, text, error)]) from error
    except RecursionError as error:
        raise ConfigError([f"{path}: brackets within brackets: nested too deep; close them"]) from error
    if not isinstance(config, dict):
        raise ConfigError([f"{path}: {config!r:.60}: must be keys with values, such as 'models:'"])
    return config, repeated


def _read_text(path: Path) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ConfigError([f"{path}: over {_MOST_BYTES:,} bytes: too long for a config; name the config file"])
        return content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}: name a config file that can be read"]) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        byte = error.object[error.start]
        raise ConfigError([f"{path}:{line}: byte 0x{byte:02x}: is not UTF-8; save the file as UTF-8"]) from error


def _n_values(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for, each alias counted as what it repeats."""
    if id(node) not in known:
        known[id(node)] = 1  # an alias inside its own anchor
        items = node.value if isinstance(node, yaml.CollectionNode) else []
        below = [part for item in items for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_n_values(part, known) for part in below)
    return known[id(node)]


def _repeated_keys(node: yaml.Node, key: str, file: str, seen: set[int]) -> Iterator[str]:
    if id(node) in seen:  # an alias, whose anchor was looked at already, or which may even lie in its own anchor
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated_keys(item, f"{key}[{index}]", file, seen)
    elif isinstance(node, yaml.MappingNode):
        first_lines: dict[str, int] = {}
        for key_node, value in node.value:
            name, line = str(key_node.value), key_node.start_mark.line + 1
            full = f"{key}.{name}" if key else name
            if name in first_lines:
                yield f"{full}: given twice, in lines {first_lines[name]} and {line} of {file}: remove one"
            first_lines.setdefault(name, line)
            yield from _repeated_keys(value, full, file, seen)


def _parse_error(path: Path, text: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    content = _around([*text.split("\n"), ""][mark.line], mark.column).strip() or "end of file"
    problem = error.problem or "does not parse"
    if error.context and error.context_mark:
        problem += f" ({error.context} that begins in line {error.context_mark.line + 1})"
    if "'\\t'" in problem:
        problem += "; indent with spaces, not tabs"
    if "got '{'" in problem:
        problem += "; put a text with braces into quotes, as in ['step{0,8}']"
    return f"{path}:{mark.line + 1}:{mark.column + 1}: {content!r}: is not YAML: {problem}"


def _around(line: str, column: int) -> str:
    """Return the part of a line that a user needs to find the place in it."""
    return line if len(line) <= _LONGEST_CONTENT else line[max(0, column - _LONGEST_CONTENT // 2) :][:_LONGEST_CONTENT]


def _place(path: Path, text: str, position: int) -> str:
    before = text[:position]
    return f"{path}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
