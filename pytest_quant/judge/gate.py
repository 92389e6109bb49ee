"""Gate: a limit, and how a variant is judged by it; ours and a repo's own have one form."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.judge.limits import LIMITS, checked
from pytest_quant.judge.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from pytest_quant.variant.variant import Variant


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate of a repo's own, as `pytest_quant_gates` returns it; `assert_gates` judges by it.

    Its Verdict is in the table, in report.json, in baselines and in the answer like any other.

    Args:
        name: of its limit, as `assert_gates` and ``@pytest.mark.quant`` take it; one that begins
            with ``max_`` or ``min_`` is shown with its direction.
        limit: the value that holds where neither call nor marker states one; None for none, so that
            the gate judges only where a limit is stated.
        judge: callable(variant, limit) -> Verdict; make it by `Verdict.on`.
        unit: of limit and observed value, as the table shows them.
        cause: callable(variant, verdict) -> lines for the failure of its test: why, and what to do.

    Raises:
        TypeError, ValueError: at construction, naming what was given.
    """

    name: str
    limit: float | None
    judge: Callable[["Variant", float], Verdict]
    unit: str = field(default="", kw_only=True)
    cause: Callable[["Variant", Verdict], str] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise TypeError(
                f"Gate: name is {self.name!r}; expected one that can be a keyword, as max_peak_mb"
            )
        if self.name in LIMITS:
            raise ValueError(f"Gate: {self.name} is a name of ours; choose another")
        if not callable(self.judge):
            raise TypeError(
                f"Gate {self.name}: judge is {self.judge!r}; expected a callable(variant, limit) -> "
                "Verdict"
            )
        if self.limit is not None:
            checked(self.name, self.limit, (self.name,))

    def verdict(self, variant: "Variant", limit: float) -> Verdict:
        """What the repo's own judge says.

        Raises:
            QuantStageError: it raised, or returned something else than a Verdict, or one whose outcome is
                none, or that holds what JSON has not.
        """
        try:
            verdict = self.judge(variant, limit)
        except QuantStageError:
            raise
        except Exception as error:
            raise QuantStageError(
                "judge", f"gate {self.name} raised for {variant.name}: {in_brief(error)}"
            ) from error
        if not isinstance(verdict, Verdict):
            raise QuantStageError(
                "judge",
                f"gate {self.name} returned {verdict!r}; expected a Verdict, as Verdict.on(variant, "
                f"{self.name!r}, quantity, outcome, sentence, limit=limit, observed=...) makes it",
            )
        unit = {"unit": self.unit} if self.unit else {}
        try:
            told = _as_ours(verdict)
        except (TypeError, ValueError) as error:
            raise QuantStageError("judge", f"gate {self.name} returned a Verdict {error}") from None
        return replace(told, gate=self.name, evidence={**told.evidence, **unit})


def _as_ours(verdict: Verdict) -> Verdict:
    """A verdict whose outcome decides, and which is made of plain JSON types, as those of ours are.

    Raises:
        TypeError, ValueError: for what cannot be meant; says what, after "a Verdict".
    """
    if not isinstance(verdict.outcome, str) or verdict.outcome not in [*Outcome]:
        allowed = ", ".join(f"Outcome.{each.name}" for each in Outcome)
        raise ValueError(f"with outcome={verdict.outcome!r}; allowed: {allowed}")
    observed = verdict.observed
    return replace(
        verdict,
        outcome=Outcome(verdict.outcome),
        limit=_number("limit", verdict.limit),
        observed=None if observed is None else _number("observed", observed),
        evidence=_plain("evidence", verdict.evidence),
    )


def _number(name: str, value: Any) -> float:
    plain = _plain(name, value)
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise TypeError(f"with {name}={value!r}; expected a number")
    return float(plain)


def _plain(name: str, value: Any) -> Any:
    """A value as JSON has it: arrays and their scalars as lists and numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(f"{name}[{key!r}]", each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(name, each) for each in value]
    if callable(listed := getattr(value, "tolist", None)):
        return _plain(name, listed())
    for kind in (bool, str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if value is None:
        return None
    raise TypeError(f"with {name}={value!r}, a {type(value).__name__}; expected plain JSON types")


def own_gates(given: Iterable[object]) -> dict[str, Gate]:
    """A repo's own gates by name, of what its hooks returned; of one name the first, which is nearest.

    Raises:
        TypeError: for something else than lists of Gates.
    """
    found: dict[str, Gate] = {}
    for gates in given:
        if not isinstance(gates, list | tuple) or not all(isinstance(g, Gate) for g in gates):
            raise TypeError(f"pytest_quant_gates returned {gates!r}; expected a list of Gate")
        for gate in gates:
            found.setdefault(gate.name, gate)
    return found
