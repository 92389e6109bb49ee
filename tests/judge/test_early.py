"""Early stopping: where it must not be used."""

from builders import batches, toy_variant
from torch.utils.data import TensorDataset

from pytest_quant.judge.early import decide_early
from pytest_quant.subject.metrics import Metric


def test_a_perplexitys_limit_is_no_mean_of_scores_so_the_whole_set_decides():
    inputs, targets = batches(samples=2000, seed=3, size=2000)[0]
    data = TensorDataset(inputs, targets)

    def nll(outputs, targets):
        return (outputs.argmax(1) != targets).float()  # within [0, 1], as a good model's is

    metrics = {
        unit: Metric(nll, "nll", higher_is_better=False, unit=unit)
        for unit in ("perplexity", "raw")
    }
    for unit, applies in (("perplexity", False), ("raw", True)):
        variant = toy_variant(eval_data=data, metric=metrics[unit])
        assert (decide_early(variant, metrics[unit], 0.5, False) is not None) is applies
