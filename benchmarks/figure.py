"""One measured figure beside its goal."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A measured value and the most it should be; ``goal`` None means that it is only recorded."""

    name: str
    value: float
    unit: str
    goal: float | None

    @property
    def holds(self) -> bool | None:
        """Return whether the goal is met, None where there is none."""
        return None if self.goal is None else self.value <= self.goal

    def line(self) -> str:
        """Return the figure as one line: name, value, unit, goal, verdict."""
        verdict = {True: "holds", False: "DOES NOT HOLD", None: "-"}[self.holds]
        goal = "-" if self.goal is None else f"<= {self.goal:g}"
        return f"{self.name:<40} {self.value:>10.2f} {self.unit:<8} {goal:>10}  {verdict}"

    def record(self) -> dict[str, Any]:
        """Return the figure as JSON holds it."""
        return {**asdict(self), "holds": self.holds}
