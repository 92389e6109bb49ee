"""Kept files: a file of another runtime as a part of an entry, and back again byte for byte."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pytest_quant.errors import QuantStageError
from pytest_quant.runtimes.artefact import Artefact, arguments_of
from pytest_quant.runtimes.only_call import only_call
from pytest_quant.runtimes.own_folder import OwnFolder
from pytest_quant.runtimes.trial import tried_as_plain, tried_of_plain
from pytest_quant.subject.subject import Admitted


def files_as_entry(model: Artefact) -> dict[str, Any]:
    """The bytes of the files that a flow has made, and what the first call of them told.

    Raises:
        QuantStageError: they are not where one flow has put them all, or others by now.
    """
    model.refuse_changed()
    folder = model.path.parent
    if model.folder is None or any(each.parent != folder for each in model.files):
        raise QuantStageError("save", "what another runtime runs is a file already")
    contents = {each.name: _bytes(each) for each in model.files}
    return {"files": contents, "told": json.dumps(tried_as_plain(model.told))}


def files_of_entry(content: Mapping[str, Any], admitted: Admitted) -> Artefact:
    """The same files again, in a folder that lives as long as what is returned.

    The machine and the versions of all packages are in the entry's key, so that the file need not be
    tried again in a process of its own.
    """
    folder, files = OwnFolder(), list[Path]()
    for name, held in content["files"].items():
        files.append(folder.path / Path(name).name)
        files[-1].write_bytes(held.numpy().tobytes())
    with torch.inference_mode():
        seen = only_call(admitted.module, admitted.first_inputs, admitted.subject.forward)
    told = tried_of_plain(json.loads(content["told"]))
    made = Artefact(files, arguments_of(admitted.module), seen.outputs, told)
    made.folder = folder
    return made


def _bytes(path: Path) -> torch.Tensor:
    return torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
