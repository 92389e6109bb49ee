"""Stored: what a saved baseline holds of a variant, and whether the two can be compared at all."""

from dataclasses import dataclass

from pytest_quant.baseline.baseline import Baseline, BaselineError, differences, load
from pytest_quant.baseline.misfits import WEIGHTS
from pytest_quant.baseline.packing import fingerprint_of, unpack_samples
from pytest_quant.baseline.row import MetricScore, Row
from pytest_quant.baseline.version import VERSION, same_digests
from pytest_quant.errors import QuantStageError, hidden
from pytest_quant.judge import recorder
from pytest_quant.machine.environment import environment
from pytest_quant.subject.metrics import Metric
from pytest_quant.variant.key import key_of
from pytest_quant.variant.variant import Variant

GATE = "no_regression"


@dataclass(frozen=True, slots=True)
class Stored:
    """What a baseline holds of a variant, beside the variant."""

    variant: Variant
    baseline: Baseline
    row: Row

    @property
    def name(self) -> str:
        """For a person: ``baseline main``."""
        return f"baseline {self.baseline.name}"

    def differences(self) -> list[str]:
        """What differs between the machine and software of then and of now."""
        recipe = self.variant.recipe
        then, now = dict(self.baseline.environment), environment(self.variant.conditions)
        then["engine"] = (self.row.recipe or then).get("engine")
        now["engine"] = now["engine"] if recipe is None else recipe.engine
        return differences(then, now)

    def changes(self) -> list[str]:
        """What differs in FP32's weights, recipe, machine and software."""
        now = self.variant.recipe
        recipes = (self.row.recipe or {}, {} if now is None else now.to_dict())
        return [
            *([WEIGHTS] if self.has_other_weights else []),
            *differences(*recipes, dict.fromkeys([*recipes[0], *recipes[1]]), "default"),
            *self.differences(),
        ]

    @property
    def has_other_weights(self) -> bool | None:
        """Whether FP32's weights are others now; None where that is not known."""
        digests = self.row.fp32_digest, self.variant.fp32.measured("digest")
        return None if None in digests else digests[0] != digests[1]

    @property
    def fp32_row(self) -> Row | None:
        """What the baseline holds of this variant's FP32."""
        return self.baseline.row(key_of(self.variant.fp32))


def stored_in(variant: Variant, name: str) -> Stored:
    """What the baseline of a name holds of a variant.

    Raises:
        QuantStageError: when there is no such baseline, it is damaged, or lacks the variant.
    """
    __tracebackhide__ = hidden
    try:
        baseline = load(name, recorder.current().baselines)
    except BaselineError as error:
        raise QuantStageError("baseline", str(error)) from None
    key = key_of(variant)
    row = baseline.row(key)
    if row is None:
        there = ", ".join(row.key.named() for row in baseline.rows) or "nothing"
        if baseline.version == 1 and (key.model_ids or key.variant_ids):
            there += ", and an earlier version saved it, which did not tell parameters apart"
        raise QuantStageError(
            "baseline",
            f"baseline {name} holds no {key.named()}; it holds "
            f"{there}. Save it again by --quant-save={name} in a run that measures this variant.",
        )
    note = (
        f"baseline {name} was saved by an earlier version: it holds no digest of FP32's weights, so a "
        "changed checkpoint cannot be told"
    )
    if baseline.version == 1 and note not in variant.fp32.notes:
        variant.fp32.notes.append(note)
    return Stored(variant, baseline, row)


def known_metric(stored: Stored, metric: Metric) -> MetricScore:
    """The baseline's numbers of a metric.

    Raises:
        QuantStageError: when it has none, or of another unit or direction.
    """
    known = {each.name: each for each in stored.row.metrics}
    if metric.name not in known:
        raise unusable(stored, f"it has no metric {metric.name}, but {', '.join(known)}")
    found = known[metric.name]
    if (found.unit, found.higher_is_better) != (metric.unit, metric.higher_is_better):
        raise unusable(stored, f"its metric {metric.name} has another unit or direction")
    if not found.is_whole or found.value is None:
        raise unusable(stored, f"its {metric.name} was not measured on the whole eval set")
    return found


def refuse_other_samples(stored: Stored) -> None:
    """Raise QuantStageError when the baseline was measured on another eval set."""
    own, then = stored.variant.evaluation, stored.row.eval_set
    if then is None:
        raise unusable(stored, "it does not say on which samples it was measured")
    if not same_digests(stored.baseline.version, VERSION):
        raise unusable(
            stored,
            "an earlier version saved it, which told samples apart by other digests, so nobody knows "
            "whether it was measured on these",
        )
    fingerprint = fingerprint_of(own.samples)
    if fingerprint == then.fingerprint:
        return
    shared = ""
    if packed := stored.baseline.eval_sets.get(then.fingerprint):
        now = {bytes.fromhex(sample[:16].decode()) for sample in own.samples.tolist()}
        shared = f"; {len(now.intersection(unpack_samples(packed)))} are in both"
    raise QuantStageError(
        "evaluate",
        f"quant_eval_data is not what {stored.name} was measured on: {len(own)} samples now "
        f"(fingerprint {fingerprint}), {then.samples} then ({then.fingerprint}){shared}. Give it "
        f"the same samples, or save the baseline again by --quant-save={stored.baseline.name}.",
    )


def unusable(stored: Stored, reason: str) -> QuantStageError:
    """The error of a baseline that says nothing of a variant."""
    return QuantStageError(
        "baseline",
        f"{stored.name} cannot be compared with {stored.variant.name}: {reason}. Save it again by "
        f"--quant-save={stored.baseline.name}.",
    )
