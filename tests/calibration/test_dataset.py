"""Folders and list files of images as batches: order, identity, skipping, drawing, layouts, memory, threads."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration import Dataset, DataSpec, open_dataset
from calibration.enough import left_out_text
from calibration.prefetch import ahead
from calibration.preprocess import apply
from model_defs.definition import IMAGENET_RGB
from tests.calibration.images import IMAGE_INPUT, encoded, picture, write_folder
from trtkit.artifacts.model import Dim, TensorSpec
from trtkit.errors import CalibrationError, UsageError

RECIPE = dataclasses.replace(IMAGENET_RGB, resize=28, crop=(24, 24))


def open_images(source: Path | str, **options: object) -> Dataset:
    return open_dataset(DataSpec(source, **options), IMAGE_INPUT, RECIPE)  # type: ignore[arg-type]


def ids(dataset: Dataset, **options: object) -> list[str]:
    return [name for batch in dataset.batches(**options) for name in batch.ids]  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_hold_the_preprocessed_images_in_order_of_name(tmp_path: Path, threads: int) -> None:
    write_folder(tmp_path / "b", 4)
    write_folder(tmp_path / "a", 3)
    dataset = open_images(tmp_path)
    batches = list(dataset.batches(batch_size=3, threads=threads))
    names = [f"a/00{i}.png" for i in range(3)] + [f"b/00{i}.png" for i in range(4)]
    assert [batch.ids for batch in batches] == [tuple(names[:3]), tuple(names[3:6]), tuple(names[6:])]
    assert [batch.indices for batch in batches] == [(0, 1, 2), (3, 4, 5), (6,)]
    values = np.concatenate([batch.feeds["image"] for batch in batches])
    assert values.dtype == np.float32
    for name, value in zip(names, values, strict=True):
        np.testing.assert_array_equal(value, apply(RECIPE, Image.open(tmp_path / name)))


def test_chosen_indices_give_the_same_samples_as_a_whole_pass(tmp_path: Path) -> None:
    dataset = open_images(write_folder(tmp_path, 9))
    everything = np.concatenate([batch.feeds["image"] for batch in dataset.batches(batch_size=9)])
    chosen = list(dataset.batches((1, 4, 5, 8), batch_size=3))
    np.testing.assert_array_equal(np.concatenate([b.feeds["image"] for b in chosen]), everything[[1, 4, 5, 8]])
    assert list(dataset.batches((), batch_size=3)) == []
    for indices in ((4, 1), (1, 1), (-1,), (9,)):
        with pytest.raises(UsageError, match="strictly increasing"):
            dataset.batches(indices)


def test_identity_follows_the_content_not_the_place(tmp_path: Path) -> None:
    one = open_images(write_folder(tmp_path / "one", 5))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert open_images(tmp_path / "two").identity == one.identity
    picture(30, 40, seed=99).save(tmp_path / "two" / "004.png")
    assert open_images(tmp_path / "two").identity != one.identity


def test_unusable_files_are_counted_with_their_reasons_and_the_rest_is_used(tmp_path: Path) -> None:
    write_folder(tmp_path, 6)
    jpeg = encoded(picture(60, 60), "JPEG")
    (tmp_path / "cut.jpg").write_bytes(jpeg[:-200])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "page.png").write_bytes(b"<html>not found</html>")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "labels.txt").write_text("none of our business")
    picture(30, 40).convert("L").save(tmp_path / "grey.png")
    dataset = open_images(tmp_path)
    assert len(dataset) == 8  # the cut file shows itself only when it is decoded
    assert dataset.description["skipped"] == {
        "empty file": 1,
        "file not found": 1,
        "not an image that Pillow can read": 1,
    }
    identity = dataset.identity
    for _ in range(2):  # a second pass counts nothing twice
        batches = list(dataset.batches(batch_size=4))
        assert sum(len(batch.ids) for batch in batches) == 7
        assert all(len(batch.ids) == len(batch.feeds["image"]) for batch in batches)
        assert "cut.jpg" not in [name for batch in batches for name in batch.ids]
    description = json.loads(json.dumps(dataset.description))
    assert description["skipped"]["damaged or cut short"] == 1
    assert description["skipped_examples"]["cut.jpg"] == "damaged or cut short"
    assert description["converted"] == {"grayscale": 1}
    assert description["kind"] == "folder"
    assert description["synthetic"] is False
    assert description["decoder"].startswith("Pillow ")
    assert dataset.identity == description["identity"] == identity


def test_counts_follow_what_could_be_decoded_and_travel_to_the_next_process(tmp_path: Path) -> None:
    write_folder(tmp_path, 6)
    shutil.copy(tmp_path / "000.png", tmp_path / "copy.png")
    whole = (tmp_path / "003.png").read_bytes()
    (tmp_path / "003.png").write_bytes(whole[: len(whole) // 2])
    dataset = open_images(tmp_path)
    assert (dataset.description["samples"], dataset.description["distinct"]) == (7, 6)  # nothing decoded yet
    list(dataset.batches())
    assert (dataset.description["samples"], dataset.description["distinct"]) == (6, 5)
    assert dataset.usable(range(7)) == (0, 1, 2, 4, 5, 6)
    assert dataset.distinct((0, 3, 6)) == 1  # a copy, and one that cannot be read
    other = open_images(tmp_path)
    other.recall(json.loads(json.dumps(dataset.seen)))
    assert other.description == dataset.description
    assert left_out_text(other.description) == "1 sample was left out: 1 × damaged or cut short (003.png)"


def test_reasons_come_with_a_few_names_each(tmp_path: Path) -> None:
    write_folder(tmp_path, 2)
    for index in range(5):
        (tmp_path / f"empty{index}.png").touch()
    (tmp_path / "page.png").write_bytes(b"<html>")
    description = open_images(tmp_path).description
    assert left_out_text(description) == (
        "6 samples were left out: 5 × empty file (empty0.png, empty1.png, empty2.png, …), "
        "1 × not an image that Pillow can read (page.png)"
    )
    assert left_out_text({"skipped": {}}) == left_out_text({}) == ""


def test_unusable_samples_do_not_make_batches_smaller(tmp_path: Path) -> None:
    write_folder(tmp_path, 7)
    (tmp_path / "001.png").write_bytes((tmp_path / "001.png").read_bytes()[:-40])
    batches = [batch.indices for batch in open_images(tmp_path).batches(batch_size=2)]
    assert batches == [(0, 2), (3, 4), (5, 6)]
    # Behind any batch another process may go on, and cuts the rest in the same way.
    for done, batch in enumerate(batches, start=1):
        rest = open_images(tmp_path).batches(range(batch[-1] + 1, 7), batch_size=2)
        assert [later.indices for later in rest] == batches[done:]


def test_a_batch_of_which_nothing_is_left_is_not_given(tmp_path: Path) -> None:
    write_folder(tmp_path, 4)
    for name in ("000.png", "001.png"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    assert [batch.indices for batch in open_images(tmp_path).batches(batch_size=2)] == [(2, 3)]


def test_duplicates_land_on_one_side_of_the_split(tmp_path: Path) -> None:
    write_folder(tmp_path, 8)
    for index in range(8):
        shutil.copy(tmp_path / f"00{index}.png", tmp_path / f"copy{index}.png")
    dataset = open_images(tmp_path)
    assert (dataset.description["samples"], dataset.description["distinct"]) == (16, 8)
    calibration, held_out = dataset.split(0.25)
    assert len(held_out) == 4
    assert not {dataset.content_ids[i] for i in calibration} & {dataset.content_ids[i] for i in held_out}


def test_a_limit_draws_with_the_seed_and_makes_up_for_unusable_files(tmp_path: Path) -> None:
    write_folder(tmp_path, 20)
    for index in range(0, 20, 2):
        (tmp_path / f"{index:03}.png").write_bytes(b"broken")
    first = ids(open_images(tmp_path, limit=6))
    assert len(first) == 6
    assert first == sorted(first) == ids(open_images(tmp_path, limit=6))
    assert first != ids(open_images(tmp_path, limit=6, seed=1))
    assert len(ids(open_images(tmp_path, limit=100))) == 10


@pytest.mark.parametrize("text", ["{}\n", "{}\r\n", "{} 65\n", "\ufeff{}\n", "# comment\n\n  {}  \n", "{}\t-1\n"])
def test_list_files_of_mlperf_caffe_and_people(tmp_path: Path, text: str) -> None:
    write_folder(tmp_path / "images", 5)
    names = ["003.png", "001.png", "004.png"]
    path = tmp_path / "cal_image_list_option_1.txt"
    path.write_bytes("".join(text.format(name) for name in names).replace("\ufeff", "").encode("utf-8"))
    if text.startswith("\ufeff"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    dataset = open_images(path, root=tmp_path / "images")
    assert ids(dataset) == names
    assert dataset.description["kind"] == "list"
    assert ids(open_images(path, root=tmp_path / "images", limit=2)) == names[:2]


def test_list_names_may_hold_spaces_and_numbers_and_repeat(tmp_path: Path) -> None:
    picture(30, 30).save(tmp_path / "my cat 2.png")
    shutil.copy(tmp_path / "my cat 2.png", tmp_path / "cat 7")
    path = tmp_path / "list.txt"
    path.write_text("my cat 2.png\ncat 7\nmy cat 2.png 5\nmissing.png\n")
    dataset = open_images(path)
    assert ids(dataset) == ["my cat 2.png", "cat 7"]
    assert dataset.description["skipped"] == {"file not found": 1, "named twice": 1}


def test_a_list_without_its_images_says_where_it_looked(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a.jpg\nb.jpg\n")
    with pytest.raises(CalibrationError, match=r"None of the 2 files .*a\.jpg") as caught:
        open_images(path)
    assert str(tmp_path) in caught.value.message
    path.write_bytes(b"\x89PNG\r\n\xff\xfe")
    with pytest.raises(CalibrationError, match="list of images"):
        open_images(path)
    path.write_text("# nothing\n")
    with pytest.raises(CalibrationError, match="names no image"):
        open_images(path)


def test_missing_and_empty_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="does not exist"):
        open_images(tmp_path / "nowhere")
    (tmp_path / "readme.md").write_text("x")
    with pytest.raises(CalibrationError, match=r"holds no image \(files of other kinds: 1\)"):
        open_images(tmp_path)
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(CalibrationError, match="no usable sample: 1 × not an image"):
        open_images(tmp_path)
    with pytest.raises(CalibrationError, match="single image"):
        open_images(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("shape", "dtype", "fits"),
    [
        (("N", 3, 24, 24), "float32", True),
        (("N", 3, "H", "W"), "float16", True),
        ((4, 3, 24, 24), "float32", True),
        (("N", 24, 24, 3), "float32", True),
        (("N", 3, 28, 28), "float32", False),
        (("N", 1, 24, 24), "float32", False),
        (("N", 3), "float32", False),
        (("N", 3, 24, 24), "uint8", False),
    ],
)
def test_images_fit_the_input_or_are_refused(tmp_path: Path, shape: tuple[Dim, ...], dtype: str, fits: bool) -> None:
    write_folder(tmp_path, 2)
    inputs = (TensorSpec("x", dtype, shape),)
    if not fits:
        with pytest.raises(UsageError):
            open_dataset(DataSpec(tmp_path), inputs, RECIPE)
        return
    (batch,) = open_dataset(DataSpec(tmp_path), inputs, RECIPE).batches(batch_size=2)
    expected = apply(RECIPE, Image.open(tmp_path / "001.png"))
    if shape[1] == 24:
        expected = expected.transpose(1, 2, 0)
    assert batch.feeds["x"].dtype == dtype
    np.testing.assert_array_equal(batch.feeds["x"][1], expected.astype(dtype))


def test_a_uint8_input_takes_pixels_as_they_are(tmp_path: Path) -> None:
    Image.fromarray(np.arange(24 * 24 * 3, dtype=np.uint16).reshape(24, 24, 3).astype(np.uint8)).save(
        tmp_path / "a.png"
    )
    raw = dataclasses.replace(RECIPE, resize=24, mean=(0.0,) * 3, std=(1.0,) * 3)
    (batch,) = open_dataset(DataSpec(tmp_path), (TensorSpec("x", "uint8", (1, 3, 24, 24)),), raw).batches()
    np.testing.assert_array_equal(batch.feeds["x"][0].transpose(1, 2, 0), np.asarray(Image.open(tmp_path / "a.png")))


def test_images_without_preprocessing_or_for_two_inputs_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, 2)
    with pytest.raises(UsageError, match="Nothing says how") as caught:
        open_dataset(DataSpec(tmp_path), IMAGE_INPUT)
    assert "--preprocess" in caught.value.hint
    with pytest.raises(UsageError, match="one input"):
        open_dataset(DataSpec(tmp_path), IMAGE_INPUT * 2, RECIPE)


def test_an_image_that_changes_between_opening_and_reading_is_an_error(tmp_path: Path) -> None:
    dataset = open_images(write_folder(tmp_path, 3))
    picture(30, 40, seed=50).save(tmp_path / "001.png")
    with pytest.raises(CalibrationError, match=r"001\.png changed"):
        list(dataset.batches())


def test_a_request_has_exactly_one_source_and_crosses_a_process_boundary() -> None:
    for wrong in ({}, {"source": "a", "synthetic": 3}, {"synthetic": -1}, {"source": "a", "limit": 0}):
        with pytest.raises(UsageError):
            DataSpec(**wrong)  # type: ignore[arg-type]
    spec = DataSpec(Path("a"), root=Path("b"), limit=3, seed=4)
    assert DataSpec.from_json(json.loads(json.dumps(spec.to_json()))) == DataSpec("a", root=Path("b"), limit=3, seed=4)
    with pytest.raises(UsageError, match="another process"):
        DataSpec([np.zeros(3)]).to_json()


def test_reading_ahead_is_bounded_ordered_and_ends_with_its_user() -> None:
    started: list[int] = []

    def call(index: int) -> Callable[[], int]:
        def run() -> int:
            started.append(index)
            time.sleep(0.001 * (index % 3))
            return index

        return run

    results = ahead(map(call, range(200)), threads=3, window=5)
    assert [next(results)() for _ in range(4)] == [0, 1, 2, 3]
    results.close()  # type: ignore[attr-defined]
    assert len(started) <= 4 + 5 + 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("calibration-data")]
    assert [result() for result in ahead(map(call, range(50)), threads=3, window=5)] == list(range(50))


def test_leaving_a_pass_early_stops_its_threads(tmp_path: Path) -> None:
    dataset = open_images(write_folder(tmp_path, 12))
    for _ in dataset.batches(batch_size=2, threads=2):
        break
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("calibration-data")]
    assert len(ids(dataset)) == 12
