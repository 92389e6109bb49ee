"""Recipe: how a variant is made."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import PurePath
from typing import Any

from pytest_quant.errors import hidden

KINDS = ("dynamic", "static", "qat", "weight_only", "cast", "custom", "artefact")
# Files of other runtimes: ONNX Runtime, OpenVINO, ExecuTorch, LiteRT.
SUFFIXES = (".onnx", ".xml", ".pte", ".tflite")
# Those with a fixture of their own, in the order of what they ask of the user: nothing, data, training.
FIXTURE_KINDS = ("dynamic", "static", "qat")
FLOWS = ("auto", "best", "eager", "fx", "pt2e", "parts", "onnx", "openvino")
ENGINES = ("x86", "fbgemm", "onednn", "qnnpack")
OBSERVERS = ("histogram", "minmax", "moving_average", "percentile", "entropy", "mse")
RUNTIME_FLOWS = ("onnx", "openvino")  # whose variants are files of other runtimes
# Of kinds that not all flows have.
SOME_FLOWS = {
    "dynamic": ("auto", "best", "eager", "pt2e", "onnx"),
    "qat": tuple(flow for flow in FLOWS if flow != "openvino"),
}
QSCHEMES = ("per_tensor_affine", "per_tensor_symmetric")
# What weights or the whole model are stored in; the first is the default.
DTYPES = {"weight_only": ("int8", "int4", "float16", "codebook"), "cast": ("bfloat16", "float16")}
# What each kind has a use for; anything else that is given is refused, so that nothing is ignored.
USED = {
    "dynamic": ("flow", "runtimes", "engine", "per_channel", "keep_fp32"),
    "static": (
        "flow",
        "runtimes",
        "engine",
        "observer",
        "qscheme",
        "per_channel",
        "equalize",
        "keep_fp32",
        "calibration_samples",
    ),
    "qat": (
        "flow",
        "runtimes",
        "engine",
        "observer",
        "qscheme",
        "per_channel",
        "keep_fp32",
        "epochs",
        "lr",
        "device",
        "cache_key",
    ),
    "weight_only": ("dtype", "bits", "per_channel", "keep_fp32"),
    "cast": ("dtype", "keep_fp32"),
    "custom": ("engine", "build", "quantized", "cache_key"),
    "artefact": ("path", "quantized"),
}
SLOW_TO_TRAIN = ("percentile", "entropy", "mse")  # histograms, which QAT would fill at every step


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one variant is made from the FP32 model. Frozen, hashable, and plain JSON by `to_dict`.

    Args:
        kind: ``dynamic`` (weights int8, activations quantized as they come), ``static``
            (post-training quantization with calibrated observers), ``qat`` (quantization-aware
            training), ``weight_only`` (weights in fewer bits, activations not
            quantized), ``cast`` (the whole model in half precision), ``custom`` (your own ``build``) or
            ``artefact`` (a file that another runtime runs).
        flow: the PyTorch API that quantizes: ``eager`` (models with ``QuantStub``; dynamic), ``fx``
            (graph mode), ``pt2e`` (`torch.export`, torchao and inductor: compiled), ``parts`` (FX on
            each submodule that it can trace), ``onnx`` (a file that ONNX Runtime runs: of static and QAT
            with FX's observers, of dynamic with ONNX Runtime's own quantization), ``openvino`` (an
            OpenVINO IR, which NNCF quantizes on the calibration data: static); ``auto`` takes the first
            that can, eager for a model with stubs, else fx, pt2e, parts, or one after it that takes
            notably more of the model or is notably more exact; ``best`` measures which is the fastest
            here of those that are exact.
        runtimes: flows of other runtimes that ``flow="best"`` may take too: ``onnx``, ``openvino``.
        engine: PyTorch's quantized engine, ``x86``, ``fbgemm``, ``onednn`` or ``qnnpack``;
            None is the one that PyTorch has set (``x86`` on x86-64); ``auto`` measures which is the
            fastest here that is as exact as the others.
        observer: of the activations: ``histogram``, ``minmax``, ``moving_average``; of static
            also ``percentile``, ``entropy``, ``mse``. None is the engine's default (histogram for
            static, moving average for QAT).
        qscheme: of the activations: ``per_tensor_affine`` (default) or ``per_tensor_symmetric``.
        per_channel: one scale for each output channel of a weight, else one for the tensor. Transposed
            convolutions and recurrent layers have one in any case, embeddings one for each row.
        equalize: scale the channels between layers beforehand, so that their ranges are alike
            (static; cross-layer equalization, Nagel et al. 2019, arXiv 1906.04721). Helps where
            channels differ by much, as in MobileNets; a ReLU6 between two layers becomes a ReLU.
        keep_fp32: modules that stay FP32: shell patterns (`fnmatch`) on your own qualified names
            (``"layer4.*"``), or module types. A pattern that matches nothing is an error.
        calibration_samples: how many samples the observers see (static). More than there are is an
            error; the default means 200 or as many as there are.
        dtype: of ``weight_only``: ``int8`` (default), ``int4``, ``float16`` or ``codebook`` (each
            weight is one of 2**bits values found by k-means); of ``cast``: ``bfloat16`` (default)
            or ``float16``.
        bits: of a codebook's indices, 1 to 8.
        epochs: passes over the training data (QAT, built-in loop; an error beside ``quant_train``).
        lr: learning rate of Adam (QAT, built-in loop; an error beside ``quant_train``).
        device: where the built-in loop trains (QAT), such as ``cuda``; default the CPU. The trained model
            is converted, and judged, on the CPU.
        build: for ``custom``: callable(a copy of the FP32 module) -> the quantized model, a
            callable that takes the same inputs.
        path: of an ``artefact``, from pytest's rootdir (of a script from the current folder): ``.onnx``
            (ONNX Runtime), ``.xml`` (OpenVINO), ``.pte`` (ExecuTorch) or ``.tflite`` (LiteRT).
        quantized: False for a ``custom`` model or an ``artefact`` that is not meant to be (pruned,
            distilled, FP32), which would else pass no gate; the report says so.
        cache_key: a text that names all that your own ``build`` or ``quant_train`` depends on, such as a
            version of it and of its data. Without it what they make is made anew in each run.

    Raises:
        ValueError, TypeError: at construction, naming the argument, what was given and what is
            allowed.
    """

    kind: str
    flow: str = field(default="auto", kw_only=True)
    runtimes: tuple[str, ...] = field(default=(), kw_only=True)
    engine: str | None = field(default=None, kw_only=True)
    observer: str | None = field(default=None, kw_only=True)
    qscheme: str | None = field(default=None, kw_only=True)
    per_channel: bool = field(default=True, kw_only=True)
    equalize: bool = field(default=False, kw_only=True)
    keep_fp32: tuple[str | type, ...] = field(default=(), kw_only=True)
    dtype: str | None = field(default=None, kw_only=True)
    bits: int = field(default=4, kw_only=True)
    calibration_samples: int = field(default=200, kw_only=True)
    epochs: int = field(default=2, kw_only=True)
    lr: float = field(default=1e-4, kw_only=True)
    device: str | None = field(default=None, kw_only=True)
    build: Callable[[Any], Callable[..., Any]] | None = field(default=None, kw_only=True)
    path: str | None = field(default=None, kw_only=True)
    quantized: bool = field(default=True, kw_only=True)
    cache_key: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        __tracebackhide__ = hidden
        _one_of("kind", self.kind, KINDS)
        _one_of("flow", self.flow, FLOWS)
        if (self.kind == "custom") != callable(self.build):
            raise TypeError(
                f"Recipe: kind={self.kind!r} with build={self.build!r}; build, a callable from the "
                "FP32 module to the quantized model, goes with kind='custom' and only with it"
            )
        self._check_path()
        if self.device is not None and not (isinstance(self.device, str) and self.device):
            raise TypeError(
                f"Recipe: device is {self.device!r}; expected PyTorch's name of one, such as 'cuda'"
            )
        if self.cache_key is not None and not (
            isinstance(self.cache_key, str) and self.cache_key.strip()
        ):
            raise TypeError(
                f"Recipe: cache_key is {self.cache_key!r}; expected a string, such as 'v2'"
            )
        if not isinstance(self.quantized, bool):
            raise TypeError(f"Recipe: quantized is {self.quantized!r}; expected True or False")
        kept = self.keep_fp32 if isinstance(self.keep_fp32, list | tuple) else (self.keep_fp32,)
        object.__setattr__(self, "keep_fp32", tuple(kept))
        for item in self.keep_fp32:
            if not isinstance(item, str | type):
                raise TypeError(f"Recipe: keep_fp32 takes names or module types, not {item!r}")
        for name, default in _defaults().items():
            if name not in USED[self.kind] and getattr(self, name) != default:
                raise ValueError(
                    f"Recipe: {name}={getattr(self, name)!r} does not apply to kind={self.kind!r}; "
                    "leave it out"
                )
        if self.kind in DTYPES and self.dtype is None:
            object.__setattr__(self, "dtype", DTYPES[self.kind][0])
        self._check_choices()
        self._check_numbers()

    def _check_path(self) -> None:
        __tracebackhide__ = hidden
        if isinstance(self.path, PurePath):
            object.__setattr__(self, "path", self.path.as_posix())
        if self.kind != "artefact" and self.path is None:
            return
        if self.kind != "artefact" or not isinstance(self.path, str) or not self.path:
            raise TypeError(
                f"Recipe: kind={self.kind!r} with path={self.path!r}; the path of a file that another "
                "runtime runs goes with kind='artefact' and only with it"
            )
        if "://" in self.path:
            raise ValueError(
                f"Recipe: path is {self.path!r}; expected a file on this machine, so fetch it before the "
                "tests run"
            )
        if not self.path.endswith(SUFFIXES):
            raise ValueError(
                f"Recipe: path is {self.path!r}; expected a file of another runtime that ends with one of "
                f"{', '.join(SUFFIXES)}"
            )

    def _check_choices(self) -> None:
        __tracebackhide__ = hidden
        for name, allowed in {
            "engine": (*ENGINES, "auto"),
            "observer": OBSERVERS,
            "qscheme": QSCHEMES,
            "dtype": DTYPES.get(self.kind, ()),
        }.items():
            if getattr(self, name) is not None:
                _one_of(name, getattr(self, name), allowed)
        if self.flow not in (allowed := SOME_FLOWS.get(self.kind, FLOWS)):
            what = {"dynamic": "dynamic quantization", "qat": "QAT"}[self.kind]
            raise ValueError(
                f"Recipe: flow {self.flow!r} has no {what}; allowed: {', '.join(allowed)}"
            )
        self._check_runtimes(allowed)
        if self.kind == "qat" and self.observer in SLOW_TO_TRAIN:
            raise ValueError(
                f"Recipe: observer {self.observer!r} is for static quantization; QAT learns with "
                "moving_average, minmax or histogram"
            )

    def _check_runtimes(self, flows: tuple[str, ...]) -> None:
        __tracebackhide__ = hidden
        given = self.runtimes if isinstance(self.runtimes, list | tuple) else (self.runtimes,)
        object.__setattr__(self, "runtimes", tuple(given))
        known = tuple(flow for flow in RUNTIME_FLOWS if flow in flows)
        for each in self.runtimes:
            _one_of("runtimes", each, known)
        if self.runtimes and self.flow != "best":
            raise ValueError(
                f"Recipe: runtimes={self.runtimes!r} does not apply to flow={self.flow!r}; it goes with "
                "flow='best'"
            )

    def _check_numbers(self) -> None:
        __tracebackhide__ = hidden
        for name, most in (("calibration_samples", math.inf), ("epochs", math.inf), ("bits", 8)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                raise ValueError(
                    f"Recipe: {name} is {value!r}; expected a whole number from 1"
                    f"{' on' if most == math.inf else f' to {most}'}"
                )
        if not isinstance(self.lr, int | float) or not 0 < self.lr < math.inf:
            raise ValueError(f"Recipe: lr is {self.lr!r}; expected a positive number")
        for name, dtype in (("bits", "codebook"), ("per_channel", "int8")):
            value = getattr(self, name)
            if self.dtype not in (None, dtype) and value != _defaults()[name]:
                raise ValueError(
                    f"Recipe: {name}={value!r} does not apply to dtype={self.dtype!r}; leave it out"
                )

    @property
    def label(self) -> str:
        """A name for a variant that was given none: the kind and whatever is not the default."""
        changed = [
            f"{name}={_name(value) if callable(value) else value}"
            for name, default in _defaults().items()
            if (value := getattr(self, name)) != default and name != "cache_key"
        ]
        return f"{self.kind}({', '.join(changed)})" if changed else self.kind

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; module types and ``build`` by their qualified names."""
        plain: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        plain["keep_fp32"] = [_name(item) for item in self.keep_fp32]
        plain["build"] = None if self.build is None else _name(self.build)
        del plain["cache_key"]  # which changes nothing of what is made
        for name in ("device", "path"):  # as all recipes were before there were these
            if plain[name] is None:
                del plain[name]
        if runtimes := plain.pop("runtimes"):
            plain["runtimes"] = list(runtimes)
        if self.quantized:  # as all recipes were before there were others
            del plain["quantized"]
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Recipe":
        """The recipe that `to_dict` wrote; of a custom one only what can be told without its build.

        Raises:
            ValueError, TypeError: for what no recipe says.
        """
        return cls(**{name: value for name, value in plain.items() if name != "build"})


def _defaults() -> dict[str, Any]:
    return {f.name: f.default for f in fields(Recipe) if f.name != "kind"}


def _one_of(argument: str, given: object, allowed: tuple[str, ...]) -> None:
    __tracebackhide__ = hidden
    if given not in allowed:
        raise ValueError(f"Recipe: {argument} is {given!r}; allowed: {', '.join(allowed)}")


def _name(item: Any) -> str:
    """A qualified name, the same in every run: no address is in it."""
    if isinstance(item, str):
        return item
    if isinstance(item, functools.partial):
        given = [*map(_plainly, item.args)]
        given += [f"{name}={_plainly(value)}" for name, value in item.keywords.items()]
        return f"partial({', '.join([_name(item.func), *given])})"
    if not hasattr(item, "__qualname__"):  # an object that can be called
        item = type(item)
    return f"{item.__module__}.{item.__qualname__}"


def _plainly(value: Any) -> str:
    plain = isinstance(value, str | int | float | bool | type(None))
    return repr(value) if plain else _name(value)
