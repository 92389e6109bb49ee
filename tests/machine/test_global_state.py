"""Global state: each setting is read, changed and put back."""

import pytest
import torch

from pytest_quant.machine import torch_api
from pytest_quant.machine.conditions import Conditions, isolated
from pytest_quant.machine.global_state import GlobalState, given_back

ENGINES = [name for name in torch.backends.quantized.supported_engines if name != "none"]


def other_engine():
    torch.backends.quantized.engine = next(
        name for name in ENGINES if name != torch.backends.quantized.engine
    )


CHANGES = {
    "torch.set_num_threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "torch.set_default_dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch.set_default_device": lambda: torch.set_default_device("meta"),
    "torch.set_grad_enabled": lambda: torch.set_grad_enabled(False),
    "torch.use_deterministic_algorithms": lambda: torch.use_deterministic_algorithms(
        True, warn_only=True
    ),
    "torch.set_autocast_enabled": lambda: torch.set_autocast_enabled("cpu", True),
    "torch.set_autocast_dtype": lambda: torch.set_autocast_dtype("cpu", torch.float16),
    "torch.set_flush_denormal": lambda: torch.set_flush_denormal(True),
    "torch.set_float32_matmul_precision": lambda: torch.set_float32_matmul_precision("medium"),
    "torch.backends.fp32_precision": lambda: setattr(torch.backends, "fp32_precision", "bf16"),
    "torch.backends.mkldnn.conv.fp32_precision": lambda: setattr(
        torch.backends.mkldnn.conv, "fp32_precision", "bf16"
    ),
    "torch.backends.mkldnn.enabled": lambda: setattr(torch.backends.mkldnn, "enabled", False),
    "torch.backends.quantized.engine": other_engine,
    "torch.backends.mha.set_fastpath_enabled": lambda: torch.backends.mha.set_fastpath_enabled(
        False
    ),
    "torch.backends.cuda.enable_flash_sdp": lambda: torch.backends.cuda.enable_flash_sdp(False),
    "torch.nn.modules.module.register_module_forward_hook": lambda: (
        torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    ),
}


@pytest.fixture(autouse=True)
def as_before():
    before = GlobalState.now()
    yield
    before.put_back()


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_that_was_changed_is_put_back_and_named(name):
    before = GlobalState.now()
    CHANGES[name]()
    after = GlobalState.now()
    assert after.values.get(name) != before.values[name]
    assert name in before.put_back()
    assert GlobalState.now() == before


@pytest.mark.parametrize("name", CHANGES)
def test_work_runs_in_the_settings_of_the_door_and_gives_back_those_it_found(name):
    door = GlobalState.now()
    CHANGES[name]()
    found = GlobalState.now()
    with isolated(Conditions(threads=1), state=door):
        inside = {**GlobalState.now().values, "torch.set_num_threads": None}
    assert inside == {**door.values, "torch.set_num_threads": None}
    assert GlobalState.now() == found


def test_code_of_others_leaves_no_setting_behind_when_it_raises():
    before = GlobalState.now()

    def change_all():
        for change in CHANGES.values():
            change()
        raise KeyError

    with pytest.raises(KeyError), given_back():
        change_all()
    assert GlobalState.now() == before


def test_work_inside_a_tests_inference_mode_can_train():
    with torch.inference_mode():
        with isolated(Conditions(threads=1)):
            assert torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
        assert torch.is_inference_mode_enabled()


def test_a_global_hook_that_was_set_aside_can_still_be_removed():
    handle = torch.nn.modules.module.register_module_forward_pre_hook(lambda *_: None)
    found = GlobalState.now()
    found.without_hooks().put_back()
    assert torch_api.global_hooks() == torch_api.no_global_hooks()
    found.put_back()
    handle.remove()
    assert torch_api.global_hooks() == torch_api.no_global_hooks()
