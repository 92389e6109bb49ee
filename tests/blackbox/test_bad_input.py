"""Bad input is an ERROR, a FAIL, a note or a usage error, says so in a sentence and stops nothing else."""

import pytest
import torch

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
    "model in TorchScript": (
        fixture(
            "quant_model",
            """
import warnings
with warnings.catch_warnings(action="ignore"):
    return Subject(torch.jit.script(classifier()), name="bad")
""",
        ),
        "fixture ERROR: quant_model gave a TorchScript model (RecursiveScriptModule)*that was scripted*",
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
        "evaluate ERROR: FP32's outputs contain NaN on quant_eval_data*The inputs hold NaN there: sample * "
        "of batch *. Clean the data*",
    ),
    "an infinity in two samples": (
        fixture(
            "quant_eval_data",
            """
data = batches(1)
data[0][0][2:4, 0] = float("inf")
data[0][0][2:4, 1] = -float("inf")
return data
""",
        )
        + fixture(
            "quant_model",
            "return Subject(nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 3)).eval(), name='bad')",
        ),
        "evaluate ERROR: FP32's outputs contain NaN*the inputs of sample 3 and 1 more of batch 1.*",
    ),
    "columns in place of batches": (
        fixture("quant_eval_data", "return torch.randn(80, 6), torch.zeros(80).long()"),
        "fixture ERROR: quant_eval_data gave a tuple of a Tensor of shape ?80, 6? and a Tensor of shape "
        "?80?, which are columns; *TensorDataset*",
    ),
    "columns of NumPy": (
        fixture("quant_eval_data", "return [np.zeros((80, 6), 'f'), np.zeros(80, 'l')]"),
        "fixture ERROR: quant_eval_data gave a list of a ndarray of shape ?80, 6? and*which are columns*",
    ),
    "metric is a class": (
        fixture(
            "quant_metric",
            """
class Hits:
    def update(self, outputs, targets): ...
    def compute(self): ...
    def reset(self): ...
return Hits
""",
        ),
        "fixture ERROR: quant_metric returned the class Hits; expected an object of it, as Hits(...)*",
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
        "evaluate ERROR: metric share returned NaN for a batch of *update, compute and reset*",
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
    "metric object raises on a late batch": (
        """
class Strict:
    def reset(self):
        self.hits = self.total = 0

    def update(self, outputs, targets):
        if len(targets) < 2:
            raise ValueError("a batch of one has no variance")
        self.hits += int((outputs.argmax(1) == targets).sum())
        self.total += len(targets)

    def compute(self):
        return self.hits / self.total
"""
        + fixture("quant_eval_data", "return batches(1) + batches(3, 1, 1)")
        + fixture("quant_metric", "return Strict()"),
        "evaluate ERROR: metric Strict raised: ValueError: a batch of one has no variance*",
    ),
    "metric object cannot compute over all": (
        """
class Strict:
    def reset(self):
        self.hits = self.total = 0

    def update(self, outputs, targets):
        self.hits += int((outputs.argmax(1) == targets).sum())
        self.total += len(targets)

    def compute(self):
        if self.total > 80:
            raise ValueError("too many")
        return self.hits / self.total
"""
        + fixture("quant_metric", "return Strict()"),
        "evaluate ERROR: metric Strict raised: ValueError: too many*",
    ),
    "a stream that ends for good": (
        """
class Stream(torch.utils.data.IterableDataset):
    def __init__(self):
        self.rest = iter([pair for x, y in batches(1) for pair in zip(x, y)])

    def __iter__(self):
        yield from self.rest
"""
        + fixture("quant_eval_data", "return torch.utils.data.DataLoader(Stream(), batch_size=80)"),
        "evaluate ERROR: quant_eval_data*",
    ),
    "other samples on each pass": (
        """
class Augmented(torch.utils.data.Dataset):
    def __init__(self):
        self.x, self.y = (torch.cat(part) for part in zip(*batches(1)))
        self.noise = np.random.default_rng()

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        return self.x[index] + 0.01 * float(self.noise.standard_normal()), self.y[index]
"""
        + fixture("quant_eval_data", "return Augmented()"),
        "evaluate ERROR: quant_eval_data yields other samples on each pass: 320 of 320 of dynamic's were "
        "not among FP32's 320. Remove random augmentation*",
    ),
    "dropout in forward": (
        """
class Dropped(Own):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x))
"""
        + fixture("quant_model", "return Subject(Dropped(), name='bad')"),
        "evaluate ERROR: FP32 is not deterministic*F.dropout without training=self.training*",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_subject_that_cannot_be_judged_is_an_error(model_repo, what):
    fixtures, sentence = REFUSED[what]
    model_repo.spoil(fixtures, DYNAMIC)
    # at the door it is an error of the fixture, later one of the test; pytest counts both as errors
    result = model_repo.judge(errors=1)
    result.stdout.fnmatch_lines([f"E *{sentence}"])
    result.stdout.fnmatch_lines(["*quantization*", "bad * dynamic *ERROR", f"bad *: {sentence}"])


# importing torch.compile's backend warns in PyTorch 2.13
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
def test_a_model_that_torch_compile_made_is_refused(model_repo):
    torch.compile(
        torch.nn.Identity()
    )  # pytester would forget what this imports, which cannot come twice

    compiled = fixture("quant_model", "return Subject(torch.compile(classifier()), name='bad')")
    model_repo.spoil(compiled, DYNAMIC)
    result = model_repo.judge(errors=1)
    result.stdout.fnmatch_lines(
        ["bad *: fixture ERROR: quant_model*torch.compile*return the module that*"]
    )


def test_a_repo_without_quant_model_is_told_to_write_one(model_repo):
    conftest = model_repo.path / "conftest.py"
    start, _, rest = conftest.read_text().partition("@pytest.fixture")
    own = "@pytest.fixture" + rest.partition("@pytest.fixture")[0]
    conftest.write_text(start + "@pytest.fixture" + rest.partition("@pytest.fixture")[2])
    good = model_repo.path / "test_good.py"
    good.write_text(start + own + good.read_text())
    model_repo.pytester.makepyfile(test_lost="def test_lost(quant_dynamic): pass")
    result = model_repo.judge(errors=1)
    result.stdout.fnmatch_lines(
        [
            "E *fixture ERROR: quant_model is not defined*Override the session-scoped fixture quant_model *"
        ]
    )


def test_without_any_model_the_summary_does_not_say_that_nothing_was_asked_for(pytester):
    pytester.makepyfile("def test_lost(quant_dynamic): pass")
    result = pytester.runpytest_inprocess("--quant")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E *fixture ERROR: quant_model is not defined*"])
    result.stdout.no_fnmatch_line("*no test used a variant*")


@pytest.mark.parametrize("name", ["quant_model", "quant_eval_data", "quant_metric"])
def test_a_fixture_that_raises_is_named(model_repo, name):
    model_repo.spoil(fixture(name, 'raise OSError("no such checkpoint")'), DYNAMIC)
    result = model_repo.judge(errors=1)
    result.stdout.fnmatch_lines([f"E *fixture ERROR: {name} raised OSError: no such checkpoint"])


EVERYTHING = pytest.param(("--quant-all", "--quant-timing-seconds=0.01"), marks=pytest.mark.slow)


@pytest.mark.parametrize("args", [(), EVERYTHING], ids=["asked for", "all"])
def test_a_fixture_that_raises_spoils_only_the_variants_that_need_it(model_repo, args):
    model_repo.spoil(
        fixture("quant_train", 'raise OSError("no such script")'),
        """
        def test_dynamic(quant_dynamic):
            assert_max_accuracy_drop(quant_dynamic, 0.5)

        def test_static(quant_static):
            assert_max_accuracy_drop(quant_static, 0.5)

        def test_qat(quant_qat):
            assert_max_accuracy_drop(quant_qat, 0.5)
        """,
    )
    result = model_repo.judge(*args, errors=1, passed=2)
    result.stdout.fnmatch_lines(
        [
            "E *fixture ERROR: quant_train raised OSError: no such script",
            "bad * dynamic * 1 PASS",
            "bad * static * 1 PASS",
            "bad * qat * ERROR",
            "bad qat: fixture ERROR: quant_train raised OSError: no such script",
        ]
    )


STATIC_AND_DYNAMIC = """
def test_static(quant_static):
    assert_max_accuracy_drop(quant_static, 0.5)

def test_dynamic(quant_dynamic):
    assert_max_accuracy_drop(quant_dynamic, 0.5)
"""
SHARING = """
def calibration(shared):
    \"\"\"200 samples, of which so many are eval samples.\"\"\"
    own = torch.cat([x for x, _ in batches(3)])[: 200 - shared]
    return [torch.cat([own, batches(1)[0][0][:shared]])]
"""
CALIBRATION = {
    "missing": (
        fixture("quant_train_data", "return None"),
        "calibrate ERROR: there is no calibration data*Override the fixture quant_calibration_data or "
        "quant_train_data*",
    ),
    "empty": (
        fixture("quant_calibration_data", "return []"),
        "calibrate ERROR: quant_calibration_data yielded nothing*about 200 samples*",
    ),
    "a generator": (
        fixture("quant_calibration_data", "return (x for x, _ in batches(3))"),
        "fixture ERROR: quant_calibration_data gave a generator, which can be read only once*",
    ),
    "no inputs": (
        fixture("quant_calibration_data", "return ['image']"),
        "fixture ERROR: quant_calibration_data yielded a str; expected inputs or (inputs, targets)*",
    ),
    "wrong shapes": (
        fixture("quant_calibration_data", "return [torch.zeros(80, 5)]"),
        "calibrate ERROR: FP32 could not run on inputs of shape ?80, 5?: RuntimeError*Check "
        "the inputs of quant_calibration_data*",
    ),
    "the eval data": (
        '\n@pytest.fixture(scope="session")\n'
        "def quant_calibration_data(quant_eval_data):\n    return quant_eval_data\n",
        "calibrate ERROR: quant_calibration_data is the same data as quant_eval_data*",
    ),
    "the eval dataset in another loader": (
        """
from torch.utils.data import DataLoader, TensorDataset
held_out = TensorDataset(*(torch.cat(part) for part in zip(*batches(1))))
"""
        + fixture("quant_eval_data", "return DataLoader(held_out, batch_size=80)")
        + fixture(
            "quant_calibration_data", "return DataLoader(held_out, batch_size=8, shuffle=True)"
        ),
        "calibrate ERROR: quant_calibration_data is the same data as quant_eval_data*",
    ),
    "a copy of the eval data": (
        fixture("quant_calibration_data", "return batches(1)"),
        "calibrate ERROR: static was calibrated on eval data: 200 of 200 samples of "
        "quant_calibration_data*are in quant_eval_data*",
    ),
    "one per cent of it eval data": (
        SHARING + fixture("quant_calibration_data", "return calibration(shared=2)"),
        "calibrate ERROR: static was calibrated on eval data: 2 of 200 samples*",
    ),
}


@pytest.mark.parametrize("what", CALIBRATION)
def test_calibration_data_that_is_of_no_use_spoils_static_alone(model_repo, what):
    fixtures, sentence = CALIBRATION[what]
    model_repo.spoil(fixtures, STATIC_AND_DYNAMIC)
    result = model_repo.judge(errors=1, passed=1)
    result.stdout.fnmatch_lines([f"E *{sentence}"])
    result.stdout.fnmatch_lines(
        ["bad * dynamic * 1 PASS", "bad * static *ERROR", f"bad static: {sentence}"]
    )


def test_less_than_one_per_cent_of_eval_data_may_be_chance(model_repo):
    model_repo.spoil(
        SHARING + fixture("quant_calibration_data", "return calibration(shared=1)"),
        STATIC_AND_DYNAMIC,
    )
    model_repo.judge(passed=2)


QAT_AND_DYNAMIC = STATIC_AND_DYNAMIC.replace("static", "qat")
TRAINING = {
    "missing": (
        fixture("quant_train_data", "return None"),
        "train ERROR: there is nothing to train on*quant_train_data or quant_train*",
    ),
    "empty": (
        fixture("quant_train_data", "return []"),
        "train ERROR: quant_train_data yielded nothing*",
    ),
    "no targets": (
        fixture("quant_train_data", "return [x for x, _ in batches(3)]"),
        "fixture ERROR: quant_train_data yielded a Tensor of shape ?80, 6?; expected (inputs, targets)*",
    ),
    "wrong shapes": (
        fixture("quant_train_data", "return [(x[:, :5], y) for x, y in batches(3)]"),
        "train ERROR: the prepared model could not run on inputs of shape ?80, 5?: RuntimeError*Check the "
        "inputs of quant_train_data*",
    ),
    "the eval data": (
        '\n@pytest.fixture(scope="session")\n'
        "def quant_train_data(quant_eval_data):\n    return quant_eval_data\n",
        "train ERROR: quant_train_data is the same data as quant_eval_data*",
    ),
    "a copy of the eval data": (
        fixture("quant_train_data", "return batches(1)"),
        "train ERROR: qat was trained on eval data: 320 of 320 samples of quant_train_data*",
    ),
    "a loss that raises": (
        fixture("quant_loss", "return lambda outputs, targets: outputs - targets"),
        "train ERROR: the loss raised: RuntimeError*quant_loss*",
    ),
    "a loss without gradient": (
        fixture("quant_loss", "return lambda outputs, targets: 0.5"),
        "train ERROR: quant_loss returned 0.5; expected a scalar tensor with a gradient*",
    ),
    "a loss of NaN": (
        fixture("quant_loss", "return lambda outputs, targets: outputs.mean() * float('nan')"),
        "train ERROR: the loss is nan at the first step*look at quant_loss, and at the targets*",
    ),
    "a loss that becomes NaN": (
        fixture(
            "quant_loss",
            """
calls = []
def loss(outputs, targets):
    calls.append(1)
    return outputs.mean() * (1.0 if len(calls) < 3 else float("inf"))
return loss
""",
        ),
        "train ERROR: the loss became * at step 3; a smaller learning rate may help*",
    ),
    "NaN in the inputs of training": (
        fixture(
            "quant_train_data",
            """
data = batches(3)
data[1][0][0] = float("nan")
return data
""",
        ),
        "train ERROR: *the loss is nan at step 2, whose inputs in quant_train_data hold NaN*",
    ),
    "a loop that raises": (
        fixture(
            "quant_train",
            """
def train(model):
    raise RuntimeError("out of memory")
return train
""",
        ),
        "train ERROR: quant_train raised: RuntimeError: out of memory*",
    ),
}


@pytest.mark.parametrize("what", TRAINING)
def test_training_that_cannot_be_done_spoils_qat_alone(model_repo, what):
    fixtures, sentence = TRAINING[what]
    model_repo.spoil(fixtures, QAT_AND_DYNAMIC)
    result = model_repo.judge(errors=1, passed=1)
    result.stdout.fnmatch_lines([f"E *{sentence}"])
    result.stdout.fnmatch_lines(
        ["bad * dynamic * 1 PASS", "bad * qat *ERROR", f"bad qat: {sentence}"]
    )


def test_a_loader_that_shuffles_is_paired_by_sample(model_repo):
    model_repo.spoil(
        """
class Shuffled(list):
    def __iter__(self):
        x, y = (torch.cat(part) for part in zip(*super().__iter__()))
        order = torch.from_numpy(np.random.default_rng().permutation(len(y)))
        return iter(list(zip(x[order].split(80), y[order].split(80))))
"""
        + fixture("quant_eval_data", "return Shuffled(batches(1))"),
        """
        def test_few_flips(quant_dynamic):
            assert 0 < assert_max_flips(quant_dynamic, 0.05).observed
        """,
    )
    model_repo.judge(passed=1)


BRANCHING = """
class Branching(Own):
    def forward(self, x):
        x = self.first(x)
        if x.sum() > 0:
            x = x + 0
        return self.last(torch.relu(x))
""" + fixture("quant_model", "return Subject(Branching(), name='bad')")


@pytest.mark.parametrize("flow", ["fx", "pt2e"])
def test_a_model_that_a_flow_cannot_take_is_told_which_line(model_repo, flow):
    model_repo.spoil(
        BRANCHING,
        f"""
import pytest
from pytest_quant import Recipe

@pytest.mark.parametrize(
    "quant_variant", [Recipe("static", flow="{flow}"), Recipe("qat", flow="{flow}")], indirect=True
)
def test_it(quant_variant): pass
""",
    )
    result = model_repo.judge(errors=2)
    sentence = f"prepare ERROR: flow {flow} cannot *: * (conftest.py:*: if x.sum() > 0:). Rewrite*"
    result.stdout.fnmatch_lines(
        [f"E *{sentence}", f"bad static(flow={flow}), bad qat(flow={flow}): {sentence}"]
    )


def test_a_model_that_branches_on_values_is_quantized_in_parts(model_repo):
    model_repo.spoil(BRANCHING, STATIC_AND_DYNAMIC + "\ndef test_qat(quant_qat): pass\n")
    result = model_repo.judge(passed=3)
    reason = (
        "quantized by flow parts, since fx cannot trace * (conftest.py:*: if x.sum() > 0:); pt2e *"
    )
    result.stdout.fnmatch_lines([f"bad static: {reason}", f"bad qat: {reason}"])


def test_nothing_to_quantize_dynamically_is_an_error(model_repo):
    model_repo.spoil(
        fixture(
            "quant_model",
            """
conv = nn.Conv2d(1, 3, 3)
return Subject(nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten()), name="bad")
""",
        )
        + fixture("quant_eval_data", "return images(1)")
        + fixture("quant_train_data", "return images(2)"),
        STATIC_AND_DYNAMIC.replace("0.5", "0.9"),
    )
    result = model_repo.judge(errors=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "bad * dynamic *ERROR",
            "bad * static * 1 PASS",
            "bad dynamic: prepare ERROR: nothing to quantize*Linear, LSTM*Static*convolutions.",
        ]
    )


def test_nothing_to_quantize_statically_is_an_error(model_repo):
    model_repo.spoil(
        """
class Mixing(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.eye(6)[:3])

    def forward(self, x):
        return torch.einsum("bi,oi->bo", x, self.mix)
"""
        + fixture("quant_model", "return Subject(Mixing(), name='bad')"),
        STATIC_AND_DYNAMIC + "\ndef test_qat(quant_qat): pass\n",
    )
    result = model_repo.judge(errors=3)
    result.stdout.fnmatch_lines(
        [f"bad {v}: * ERROR: *nothing to quantize*" for v in ("dynamic", "static, bad qat")]
    )


NOTED = {
    "train mode": (
        fixture("quant_model", "return Subject(classifier().train(), name='bad')"),
        "bad fp32: quant_model came in train mode; its copy was put into eval mode",
    ),
    "a float64 model": (
        fixture("quant_model", "return Subject(classifier().double(), name='bad')"),
        "bad fp32: quant_model was not float32; its copy was cast to float32",
    ),
    "float64 data": (
        fixture("quant_eval_data", "return [(x.double(), y) for x, y in batches(1)]"),
        "bad fp32: quant_eval_data gives float64 inputs; they are cast to float32",
    ),
    "a half model with half data": (
        fixture("quant_model", "return Subject(classifier().half(), name='bad')")
        + fixture("quant_eval_data", "return [(x.half(), y) for x, y in batches(1)]"),
        "bad fp32: quant_eval_data gives float16 inputs; they are cast to float32",
    ),
    "single samples": (
        fixture(
            "quant_eval_data", "return [pair for x, y in batches(1) for pair in zip(x, y.tolist())]"
        ),
        "bad fp32: quant_eval_data yields single samples, which are taken in batches of 32*",
    ),
    "FP32 at chance": (
        fixture("quant_eval_data", "return [(x, (y + 1) % 3) for x, y in batches(1)]"),
        "bad fp32: FP32 is no better (0.00 %) than always naming the commonest class (*",
    ),
    "a tiny eval set": (
        fixture("quant_eval_data", "return batches(1, count=230, size=100)"),
        "bad fp32: the eval set is small (230 samples): one flip is 0.43 pt",
    ),
}


@pytest.mark.parametrize("what", NOTED)
def test_what_is_odd_but_can_be_judged_is_noted(model_repo, what):
    fixtures, note = NOTED[what]
    model_repo.spoil(fixtures, DYNAMIC)
    result = model_repo.judge(passed=1)
    result.stdout.fnmatch_lines(["bad * dynamic * 1 PASS", note])


def test_a_good_subject_is_not_noted(model_repo):
    result = model_repo.judge()
    result.stdout.no_fnmatch_line("good fp32: *")


FINITE_ONLY_IN_FP32 = """
class Log(Own):
    def __init__(self):
        super().__init__()
        nn.init.constant_(self.last.bias, 0.003)  # so that dynamic, whose outputs are float, has no zero

    def forward(self, x):
        return torch.log(super().forward(x).abs())  # of a zero, as int8 has them, it is infinite


def pytest_quant_recipes(config):
    return {"static": Recipe("static", flow="fx")}  # whose zeros flow auto would leave for another flow
""" + fixture("quant_model", "return Subject(Log(), name='bad')")


def test_infinite_int8_outputs_where_fp32_is_finite_fail(model_repo):
    model_repo.spoil(
        FINITE_ONLY_IN_FP32,
        """
        def test_static(quant_static):
            assert_max_accuracy_drop(quant_static, 0.9)

        def test_flips(quant_static):
            assert_max_flips(quant_static, 1)

        def test_dynamic(quant_dynamic):
            assert_max_accuracy_drop(quant_dynamic, 0.9)
        """,
    )
    result = model_repo.judge(failed=2, passed=1)
    result.stdout.fnmatch_lines(
        [
            "E *AssertionError: accuracy FAIL: static gives NaN or infinite outputs on * of 320 samples "
            "where FP32 does not.",
            "E *AssertionError: flips FAIL: static gives NaN or infinite outputs on *",
            "bad * dynamic * 1 PASS",
            "bad * static * accuracy FAIL, flips FAIL",
        ]
    )


def test_nan_from_a_metric_of_broken_int8_outputs_is_a_failure_not_an_error(model_repo):
    model_repo.spoil(
        FINITE_ONLY_IN_FP32
        + fixture(
            "quant_metric",
            """
def spread(outputs, targets):
    return (outputs - outputs.mean(dim=1, keepdim=True)).abs().mean(dim=1)
return Metric(spread, "spread", higher_is_better=True, unit="raw")
""",
        ),
        """
        def test_static(quant_static):
            assert_max_accuracy_drop(quant_static, 1000)

        def test_dynamic(quant_dynamic):
            assert_max_accuracy_drop(quant_dynamic, 1000)
        """,
    )
    result = model_repo.judge(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "E *AssertionError: * FAIL: static gives NaN or infinite outputs on *",
            "bad * dynamic * 1 PASS",
        ]
    )


def test_infinities_that_fp32_has_too_are_fine(model_repo):
    model_repo.spoil(
        """
class Masked(Own):
    def forward(self, x):
        x = super().forward(x)
        return torch.where(torch.tensor([True, True, False]), x, -torch.inf)
"""
        + fixture("quant_model", "return Subject(Masked(), name='bad')"),
        STATIC_AND_DYNAMIC.replace("0.5", "0.1"),
    )
    result = model_repo.judge(passed=2)
    result.stdout.fnmatch_lines(["bad * fp32 * 6*.* %*", "bad * static * 1 PASS"])


# the body of a test with `v`, quant_dynamic -> what its error says
MISUSED = {
    "assert_max_accuracy_drop(v.model, 0.1)": "TypeError: *_drop was given a Sequential; expected*",
    "assert_gates('static', max_flips=1)": "TypeError: assert_gates was given 'static'; expected*",
    "assert_min_speedup(None, 1.5)": "TypeError: assert_min_speedup was given None; expected a Variant*",
    "assert_max_size(v.size, ratio=1)": "TypeError: assert_max_size was given Size(*expected a Variant*",
    "assert_max_accuracy_drop(v, -0.1)": "ValueError: max_accuracy_drop is -0.1; expected a fraction*",
    "assert_max_accuracy_drop(v, '1%')": "TypeError: max_accuracy_drop is '1%'; expected a fraction*",
    "assert_max_accuracy_drop(v, True)": "TypeError: max_accuracy_drop is True; expected a fraction*",
    "assert_max_accuracy_drop(v, float('nan'))": "ValueError: max_accuracy_drop is nan; expected*",
    "assert_max_accuracy_drop(v, 1)": "ValueError: max_drop is 1* top-1, a metric in fractions: 0.01*",
    "assert_max_accuracy_drop(v)": "TypeError: max_accuracy_drop is given neither in the call nor*",
    "assert_max_accuracy_drop(v, 0, metric='f1')": "ValueError: metric='f1' is not among*: top-1",
    "assert_max_accuracy_drop(v, 0, min_baseline='90%')": "TypeError: min_baseline is '90%'*",
    "assert_min_speedup(v)": "TypeError: min_speedup is given neither in the call nor by marker*",
    "assert_min_speedup(v, 0)": "ValueError: min_speedup is 0, which every model meets*",
    "assert_min_speedup(v, -1)": "ValueError: min_speedup is -1; expected a ratio*",
    "assert_min_speedup(v, 1, baseline='fp16')": "ValueError: baseline is 'fp16'; allowed: 'given', *",
    "assert_min_speedup(v, 1, alpha=1)": "ValueError: alpha is 1; expected an error probability above 0*",
    "assert_max_size(v)": "TypeError: assert_max_size takes exactly one of ratio and mb, *ratio=None*",
    "assert_max_size(v, ratio=1, mb=1)": "TypeError: assert_max_size takes exactly one of ratio and mb, * "
    "given ratio=1, mb=1*",
    "assert_max_size(v, mb='10 MB')": "TypeError: max_size_mb is '10 MB'; expected MB of 10[*][*]6 bytes",
    "assert_max_size(v, ratio=-1)": "ValueError: max_size_ratio is -1; expected a ratio*",
    "assert_min_int8_share(v, 90)": "ValueError: min_int8_share is 90; expected a share*",
    "assert_min_int8_share(v, of='flops')": "ValueError: of is 'flops'; allowed: 'parameters', 'macs'",
    "assert_max_flips(v, 2)": "ValueError: max_flips is 2; expected a share of the samples*",
    "assert_gates(v)": "TypeError: assert_gates was given no limit*allowed: max_accuracy_drop, *",
    "assert_gates(v, max_acuracy_drop=0.1)": "TypeError: unknown limit *mean max_accuracy_drop*allowed: *",
    "assert_gates(v, max_accuracy_drop=-1)": "ValueError: max_accuracy_drop is -1; expected*",
    "assert_gates(v, max_accuracy_drop=2)": "ValueError: max_drop is 2* top-1, a metric in fractions*",
}


def test_a_misused_helper_says_what_was_given_and_what_is_allowed(model_repo):
    tests = "".join(
        f"def test_{i}(quant_dynamic):\n    v = quant_dynamic\n    {call}\n"
        for i, call in enumerate(MISUSED)
    )
    model_repo.spoil("", tests)
    result = model_repo.judge("--tb=short", failed=len(MISUSED))
    result.stdout.fnmatch_lines([f"E *{sentence}" for sentence in MISUSED.values()])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            "max_acuracy_drop=0.1",
            "unknown limit 'max_acuracy_drop' (did you mean max_accuracy_drop?); allowed: *",
        ),
        ("max_accuracy_drop='1%'", "max_accuracy_drop is '1%'; expected a fraction*"),
        ("min_speedup=-1", "min_speedup is -1; expected a ratio*"),
        ("0.1", "0.1 has no name; limits are given by name"),
    ],
)
def test_a_marker_with_a_wrong_limit_is_a_usage_error(model_repo, arguments, sentence):
    model_repo.spoil("", f"@pytest.mark.quant({arguments})\ndef test_bad(quant_dynamic): pass")
    model_repo.pytester.runpytest_inprocess().assert_outcomes(skipped=2)
    result = model_repo.pytester.runpytest_inprocess("--quant")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*bad/test_bad.py::test_bad: @pytest.mark.quant: {sentence}"])


OPTIONS = {
    "--quant-variants=static,statik": "--quant-variants: unknown statik; known: fp32, dynamic, static, qat",
    "--quant-variants=,": "--quant-variants is ','; expected names such as static,qat",
    "--quant-engine=cuda": "quant_engine is 'cuda'; allowed: x86, fbgemm, onednn, qnnpack, auto",
    "--quant-format=exel": "quant_format is 'exel'; allowed: *simple*",
    "--quant-inconclusive=pass": "quant_inconclusive is 'pass'; allowed: auto, fail, report",
    "--quant-threads=0": "quant_threads is 0; expected a positive number",
    "--quant-train-device=nosuch": "quant_train_device is 'nosuch'; expected a device of PyTorch*",
    "--quant-latency-grid=1": "quant_latency_grid: '1' is no cell; expected threads x batch*",
    "--quant-latency-grid=0x1": "'0x1' is no cell; expected threads x batch, both whole numbers from 1 on*",
    "--quant-latency-grid=1x1,1x": "'1x' is no cell; * commas between cells: 1x1,1x32,2x1",
    "--quant-latency-batch=-1": "quant_latency_batch is -1; expected a positive number",
    "--quant-timing-seconds=nan": "quant_timing_seconds is nan; expected a positive number",
    "--quant-max-accuracy-drop=-1": "*max_accuracy_drop is -1*; expected a fraction*",
    "--quant-min-int8-share=90": "*min_int8_share is 90*; expected a share of the parameters*",
    "--quant-max-flips=few": "argument --quant-max-flips: invalid float value: 'few'",
    "--quant-report=toys.py/report": "quant_report: cannot write to *toys.py/report: *",
    "--quant-report=toys.py": "quant_report: cannot write to *toys.py: *",
}
ANYTHING_BUILT = """
def pytest_fixture_setup(fixturedef):
    if fixturedef.argname.startswith("quant_"):
        open("built", "w").close()
"""


@pytest.mark.parametrize("option", OPTIONS)
def test_a_wrong_option_is_a_usage_error_before_anything_is_built(model_repo, option):
    with (model_repo.path / "conftest.py").open("a") as file:
        file.write(ANYTHING_BUILT)
    result = model_repo.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{OPTIONS[option]}"])
    assert not (model_repo.path / "built").exists()


@pytest.mark.parametrize("table", ["tool.pytest", "tool.pytest.ini_options"])
@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("quant_engine = 'cuda'", "quant_engine is 'cuda'; allowed: *"),
        ("quant_report = 'toys.py/report'", "quant_report: cannot write to *"),
        ("quant_max_flips = 2.0", "*max_flips is 2.0; expected a share of the samples*"),
        ("quant_max_flips = 'few'", "*quant_max_flips*"),
    ],
)
def test_ini_is_checked_as_the_command_line_is(model_repo, table, line, sentence):
    if table.endswith("ini_options"):
        line = line.replace("2.0", "'2.0'")
    model_repo.pytester.makepyprojecttoml(f"[{table}]\n{line}\n")
    result = model_repo.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {sentence}"])


def test_ctrl_c_during_qat_leaves_a_table_of_what_was_measured(model_repo):
    model_repo.spoil(
        fixture(
            "quant_train",
            """
def train(model):
    raise KeyboardInterrupt
return train
""",
        ),
        """
        def test_dynamic(quant_dynamic):
            assert_max_accuracy_drop(quant_dynamic, 0.5)

        def test_static(quant_static):
            assert_max_accuracy_drop(quant_static, 0.5)

        def test_qat(quant_qat):
            assert_max_accuracy_drop(quant_qat, 0.5)

        def test_never(quant_static):
            pass
        """,
    )
    result = model_repo.run("--quant-report=report", no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["bad * fp32 *", "bad * dynamic * 1 PASS", "bad * static * 1 PASS"])
    assert (model_repo.path / "report" / "report.json").is_file()


def test_ctrl_c_during_an_evaluation_keeps_what_that_test_had_measured_before(model_repo):
    model_repo.spoil(
        fixture("quant_eval_data", "return batches(1) + batches(3, 7, 7)")
        + fixture(
            "quant_metric",
            """
def tired(outputs, targets):
    if len(targets) == 7:  # beyond what the door looks at
        raise KeyboardInterrupt
    return outputs.argmax(1) == targets
return tired
""",
        ),
        """
        def test_dynamic(quant_dynamic):
            assert_max_size(quant_dynamic, ratio=0.9)
            assert_max_accuracy_drop(quant_dynamic, 0.5)
        """,
    )
    result = model_repo.run(no_reraise_ctrlc=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["bad * dynamic * 1 PASS"])


def test_a_limit_in_ini_that_is_no_number_says_what_is_expected(pytester):
    pytester.makeini("[pytest]\nquant_max_size_ratio = 30%")
    result = pytester.runpytest_inprocess("--quant")
    result.stderr.fnmatch_lines(
        ["*quant_max_size_ratio in ini: *'30%'; expected a ratio of FP32's *"]
    )
