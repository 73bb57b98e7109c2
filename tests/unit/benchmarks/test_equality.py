from __future__ import annotations

import base64
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.equality import __main__ as program
from benchmarks.equality import compare as comparing
from benchmarks.equality.cases import Case, all_cases, chosen
from benchmarks.equality.compare import compare_case, lines, renamed
from benchmarks.equality.scenes import BANDS, CLASSES, SIZE, write_data
from benchmarks.equality.tensors import READERS
from benchmarks.equality.values import flatten, read_folder

# A package that stands for manyview: "write FILE NUMBER" and "copy FROM TO"; anything else fails.
FAKE = """
import pathlib, shutil, sys
verb, *given = sys.argv[1:]
print("called to", verb)
if verb == "write":
    pathlib.Path(given[0]).write_text('{"mAP": %s}' % given[1])
elif verb == "copy":
    shutil.copy(*given)
else:
    sys.exit(3)
"""


def values(content: Any) -> dict[str, Any]:
    return dict(flatten(content))


def test_numbers_truth_values_and_nulls_come_under_dotted_keys() -> None:
    content = {"results": {"AP": [0.1, None]}, "cached": True, "rule": "p>=0.5"}
    assert values(content) == {"results.AP.0": 0.1, "results.AP.1": None, "cached": True}


def test_words_count_only_where_they_name_an_image_or_data() -> None:
    content = {"image": "a/01.jpg", "picture": "/tmp/a.png", "data": {"fingerprint": "ab"}, "about": "warped"}
    assert values(content) == {"image": "a/01.jpg", "data.fingerprint": "ab"}


@pytest.mark.parametrize("key", ["seconds", "views_per_second", "waiting", "provenance", "versions", "asked"])
def test_times_and_origins_are_left_out_at_any_depth(key: str) -> None:
    assert values({key: 1, "a": [{key: {"b": 2}, "c": 3}]}) == {"a.0.c": 3}


def test_a_folder_gives_the_values_of_every_file_that_has_any(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"results": {"mAP": 0.25}}')
    (tmp_path / "metrics.jsonl").write_text('{"loss": 1.5}\n{"loss": NaN}\n')
    (tmp_path / "run.json").write_text('{"plan": {"steps": 3}}')
    (tmp_path / "config.json").write_text('{"training": {"epochs": 2}}')
    (tmp_path / "table.csv").write_text("metric,mean\nmAP,0.5\n")
    (tmp_path / "note.md").write_text("1 2 3")
    jpeg = base64.b64encode(b"pixels").decode()
    (tmp_path / "page.html").write_text(
        f'<img src="data:image/jpeg;base64,{jpeg}"><img src="data:image/png;base64,aa">'
    )
    found = read_folder(tmp_path)
    assert math.isnan(found.pop("metrics.jsonl:1.loss"))
    assert len(found.pop("page.html:image.0")) == 64
    assert found == {
        "metrics.json:results.mAP": 0.25,
        "metrics.jsonl:0.loss": 1.5,
        "run.json:plan.steps": 3,
        "table.csv:0.mean": 0.5,
    }


def test_a_configuration_counts_where_it_is_no_runs_own(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hidden_sizes": [64]}')
    assert read_folder(tmp_path) == {"config.json:hidden_sizes.0": 64}


def test_checkpoints_count_by_what_is_in_them_and_not_by_its_names(tmp_path: Path) -> None:
    tensors = [torch.arange(3.0), torch.arange(4.0)]
    for name, keys in (("old", "ab"), ("new", "cd")):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        save_file(dict(zip(keys, tensors, strict=True)), tmp_path / name / f"checkpoints/{name}.safetensors")
    found = read_folder(tmp_path / "old")
    assert len(found) == 2
    assert found == read_folder(tmp_path / "new")


def write_tensors(path: Path, weight: torch.Tensor) -> None:
    array = weight.numpy()
    if path.suffix == ".safetensors":
        save_file({"weight": weight.contiguous()}, path, {"made": path.stem})
    elif path.suffix == ".npz":
        np.savez(path, weight=array, record=path.stem)
    elif path.suffix == ".pkl":
        path.write_bytes(pickle.dumps({"weight": array, "made": path.stem}))
    elif path.suffix == ".onnx":
        tensor = onnx.numpy_helper.from_array(np.ascontiguousarray(array), "weight")
        node = onnx.helper.make_node("Relu", ["weight"], ["out"], doc_string=path.stem)
        onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], path.stem, [], [], [tensor])), path)
    elif path.suffix == ".pt2":

        class Scale(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = torch.nn.Parameter(weight.contiguous())

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.weight * x

        torch.export.save(torch.export.export(Scale(), (torch.ones(()),)), path)
    else:
        torch.save({"weight": weight, "made": path.stem}, path)


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensors_count_in_every_format_and_what_is_beside_them_does_not(suffix: str, tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3).T  # its bytes do not lie in its own order
    contents = {"one": weight, "another": weight, "moved": weight.flip(0), "last-bit": weight.clone()}
    contents["last-bit"][2, 1] = 5.0000005
    for name, content in contents.items():
        write_tensors(tmp_path / f"{name}{suffix}", content)
    hashes = {name: READERS[suffix](tmp_path / f"{name}{suffix}") for name in contents}
    assert "weight" in hashes["one"]
    assert hashes["one"] == hashes["another"]
    assert len({found["weight"] for found in hashes.values()}) == 3


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps(print))
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print"):
        READERS[".pkl"](tmp_path / "weights.pkl")


def test_values_are_equal_to_the_last_bit_or_differ() -> None:
    old = {"f:a": 0.1 + 0.2, "f:b": math.nan, "f:c": 1, "f:d": "aa"}
    assert compare_case(old, dict(old)).passed
    assert compare_case(old, dict(old)).equal == 4
    changed = compare_case(old, {"f:a": 0.3, "f:b": 0.0, "f:c": 1.0, "f:d": "ab"})
    assert list(changed.different) == list(old)
    assert not changed.passed


def test_a_lost_result_fails_and_a_new_value_or_a_setting_recorded_otherwise_does_not() -> None:
    kept = {"metrics.json:results.mAP": 0.5}
    setting = {"metrics.json:protocol.epochs": 3}
    assert not compare_case({**kept, "metrics.json:results.OF1": 0.5}, kept).passed
    without = compare_case({**kept, **setting}, {**kept, "metrics.json:results.new": 1})
    assert without.passed
    assert (without.equal, without.unrecorded, without.new) == (1, [*setting], ["metrics.json:results.new"])
    assert not compare_case(setting, {"metrics.json:protocol.epochs": 4}).passed


def test_keys_may_be_renamed_by_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = {"f:photographs": 48, "f:per_photograph": 1}, {"f:images": 48, "f:per_image": 1}
    assert compare_case(old, new).passed
    monkeypatch.setattr(comparing, "RENAMED", ())
    assert not compare_case(old, new).passed


def test_two_values_never_become_one() -> None:
    with pytest.raises(ValueError, match="two values are called f:images once f:photographs is renamed"):
        renamed({"f:images": 1, "f:photographs": 1})


@pytest.mark.parametrize("broken", [None, {"failed": "exit code 2"}])
def test_a_case_that_one_side_lacks_or_that_failed_is_not_equal(broken: dict[str, Any] | None) -> None:
    fine = {"f:a": 1}
    assert not compare_case(fine, broken).passed
    assert not compare_case(broken, fine).passed
    assert not compare_case(broken, broken).passed


def test_the_table_counts_and_names_what_is_wrong() -> None:
    old = {"good": {"f:a": 1}, "bad": {f"f:{i}": i for i in range(8)}, "gone": {}}
    shown = "\n".join(lines(comparing.compare(old, {"good": {"f:a": 1}, "bad": {f"f:{i}": -i for i in range(8)}})))
    assert "    f:1: 1 became -1" in shown
    assert "    and 2 more" in shown  # 7 differ; 5 are shown
    assert "missing on the new side" in shown
    assert shown.splitlines()[-1] == "NOT EQUAL: bad, gone; 2 values are the same"


def test_each_case_stands_after_those_that_it_needs_and_brings_them_along() -> None:
    known = list(all_cases())
    for name, case in all_cases().items():
        assert set(case.needs) <= set(known[: known.index(name)]), name
    assert list(chosen(["predict"])) == ["paper-0", "detect-fpn", "predict"]
    assert list(chosen(["resum*"])) == ["paper-0", "resumed"]
    assert list(chosen(["predict"], needed=False)) == ["predict"]
    with pytest.raises(ValueError, match="no case is called kmn; there are paper-0, "):
        chosen(["kmn"])


def test_a_command_gets_its_own_folder_and_those_that_it_needs() -> None:
    arguments = all_cases()["neighbours-stored"].arguments("made/neighbours-stored", "/before/made")
    assert arguments[:5] == [
        "neighbours",
        "/before/made/paper-0",
        "data/images",
        "--out",
        "made/neighbours-stored/found.png",
    ]
    assert not any("{" in word for case in all_cases().values() for word in case.arguments("to", "from"))


def test_the_same_data_are_drawn_anywhere_and_again(tmp_path: Path) -> None:
    for name in ("one", "two", "two"):
        write_data(tmp_path / name, count=8, train=6)
    one, two = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("one", "two")
    )
    assert one == two
    assert len(one) == 46


def test_all_labels_say_the_same_of_the_images(tmp_path: Path) -> None:
    write_data(tmp_path, count=16, train=12)
    coco = json.loads((tmp_path / "instances_train.json").read_text())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    listed = dict(line.split(",") for line in (tmp_path / "train.csv").read_text().splitlines()[1:])
    assert len(listed) == len(coco["images"]) == 12
    assert any(annotation["iscrowd"] for annotation in coco["annotations"])
    for image in coco["images"]:
        with Image.open(tmp_path / "images" / image["file_name"]) as opened:
            assert opened.size in (SIZE, SIZE[::-1])
        objects = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        shown = {names[annotation["category_id"]] for annotation in objects}
        stem = image["file_name"].rpartition(".")[0]
        voc = (tmp_path / f"voc/Annotations/{stem}.xml").read_text()
        yolo = (tmp_path / f"yolo/labels/train/{stem}.txt").read_text().splitlines()
        assert set(listed[image["file_name"]].split("|")) == shown
        assert {name for name in CLASSES if f"<name>{name}<" in voc} == shown
        assert {CLASSES[int(line.split()[0])] for line in yolo} == shown
        assert voc.count("<object>") == len(yolo) == len(objects)
        assert all(0 <= float(share) <= 1 for line in yolo for share in line.split()[1:])
        for annotation in objects:
            left, top, width, height = annotation["bbox"]
            assert left >= 0
            assert top >= 0
            assert left + width <= SIZE[0]
            assert top + height <= SIZE[1]
            if annotation["iscrowd"]:
                assert sum(annotation["segmentation"]["counts"]) == SIZE[0] * SIZE[1]
        assert np.load(tmp_path / "bands" / f"{stem}.npy").shape == (*SIZE[::-1], BANDS)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "checkout/src/manyview"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(FAKE)
    commands = {
        "first": "write {to}/metrics.json 0.5",
        "second": "copy {from}/first/metrics.json {to}/copied.json",
    }
    monkeypatch.setattr(program, "all_cases", lambda: {name: Case(name, text) for name, text in commands.items()})
    monkeypatch.setattr(program, "write_data", lambda folder: folder.mkdir(parents=True, exist_ok=True))
    return tmp_path / "checkout"


def run(out: Path, checkout: Path, *more: str) -> int:
    out.mkdir(exist_ok=True)
    return program.main(["--out", str(out), "--source", str(checkout), *more])


def test_equal_checkouts_pass_and_a_changed_one_does_not(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "before", checkout) == 0
    before = tmp_path / "before/equality.json"
    assert json.loads(before.read_text()) == {"first": {"metrics.json:mAP": 0.5}, "second": {"copied.json:mAP": 0.5}}
    assert "called to write" in (tmp_path / "before/logs/first.txt").read_text()
    assert run(tmp_path / "again", checkout, "--against", str(before), "--jobs", "2") == 0
    assert (tmp_path / "again/equality.json").read_bytes() == before.read_bytes()
    main = checkout / "src/manyview/__main__.py"
    main.write_text(FAKE.replace("% given[1]", "% 0.25"))
    capsys.readouterr()
    assert run(tmp_path / "after", checkout, "--against", str(before)) == 1
    assert "metrics.json:mAP: 0.5 became 0.25" in capsys.readouterr().out
    # With what the earlier one made, the case that only reads it gives the same again.
    old = ["--inputs", str(tmp_path / "before"), "--against", str(before)]
    assert run(tmp_path / "old", checkout, *old) == 0
    assert list(json.loads((tmp_path / "old/equality.json").read_text())) == ["second"]


def test_a_failing_command_is_recorded_and_ends_with_an_error(checkout: Path, tmp_path: Path) -> None:
    (checkout / "src/manyview/__main__.py").write_text(FAKE.replace('"write"', '"nothing"'))
    assert run(tmp_path / "out", checkout) == 1
    found = json.loads((tmp_path / "out/equality.json").read_text())
    assert found == {"first": {"failed": "exit code 3"}, "second": {"failed": "exit code 1"}}
    assert "FileNotFoundError" in (tmp_path / "out/logs/second.txt").read_text()


def test_a_file_that_cannot_be_read_is_a_failure(checkout: Path, tmp_path: Path) -> None:
    (checkout / "src/manyview/__main__.py").write_text(FAKE.replace("% given[1]", "% '{'"))
    assert run(tmp_path / "out", checkout) == 1
    assert "JSONDecodeError" in json.loads((tmp_path / "out/equality.json").read_text())["first"]["failed"]


def test_sources_that_are_not_the_checkouts_are_refused(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="is not what is imported"):
        run(tmp_path / "out", tmp_path / "empty")
