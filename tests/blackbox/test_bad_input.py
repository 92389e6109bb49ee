"""Bad input is an ERROR, a FAIL, a note or a usage error that says so in a sentence, and stops nothing else."""

import pytest

DYNAMIC = """
def test_bad(quant_dynamic):
    assert_max_accuracy_drop(quant_dynamic, 0.5)
"""


def fixture(name, body):
    """Source of a session-scoped fixture."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return f'\n@pytest.fixture(scope="session")\ndef {name}():\n{lines}\n'


# what is wrong -> (fixtures of the folder, the sentence)
REFUSED = {
    "model is no module": (
        fixture("quant_model", "return Subject(lambda x: x, name='bad')"),
        "fixture ERROR: quant_model gave a function; expected a trained FP32 torch.nn.Module*",
    ),
    "model is a class": (
        fixture("quant_model", "return Subject(Own, name='bad')"),
        "fixture ERROR: quant_model gave a type; expected a trained FP32 torch.nn.Module*",
    ),
    "model under weight_norm": (
        fixture(
            "quant_model",
            """
with pytest.warns(FutureWarning):
    return Subject(nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 3))), name="bad")
""",
        ),
        "fixture ERROR: quant_model cannot be copied*parametrizations.weight_norm*remove_weight_norm*",
    ),
    "eval data is None": (
        fixture("quant_eval_data", "return None"),
        "fixture ERROR: quant_eval_data gave None; expected a DataLoader*",
    ),
    "eval data is empty": (
        fixture("quant_eval_data", "return []"),
        "fixture ERROR: quant_eval_data yielded nothing; accuracy needs labelled samples*",
    ),
    "eval data is a generator": (
        fixture("quant_eval_data", "return (batch for batch in batches(1))"),
        "fixture ERROR: quant_eval_data gave a generator, which can be read only once*",
    ),
    "eval data is a zip": (
        fixture("quant_eval_data", "return zip(*zip(*batches(1)))"),
        "fixture ERROR: quant_eval_data gave a zip, which can be read only once*",
    ),
    "eval data is a tensor": (
        fixture("quant_eval_data", "return torch.zeros(80, 6)"),
        "fixture ERROR: quant_eval_data gave a Tensor; expected something that yields batches*",
    ),
    "eval data raises while it is read": (
        """
class Torn(list):
    def __iter__(self):
        raise OSError("disk is gone")
"""
        + fixture("quant_eval_data", "return Torn()"),
        "fixture ERROR: quant_eval_data raised while it was read: OSError: disk is gone*",
    ),
    "batches without targets": (
        fixture("quant_eval_data", "return [x for x, _ in batches(1)]"),
        "fixture ERROR: quant_eval_data yielded a Tensor of shape ?80, 6?; expected (inputs, targets)*"
        "quant_batch*",
    ),
    "batches of three": (
        fixture("quant_eval_data", "return [(x, y, y) for x, y in batches(1)]"),
        "fixture ERROR: quant_eval_data yielded a tuple of 3; expected (inputs, targets)*",
    ),
    "a dict without labels": (
        fixture("quant_eval_data", "return [{'input': x, 'target': y} for x, y in batches(1)]"),
        "fixture ERROR: quant_eval_data yielded a dict with ?'input', 'target'?; expected (inputs*",
    ),
    "quant_batch raises": (
        fixture("quant_batch", "return lambda batch: batch['image']"),
        "fixture ERROR: quant_batch could not take a batch of quant_eval_data apart*TypeError*",
    ),
    "too few labels": (
        fixture("quant_eval_data", "return [(x, y[:79]) for x, y in batches(1)]"),
        "evaluate ERROR: quant_eval_data gave 80 inputs with 79 targets in one batch*",
    ),
    "labels that are no tensor": (
        fixture("quant_eval_data", "return [(x, y.tolist()) for x, y in batches(1)]"),
        "evaluate ERROR: metric top-1 raised: TypeError: top-1 accuracy of outputs shape ?80, 3? needs "
        "targets of shape ?80?*not list*",
    ),
    "wrong shapes": (
        fixture("quant_eval_data", "return [(x[:, :5], y) for x, y in batches(1)]"),
        "evaluate ERROR: quant_model (FP32) could not run on inputs of shape ?80, 5?: RuntimeError*"
        "Check the inputs of quant_eval_data*",
    ),
    "NaN in FP32's outputs": (
        fixture(
            "quant_model",
            """
model = classifier()
nn.init.constant_(model[2].bias, float("nan"))
return Subject(model, name="bad")
""",
        ),
        "evaluate ERROR: FP32's outputs contain NaN on quant_eval_data*",
    ),
    "NaN in one of FP32's outputs, late": (
        fixture(
            "quant_eval_data",
            """
data = batches(1)
data[-1][0][-1] = float("nan")
return data
""",
        ),
        "evaluate ERROR: FP32's outputs contain NaN on quant_eval_data*",
    ),
    "metric is a number": (
        fixture("quant_metric", "return 3"),
        "fixture ERROR: quant_metric returned 3; expected a Metric*",
    ),
    "no metric in a dict": (
        fixture("quant_metric", "return {}"),
        "fixture ERROR: quant_metric returned an empty dict*",
    ),
    "metric raises": (
        fixture("quant_metric", "return Metric(lambda outputs, targets: 1 / 0, 'share')"),
        "evaluate ERROR: metric share raised: ZeroDivisionError*",
    ),
    "metric raises on a late batch": (
        fixture("quant_eval_data", "return batches(1) + batches(3, 1, 1)")
        + fixture(
            "quant_metric",
            """
def strict(outputs, targets):
    if len(targets) < 2:
        raise ValueError("a batch of one has no variance")
    return outputs.argmax(1) == targets
return strict
""",
        ),
        "evaluate ERROR: metric strict raised: ValueError: a batch of one has no variance*",
    ),
    "metric returns NaN": (
        fixture("quant_metric", "return Metric(lambda outputs, targets: float('nan'), 'share')"),
        "evaluate ERROR: metric share returned NaN*",
    ),
    "metric returns NaN for a sample": (
        fixture(
            "quant_metric",
            """
def share(outputs, targets):
    return torch.where(targets == 1, float("nan"), 1.0)
return share
""",
        ),
        "evaluate ERROR: metric share returned NaN for a sample*",
    ),
    "metric returns a text": (
        fixture("quant_metric", "return Metric(lambda outputs, targets: 'good', 'share')"),
        "evaluate ERROR: metric share returned 'good'; expected a number, or a tensor*",
    ),
    "metric returns another shape": (
        fixture("quant_metric", "return Metric(lambda outputs, targets: outputs, 'share')"),
        "evaluate ERROR: metric share returned shape ?80, 3? for a batch of 80; expected one score*",
    ),
    "dropout in forward": (
        """
class Dropped(Own):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x))
"""
        + fixture("quant_model", "return Subject(Dropped(), name='bad')"),
        "evaluate ERROR: FP32 differs from itself*F.dropout without training=self.training*",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_subject_that_cannot_be_judged_is_an_error(model_repo, what):
    fixtures, sentence = REFUSED[what]
    model_repo.spoil(fixtures, DYNAMIC)
    result = model_repo.run()
    # at the door it is an error of the fixture, later one of the test; pytest counts both as errors
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines([f"*{sentence}", "good * dynamic * 1 PASS"])
    result.stdout.fnmatch_lines(["*quantization*", "bad * dynamic *ERROR", f"bad *: {sentence}"])
