"""Saved files: what is damaged, foreign or unfit is refused with a sentence, and never run."""

import json
import pickle
import re
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quantizable import (
    Answering,
    Tagger,
    Two,
    anything,
    built,
    images,
    made,
    numbers,
    questions,
    tokens,
)
from torch import nn

from pytest_quant import QuantStageError, Recipe, load_variant
from pytest_quant.machine.conditions import known_warnings_silenced
from pytest_quant.quantize.saved import variant_file as saved
from pytest_quant.quantize.saved.seal import sealed


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """A small file, the variant in it, and its outputs."""
    folder = tmp_path_factory.mktemp("saved")
    variants = {
        "dynamic.pt": built(made(Two), "dynamic", numbers),
        "static.pt": built(made(Two), "static", numbers),
        "lstm.pt": built(made(Tagger), "dynamic", tokens, metric=anything),
    }
    for name, variant in variants.items():
        variant.save(folder / name)
    return folder, variants


def refused(path, model=None):
    """The sentence that a file is refused with."""
    with pytest.raises(QuantStageError) as error:
        load_variant(path, model or Two())
    assert error.value.stage == "load"
    assert error.value.sentence.startswith(f"{path} ")
    assert "\n" not in str(error.value)
    return str(error.value)


def loads(path, variant):
    """Whether a file is loaded as it was saved; None where it is refused by a sentence."""
    make = type(variant.subject.model)
    try:
        loaded = load_variant(path, make())
    except QuantStageError as error:
        return str(error).startswith(f"load ERROR: {path} ") and None
    x = variant.admitted.first_inputs
    return torch.equal(loaded(x), variant(x))


def content_of(source):
    packed = torch.serialization.safe_globals([torch.ScriptObject])
    with known_warnings_silenced(), packed:
        return torch.load(source, weights_only=True)


def rewritten(source, target, **changes):
    """A file with some entries changed and, as by a friend, the right digest."""
    target.write_bytes(saved.as_bytes(content_of(source) | changes))
    return target


def test_a_file_that_is_not_there(tmp_path):
    path = tmp_path / "nothing.pt"
    assert "cannot be read: FileNotFoundError" in refused(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80", b"not a file of torch at all" * 100])
def test_a_file_of_something_else(tmp_path, content):
    path = tmp_path / "v.pt"
    path.write_bytes(content)
    assert "is no variant that pytest-quant has saved; Variant.save writes one" in refused(path)
    path.write_bytes(sealed(content))
    assert "cannot be read: " in refused(path)


def test_a_folder(tmp_path):
    assert "cannot be read: IsADirectoryError" in refused(tmp_path)


@pytest.mark.parametrize("name", ["dynamic.pt", "static.pt", "lstm.pt"])
def test_a_file_that_was_cut_off(intact, tmp_path, name):
    whole = (intact[0] / name).read_bytes()
    path = tmp_path / "v.pt"
    for count in {*range(0, len(whole), 997), len(whole) - 1}:
        path.write_bytes(whole[:count])
        refused(path)


@pytest.mark.parametrize(
    ("name", "places"), [("dynamic.pt", 150), ("static.pt", 20), ("lstm.pt", 150)]
)
def test_a_byte_that_was_flipped_is_found_before_anything_is_parsed(
    intact, tmp_path, name, places, monkeypatch
):
    folder, _ = intact
    monkeypatch.setattr(torch, "load", None)
    whole, path = (folder / name).read_bytes(), tmp_path / "v.pt"
    for place in range(5, len(whole), len(whole) // places):
        flipped = bytearray(whole)
        flipped[place] ^= 0x10
        path.write_bytes(flipped)
        said = refused(path)
        assert (
            "digest does not match" in said or "is no variant that pytest-quant has saved" in said
        )


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_bytes_that_were_overwritten_are_found(intact, tmp_path, data):
    folder, variants = intact
    name = data.draw(st.sampled_from(sorted(variants)))
    whole = bytearray((folder / name).read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    patch = data.draw(st.binary(min_size=1, max_size=40))
    whole[place : place + len(patch)] = patch
    path = tmp_path / "v.pt"
    path.write_bytes(whole)
    assert loads(path, variants[name]) is not False


def test_values_that_were_flipped_inside_a_sound_zip_are_found(intact, tmp_path):
    """Each entry once, written anew so that its checksum is right."""
    folder, _ = intact
    path = tmp_path / "v.pt"
    with zipfile.ZipFile(folder / "static.pt") as source:
        entries, seal = {name: source.read(name) for name in source.namelist()}, source.comment
    data = [name for name in entries if re.search(r"/data/\d+$", name)]
    assert len(data) > 4
    for name in data:
        for place in range(len(entries[name])):
            changed = bytearray(entries[name])
            changed[place] ^= 0x40
            with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
                for other, content in entries.items():
                    target.writestr(other, changed if other == name else content)
                target.comment = seal
            assert "digest does not match" in refused(path)
            if place > 3:
                break


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("wrap", [lambda bomb: bomb, lambda bomb: {"state": {"x": bomb}}])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_in_it_is_not_run(tmp_path, zipped, wrap):
    path, trace = tmp_path / "v.pt", tmp_path / "it-ran"
    content = wrap(Bomb(trace))
    if zipped:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    path.write_bytes(sealed(path.read_bytes()))
    assert "cannot be read: " in refused(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3),
        nn.Linear(2, 2).state_dict(),
        {"form": "of another tool", "version": 1},
        [1, 2],
        None,
    ],
    ids=["tensor", "state dict", "form", "list", "None"],
)
def test_a_file_of_torch_that_is_no_variant(tmp_path, content):
    path = tmp_path / "v.pt"
    torch.save(content, path)
    for data in (path.read_bytes(), sealed(path.read_bytes())):
        path.write_bytes(data)
        assert "is no variant that pytest-quant has saved; Variant.save writes one" in refused(path)


def test_a_form_without_its_content(tmp_path):
    path = tmp_path / "v.pt"
    path.write_bytes(saved.as_bytes({"form": saved.FORM, "version": saved.VERSION}))
    assert "lacks call, fp32, modules, outputs, pattern, ranges, recipe, state, torch." in refused(
        path
    )


@pytest.mark.parametrize("version", [saved.VERSION + 1, 1, "2", None, True, torch.ones(3)])
def test_another_form_asks_for_the_plugin_that_wrote_it(intact, tmp_path, version):
    path = rewritten(intact[0] / "static.pt", tmp_path / "v.pt", version=version)
    shown = "Tensor" if isinstance(version, torch.Tensor) else repr(version)
    said = f"has form {shown}; this pytest-quant reads form {saved.VERSION}. Install the one that"
    assert said in refused(path)


@pytest.mark.parametrize(
    "model",
    [
        lambda: nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4)),
        lambda: type("Two", (Two,), {"__init__": lambda s: wider(s)})(),
        lambda: type("Other", (Two,), {})(),
        Tagger,
    ],
    ids=["names", "shapes", "class", "all"],
)
def test_another_architecture(intact, model):
    assert "holds a variant of another model: names, shapes or types" in refused(
        intact[0] / "static.pt", model()
    )


@pytest.mark.parametrize("name", ["dynamic.pt", "lstm.pt"])
@pytest.mark.parametrize("entry", saved.FIELDS)
def test_an_entry_of_another_kind_is_one_sentence(intact, tmp_path, name, entry):
    folder, variants = intact
    model = type(variants[name].subject.model)()
    strange = [None, 3, -1.5, "", "x", "[]", "{}", '"x"', "[[[1]]]", [], [3], {}, {"a": 1}]
    strange += ["[" * 5000, torch.ones(2), [torch.ones(2)] * 2, {"a": torch.ones(2)}, '{"args": 3}']
    for value in strange:
        path = rewritten(folder / name, tmp_path / "v.pt", **{entry: value})
        if loads(path, variants[name]) is None:
            refused(path, model)


@pytest.mark.parametrize(
    "change",
    [
        lambda call: call["args"][0].update(shape=[250_000, 8, 1000]),
        lambda call: call["args"].extend([{"tensor": "float64", "shape": [60_000_000]}] * 3),
        lambda call: call["kwargs"].update(x={"list": [{"tensor": "int64", "shape": [2**40]}]}),
        lambda call: call["parts"].update(
            first={"args": [{"tensor": "int8", "shape": [10**10]}], "kwargs": {}, "parts": {}}
        ),
    ],
)
def test_a_call_that_asks_for_gigabytes_is_refused_before_it_is_made(
    intact, tmp_path, monkeypatch, change
):
    monkeypatch.setattr(torch, "ones", None)
    call = json.loads(content_of(intact[0] / "static.pt")["call"])
    change(call)
    path = rewritten(intact[0] / "static.pt", tmp_path / "v.pt", call=json.dumps(call))
    assert re.search(r"asks for a call with [\d.]+ GB of inputs; 1 GB are the most", refused(path))


@pytest.mark.parametrize("change", [{"shape": [-1, 8]}, {"shape": ["x"]}, {"tensor": "load"}])
def test_a_call_that_nobody_can_make_is_refused(intact, tmp_path, change):
    call = json.loads(content_of(intact[0] / "static.pt")["call"])
    call["args"][0] |= change
    path = rewritten(intact[0] / "static.pt", tmp_path / "v.pt", call=json.dumps(call))
    assert "cannot be rebuilt here: " in refused(path)


class Activated(Two):
    """Two layers with an activation between them, and something that has no name."""

    def __init__(self, activation, power=1):
        super().__init__()
        self.activation, self.power = activation, power

    def forward(self, x):
        return self.last(self.activation(self.first(x)) ** self.power)


@pytest.mark.parametrize("kind", ["dynamic", "static", "cast"])
@pytest.mark.parametrize(
    ("activation", "power", "why"),
    [
        (nn.Tanh, 1, "module activation was a LeakyReLU and is a Tanh"),
        (lambda: nn.LeakyReLU(0.3), 1, "negative_slope of module activation was 0.01 and is 0.3"),
        (
            nn.LeakyReLU,
            2,
            r"once loaded, its outputs are (at -?\d+ dB|far) from those that were saved",
        ),
    ],
)
def test_another_architecture_of_the_same_parameters(tmp_path, kind, activation, power, why):
    variant = built(made(Activated, activation=nn.LeakyReLU()), kind, numbers)
    path = variant.save(tmp_path / "v.pt")
    load_variant(path, Activated(nn.LeakyReLU(inplace=True)))
    assert re.search(
        f"holds a variant of another model: {why}", refused(path, Activated(activation(), power))
    )


def test_a_stride_is_a_part_of_the_architecture(tmp_path):
    def net(stride):
        layers = nn.Conv2d(3, 4, 3, stride=stride), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        return nn.Sequential(*layers, nn.Linear(4, 5)).eval()

    path = built(net(1), "static", images).save(tmp_path / "v.pt")
    assert "stride of module 0 was [1, 1] and is [2, 2]" in refused(path, net(2))


def test_weights_of_another_training_are_no_other_architecture(intact):
    folder, variants = intact
    assert loads(folder / "static.pt", variants["static.pt"])


def wider(module):
    nn.Module.__init__(module)
    module.first, module.last = nn.Linear(8, 32), nn.Linear(32, 4)


def test_an_engine_that_is_not_here(intact, monkeypatch):
    monkeypatch.setattr(torch.backends.quantized.__class__, "supported_engines", ["qnnpack"])
    assert "engine 'x86' is not in this PyTorch; it has qnnpack" in refused(intact[0] / "static.pt")


def test_weights_that_do_not_fit_name_both_versions(intact, tmp_path):
    """As where another version of PyTorch fuses or names things otherwise."""
    path = rewritten(intact[0] / "static.pt", tmp_path / "v.pt", state={}, torch="2.13.0")
    said = refused(path)
    assert "was made by torch 2.13.0, and its weights do not fit the module that torch" in said
    assert said.endswith("Load it with that version.")


def test_a_recipe_that_says_nothing_any_more(intact, tmp_path):
    path = rewritten(intact[0] / "static.pt", tmp_path / "v.pt", recipe='{"kind": "ptq"}')
    assert "kind is 'ptq'" in refused(path)


def test_a_model_that_cannot_be_called_so(tmp_path):
    class Picky(Answering):
        def forward(self, input_ids, attention_mask):
            if float(attention_mask.min()) == 1:
                raise ValueError("nothing is masked")
            return super().forward(input_ids, attention_mask)

    path = built(made(Picky), Recipe("dynamic"), questions).save(tmp_path / "v.pt")
    assert "nothing is masked" in refused(path, Picky())
