"""The initial weights of a resumed run, which it needs to the end: as kept in its folder, or else as it took them."""

from __future__ import annotations

from torch import Tensor

from manyview.backbones import Backbone
from manyview.backbones.weights import own_weights
from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.runs import RunFolder
from manyview.runs.record import RunRecord
from manyview.training.initial.weights import find_initial, load_initial
from manyview.training.protection import read_initial


def initial_again(
    backbone: Backbone, config: PretrainConfig, folder: RunFolder, record: RunRecord
) -> tuple[dict[str, Tensor], str]:
    """The initial weights, and a clause on the file if it was lost or damaged, so that it is to be written again.

    Args:
        backbone: of the run, just built; the weights are loaded into it if the folder has lost them.
        config: of the run.
        folder: of the run.
        record: of the run, with the SHA-256 of the weights that it started from.

    Raises:
        UserError: the file is lost or damaged, and what it was made from is, too, or has changed.
    """
    try:
        return read_initial(folder), ""
    except UserError:
        fault = f"{folder.initial} is {'damaged' if folder.initial.is_file() else 'missing'}"
    lost = f"{fault}, without which the run cannot be resumed"
    try:
        initial = find_initial(config)
    except UserError as error:
        raise UserError(f"{lost}, nor can it be made again: {error}") from error
    if initial is None or initial.sha256 != record.run.get("init", {}).get("sha256"):
        raise UserError(f"{lost}, and the weights that the run started from have changed; start a new run")
    load_initial(backbone, initial, config)
    return own_weights(backbone), f"{fault}; written again from {initial.file}"
