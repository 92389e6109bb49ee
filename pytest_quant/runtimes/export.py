"""Export: what production loads with the runtime alone, and a page of what it is beside it."""

import hashlib
import json
import os
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pytest_quant.errors import QuantStageError, in_brief
from pytest_quant.machine.atomic_write import write_atomically
from pytest_quant.runtimes.artefact import Artefact
from pytest_quant.runtimes.file_shipment import FileShipment
from pytest_quant.runtimes.package_shipment import Packable, PackageShipment
from pytest_quant.runtimes.runtime import Port
from pytest_quant.runtimes.shipment import Shipment
from pytest_quant.subject.weights_digest import weights_digest
from pytest_quant.variant.variant import Variant

FORM, VERSION = "pytest-quant export", 1


def shipment_of(variant: Variant) -> Shipment | None:
    """What production would load of a variant; None for what nothing runs without this package."""
    model = variant.model
    if isinstance(model, Artefact):
        return FileShipment(variant, model)
    return PackageShipment(variant, model) if isinstance(model, Packable) else None


def export(variant: Variant, path: str | Path) -> Path:
    """Write a variant's file, those beside it and a page of JSON; see `Variant.export`."""
    path, shipment = Path(path), shipment_of(variant)
    if shipment is None:
        what = "FP32" if variant.is_fp32 else f"{variant.name} (flow {variant.recipe.flow})"  # type: ignore[union-attr]
        raise QuantStageError(
            "export",
            f"{what} is a PyTorch module, and no file that another runtime runs; "
            "Recipe('static', flow='onnx') builds one, flow='pt2e' a package for PyTorch alone, and "
            "Variant.save writes a file for load_variant.",
        )
    if path.suffix != shipment.suffix:
        raise QuantStageError(
            "export",
            f"{path.name} was asked for, and {variant.name} is run by {shipment.runtime}; give it the "
            f"suffix {shipment.suffix}.",
        )
    try:
        with variant.isolated():
            variant.refuse_moved_fp32()
            path.parent.mkdir(parents=True, exist_ok=True)
            _put(shipment, path)
        write_page(variant, shipment, path)
    except OSError as error:
        raise QuantStageError("export", f"{path} cannot be written: {in_brief(error)}.") from error
    return path


def _put(shipment: Shipment, path: Path) -> None:
    """Write the files, try them in a folder of their own, and put them in their places."""
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        written = shipment.write(Path(folder, path.name))
        if why := shipment.fault(written[0]):
            raise QuantStageError(
                "export",
                f"{path.name} was loaded by {shipment.runtime} alone, in a process of its own, and is "
                f"not what was judged: {why}. Nothing is kept.",
            )
        _refuse_to_change_others(path, written)
        for source, target in zip(written, shipment.names(path), strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)


def _refuse_to_change_others(path: Path, written: list[Path]) -> None:
    """What lies beside the file that is written may be there for another one that was exported before."""
    for page in sorted(path.parent.glob("*.json")):
        files = {} if page == page_path(path) else _files_of(page)
        for each in written[1:]:
            name = _beside(each, written[0])
            if files.get(name, (new := _sha256(each))) != new:
                raise QuantStageError(
                    "export",
                    f"{path.name} needs a file {name} beside it, and so does {next(iter(files))}, which "
                    f"was exported to {path.parent} with another one. Give each a folder of its own.",
                )


def _files_of(page: Path) -> dict[str, str]:
    """The files with their digests of a page of ours; none of what else it may be."""
    try:
        told = json.loads(page.read_text(encoding="utf-8"))
        return dict(told["files"]) if told["form"] == FORM else {}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def page_path(path: Path) -> Path:
    """Where the page of a file lies."""
    return path.with_name(f"{path.name}.json")


def write_page(variant: Variant, shipment: Shipment, path: Path) -> None:
    """Write the page of a variant's file, with what has been judged by now.

    Args:
        path: of the file, which is there.
    """
    with variant.isolated():
        page = json.dumps(_page(variant, shipment, shipment.names(path)), indent=2)
    write_atomically(page_path(path), f"{page}\n")


def _page(variant: Variant, shipment: Shipment, written: list[Path]) -> dict[str, Any]:
    evaluation = variant.measured("evaluation")
    return {
        "form": FORM,
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "pytest_quant": version("pytest-quant"),
        "runtime": shipment.runtime,
        "files": {_beside(each, written[0]): _sha256(each) for each in written},
        "model": variant.subject.label,
        "variant": variant.name,
        "recipe": None if variant.recipe is None else variant.recipe.to_dict(),
        "variant_digest": shipment.digest,
        "fp32_digest": weights_digest(variant.fp32.model),
        "inputs": [_port(port) for port in shipment.inputs],
        "outputs": [_port(port) for port in shipment.outputs],
        "channels_last": shipment.channels_last,
        "eval_data": None if evaluation is None else evaluation.passed.hex(),
        "eval_samples": None if evaluation is None else len(evaluation),
        "metrics": {} if evaluation is None else dict(evaluation.values),
        "verdicts": variant.verdicts,
    }


def _beside(path: Path, main: Path) -> str:
    """A file's name as the main one asks for it."""
    return path.relative_to(main.parent).as_posix()


def _port(port: Port) -> dict[str, Any]:
    scaled = {"scale": port.scale, "zero_point": port.zero_point} if port.scale else {}
    return {"name": port.name, "shape": list(port.shape), "dtype": port.dtype, **scaled}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
