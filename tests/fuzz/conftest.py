"""How many examples a property gets: few, the same in every run; or as many new ones as LM_GEOMETRY_FUZZ_EXAMPLES says.

The latter is `make fuzz`. What hypothesis keeps lies outside the checkout; a failure prints the line that repeats it.
"""

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

EXAMPLES = os.environ.get("LM_GEOMETRY_FUZZ_EXAMPLES")

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / f"lm-geometry-hypothesis-{os.getuid()}")
UNHURRIED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("ci", max_examples=100, derandomize=True, database=None, **UNHURRIED)
settings.register_profile("long", max_examples=int(EXAMPLES or 20_000), database=None, print_blob=True, **UNHURRIED)
settings.load_profile("long" if EXAMPLES else "ci")
