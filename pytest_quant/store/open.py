"""Open: a store that builds and measures, for the plugin, and for a script without pytest.

store = open_store(Conditions())
static = store.variant(Subject(model, eval_data=..., calibration_data=...), Recipe("static"))
"""

from functools import partial

from pytest_quant.machine.conditions import Conditions
from pytest_quant.measure.accuracy import evaluate
from pytest_quant.measure.int8_share import measure_int8_share
from pytest_quant.measure.latency import channels_last_speedup, make_pair
from pytest_quant.measure.prefix import prefix_of
from pytest_quant.measure.size import measure_size
from pytest_quant.quantize.build import build
from pytest_quant.quantize.methods.registry import facts_of
from pytest_quant.quantize.saved.variant_file import save
from pytest_quant.runtimes.export import export
from pytest_quant.store.cache.cache import Cache
from pytest_quant.store.spread.spread import Spread
from pytest_quant.store.store import Store
from pytest_quant.variant.evaluation import Evaluation
from pytest_quant.variant.measurements import Measures
from pytest_quant.variant.variant import Variant


def open_store(
    conditions: Conditions, cache: Cache | None = None, spread: Spread | None = None
) -> Store:
    """A store with our quantization flows and measurements.

    Args:
        conditions: under which all is built and measured.
        cache: of what an earlier run built and evaluated.
        spread: processes on which variants are evaluated.
    """
    return Store(conditions, build, measures_under(conditions, cache, spread), cache)


def measures_under(
    conditions: Conditions, cache: Cache | None = None, spread: Spread | None = None
) -> Measures:
    """Our measurements under these conditions."""

    def measured(variant: Variant) -> Evaluation:
        return evaluate(variant, conditions, spread)

    return Measures(
        evaluate=measured if cache is None else partial(cache.evaluate, measured),
        size=measure_size,
        int8_share=measure_int8_share,
        pair=lambda variant, baseline, cell: make_pair(
            variant, baseline, conditions, cell, None if cache is None else cache.rounds
        ),
        format_gain=channels_last_speedup,
        prefix=lambda variant: prefix_of(variant, conditions),
        save=save,
        export=export,
        facts=facts_of,
        conditions=conditions,
        **({} if cache is None else {"kept": cache.drawer}),
    )
