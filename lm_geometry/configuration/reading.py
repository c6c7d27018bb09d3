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


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which Snakemake uses too, with an error's place where PyYAML leaves it out."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Give a scalar that its own tag cannot read, such as 0b_ or !!int x, its place."""
        try:
            return super().construct_object(node, deep)
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
        repeated = list(_repeated_keys(node, "", Path(path).name, set()))
        config = loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        place = _place(path, text, error.position)
        raise ConfigError([f"{place}: {chr(error.character)!r}: YAML allows no such character; remove it"]) from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_parse_error(path, text, error)]) from error
    if not isinstance(config, dict):
        raise ConfigError([f"{path}: {config!r:.60}: must be keys with values, such as 'models:'"])
    return config, repeated


def _read_text(path: Path) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}: name a config file that can be read"]) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        byte = error.object[error.start]
        raise ConfigError([f"{path}:{line}: byte 0x{byte:02x}: is not UTF-8; save the file as UTF-8"]) from error


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
    content = [*text.split("\n"), ""][mark.line].strip() or "end of file"
    problem = error.problem or "does not parse"
    if error.context and error.context_mark:
        problem += f" ({error.context} that begins in line {error.context_mark.line + 1})"
    if "'\\t'" in problem:
        problem += "; indent with spaces, not tabs"
    return f"{path}:{mark.line + 1}:{mark.column + 1}: {content!r:.80}: is not YAML: {problem}"


def _place(path: Path, text: str, position: int) -> str:
    before = text[:position]
    return f"{path}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
