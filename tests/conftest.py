"""What every test shares: pytester, with all that it must not import twice loaded beforehand."""

# pytester forgets the modules that a run in this process imported. torch cannot be imported again (FX
# tracing imports torch.export), and hypothesis, whose own plugin imports it at the end of each run, takes
# more than a second each time.
import hypothesis
import matplotlib.backends.backend_svg
import matplotlib.figure  # noqa: F401
import pytest
import torch._dynamo.repro.after_dynamo
import torch._inductor.compile_fx
import torch.ao.quantization.quantize_fx
import torch.export._trace  # noqa: F401
import torchao.quantization.pt2e.quantize_pt2e
import torchao.quantization.pt2e.quantizer.x86_inductor_quantizer  # noqa: F401
import torchvision  # noqa: F401

import pytest_quant.plugin.run
import pytest_quant.report.files
import pytest_quant.report.terminal  # noqa: F401

pytest_plugins = ["pytester"]

# The same examples in every run, so that what passes here passes there.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.load_profile("same")


@pytest.fixture(autouse=True)
def no_step_summary(monkeypatch):
    """Runs within tests are none of the CI job's."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture
def pytester(pytester, monkeypatch, pytestconfig):
    """pytester, whose runs load the plugins that this one loads, and no others that happen to be there."""
    blocked = [each for each in pytestconfig.getini("addopts") if each.startswith("-pno:")]
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(blocked))
    return pytester
