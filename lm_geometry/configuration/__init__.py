"""The config: read strictly, checked whole before any job starts, documented from its schema. Runs nothing."""

from lm_geometry.configuration.checking import check_config, find_errors, load_config
from lm_geometry.configuration.reading import ConfigError, read_config
from lm_geometry.configuration.schema import with_defaults

__all__ = ["ConfigError", "check_config", "find_errors", "load_config", "read_config", "with_defaults"]
