"""Calls of a file: each gives what the session gives, whether its kind was seen before or not."""

import pytest
import torch
from exported import Cnn, TwoInputs, as_openvino, images, made_int8
from tflite import linear_file
from torch import nn

from pytest_quant.runtimes.artefact import artefact_of
from pytest_quant.runtimes.onnx_export import folded, onnx_file
from pytest_quant.subject.subject import Subject, admit

X = images(3)[0][0][:6]


def cnn(path):
    return artefact_of(path, admit(Subject(Cnn(), eval_data=images(1))), 1)


@pytest.fixture(scope="module")
def in_onnx(tmp_path_factory):
    return cnn(made_int8(tmp_path_factory.mktemp("files")))


@pytest.fixture(scope="module")
def in_openvino(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return cnn(as_openvino(made_int8(folder), folder / "cnn.xml"))


class Difference(TwoInputs):
    def forward(self, left, right):
        return super().forward(left, right), left.argmax(1)


@pytest.fixture(scope="module")
def of_two():
    return onnx_file(Difference(), (torch.randn(6, 4), torch.randn(6, 4)), {}, 1, "two", folded)


@pytest.mark.parametrize("which", ["in_onnx", "in_openvino"])
def test_a_later_call_gives_what_the_first_gave_in_a_tensor_of_its_own(request, which):
    model = request.getfixturevalue(which)
    first, second, other = model(X), model(X), model(2 * X)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    other.zero_()
    assert torch.equal(model(X), first)
    assert torch.equal(first, second)


def test_tensors_that_have_to_be_copied_are(in_onnx):
    wanted = in_onnx(X)
    turned = X.transpose(2, 3).contiguous().transpose(2, 3)
    part = X.repeat(1, 2, 1, 1)[:, :2]
    for x in (turned, part, X.double(), X.clone().requires_grad_(), nn.Parameter(X)):
        assert torch.equal(in_onnx(x), wanted)


def test_sizes_that_do_not_fit_are_refused_after_some_that_did(in_onnx):
    for _ in range(2):
        in_onnx(X)
        with pytest.raises(ValueError, match="is not called as the model is: its input is image"):
            in_onnx(X[:, :1])


def test_each_of_two_inputs_and_results_stays_in_its_place(of_two):
    left, right = torch.randn(6, 4), torch.randn(6, 4)
    wanted = Difference()(left, right)
    for call in (lambda: of_two(left, right), lambda: of_two(left, right=right)):
        for _ in range(2):
            difference, highest = call()
            torch.testing.assert_close(difference, wanted[0])
            assert torch.equal(highest, wanted[1])
            assert highest.dtype == torch.int64


def test_integers_of_a_file_keep_their_scales_in_later_calls(tmp_path):
    model, x = nn.Linear(4, 3).eval(), torch.rand(50, 4)
    weights = (model.weight.detach().numpy(), model.bias.detach().numpy())
    path = linear_file(tmp_path / "int8.tflite", *weights, scales=(1 / 127, 3 / 127), batch=-1)
    with torch.no_grad():
        subject = Subject(model, eval_data=[(x, model(x).argmax(1))])
        made = artefact_of(path, admit(subject), 1)
        for _ in range(3):
            torch.testing.assert_close(made(x), model(x), atol=0.1, rtol=0)
