"""Weights from files: each format gives back what was saved, and what does not fit is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from safetensors.numpy import save_file

import model_defs
from trtkit.errors import ModelError, UsageError

Arrays = dict[str, np.ndarray]
SMALL = model_defs.get("squeezenet1_1")


def initializers(model: onnx.ModelProto) -> Arrays:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def save_npz(arrays: Arrays, path: Path) -> None:
    np.savez(path, **arrays)


def save_npz_compressed(arrays: Arrays, path: Path) -> None:
    np.savez_compressed(path, **arrays)


def save_onnx(arrays: Arrays, path: Path) -> None:
    """squeezenet1_1's graph with these initializers."""
    model = SMALL.build()
    del model.graph.initializer[:]
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    onnx.save(model, path)


def save_onnx_external(arrays: Arrays, path: Path) -> None:
    save_onnx(arrays, path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin")


SAVERS: list[tuple[Callable[[Arrays, Path], None], str]] = [
    (save_file, "w.safetensors"),
    (save_npz, "w.npz"),
    (save_npz_compressed, "w.NPZ"),
    (save_onnx, "w.onnx"),
    (save_onnx_external, "w.onnx"),
]


@pytest.fixture(scope="module")
def other() -> Arrays:
    """squeezenet1_1's tensors of another seed."""
    return initializers(SMALL.build(seed=9))


def assert_loads(path: Path, want: Arrays, model: str = "squeezenet1_1") -> None:
    got = initializers(model_defs.get(model).build(weights=path))
    assert set(want) <= set(got)
    for name, array in want.items():
        assert got[name].dtype == np.float32
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def refusal(path: Path, model: str = "squeezenet1_1") -> ModelError:
    with pytest.raises(ModelError) as caught:
        model_defs.get(model).build(weights=path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert len(caught.value.message.splitlines()) <= 22
    return caught.value


@pytest.mark.parametrize(("save", "name"), SAVERS)
def test_every_format_gives_back_what_was_saved(
    save: Callable[[Arrays, Path], None], name: str, other: Arrays, tmp_path: Path
) -> None:
    # numpy.savez appends .npz to names that do not end in it, in lower case.
    save(dict(reversed(other.items())), path := tmp_path / name.lower())
    assert_loads(path.rename(tmp_path / name), other)


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model."])
@pytest.mark.parametrize("save", [save_file, save_npz])
def test_a_prefix_common_to_all_keys_is_passed_over(
    save: Callable[[Arrays, Path], None], prefix: str, other: Arrays, tmp_path: Path
) -> None:
    path = tmp_path / f"w{'.npz' if save is save_npz else '.safetensors'}"
    save({prefix + name: array for name, array in other.items()}, path)
    assert_loads(path, other)


def test_a_prefix_of_all_keys_but_one_is_no_prefix(other: Arrays, tmp_path: Path) -> None:
    keys = {name: ("others." if name == "classifier.1.bias" else "module.") + name for name in other}
    save_npz({keys[name]: array for name, array in other.items()}, path := tmp_path / "w.npz")
    assert "52 missing, 52 extra" in refusal(path).message


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize(("save", "name"), [SAVERS[0], SAVERS[1], SAVERS[3]])
def test_half_and_double_become_float32(
    save: Callable[[Arrays, Path], None], name: str, dtype: type, other: Arrays, tmp_path: Path
) -> None:
    save({key: array.astype(dtype) for key, array in other.items()}, tmp_path / name)
    assert_loads(tmp_path / name, {key: array.astype(dtype).astype(np.float32) for key, array in other.items()})


def test_torchvisions_other_keys_are_passed_over_only_where_they_belong(tmp_path: Path, other: Arrays) -> None:
    definition = model_defs.get("googlenet_torchvision")
    weights = {n: a for n, a in initializers(definition.build(seed=4)).items() if not n.startswith("transform_input")}
    counters = {f"{n[:-13]}.num_batches_tracked": np.array(7) for n in weights if n.endswith(".running_mean")}
    heads = {"aux1.fc1.weight": np.zeros((1024, 2048), np.float32), "aux2.conv.bn.bias": np.zeros(128, np.float32)}
    assert len(counters) == 57
    save_file({**weights, **counters, **heads}, tmp_path / "w.safetensors")
    assert_loads(tmp_path / "w.safetensors", weights, "googlenet_torchvision")
    save_file({f"model.{n}": a for n, a in {**weights, **counters}.items()}, tmp_path / "p.safetensors")
    assert_loads(tmp_path / "p.safetensors", weights, "googlenet_torchvision")
    save_file({**weights, **counters, "aux3.fc1.weight": heads["aux1.fc1.weight"]}, tmp_path / "x.safetensors")
    assert (
        "extra      aux3.fc1.weight 1024×2048" in refusal(tmp_path / "x.safetensors", "googlenet_torchvision").message
    )
    save_file({**other, "features.0.num_batches_tracked": np.array(7)}, tmp_path / "s.safetensors")
    assert "extra      features.0.num_batches_tracked scalar" in refusal(tmp_path / "s.safetensors").message


@pytest.mark.parametrize(("save", "name"), [SAVERS[0], SAVERS[1], SAVERS[3]])
def test_missing_extra_misshapen_and_wrong_types_are_all_listed(
    save: Callable[[Arrays, Path], None], name: str, other: Arrays, tmp_path: Path
) -> None:
    wrong = dict(other)
    del wrong["features.0.bias"]
    wrong["features.3.squeeze.bias"] = np.zeros(17, np.float32)
    wrong["features.4.squeeze.bias"] = np.zeros(16, np.int32)
    if not name.endswith(".onnx"):  # an initializer that no layer reads is no weight
        wrong["features.13.bias"] = np.zeros((2, 3), np.float32)
    save(wrong, tmp_path / name)
    lines = [line.strip() for line in refusal(tmp_path / name).message.splitlines()[1:]]
    assert lines[0] == "missing    features.0.bias 64"
    assert "misshapen  features.3.squeeze.bias is 17, must be 16" in lines
    assert any(line.startswith("not float  features.4.squeeze.bias is ") for line in lines)
    assert ("extra      features.13.bias 2×3" in lines) != name.endswith(".onnx")
    assert len(lines) == (3 if name.endswith(".onnx") else 4)


def test_a_long_list_is_cut_to_a_screenful(tmp_path: Path) -> None:
    save_npz({"x": np.zeros(1)}, tmp_path / "w.npz")
    message = refusal(tmp_path / "w.npz").message
    assert "52 missing, 1 extra" in message.splitlines()[0]
    assert message.splitlines()[-1].strip() == "… and 39 more"  # 52 missing and 1 extra, 14 shown
    assert "extra" in message.splitlines()[2]  # the long list of one kind does not hide the other


def test_nan_and_infinity_are_refused_by_name(other: Arrays, tmp_path: Path) -> None:
    wrong = {name: array.astype(np.float64) for name, array in other.items()}
    wrong["features.3.squeeze.bias"][2] = np.nan
    wrong["classifier.1.bias"][0] = 1e300  # finite, but not as float32
    save_npz(wrong, tmp_path / "w.npz")
    assert [line.strip() for line in refusal(tmp_path / "w.npz").message.splitlines()[1:]] == [
        "features.3.squeeze.bias",
        "classifier.1.bias",
    ]


@pytest.mark.parametrize("name", ["w.safetensors", "w.npz", "w.onnx"])
@pytest.mark.parametrize("content", [b"", b"no weights at all, only text" * 9])
def test_broken_files_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path / name).exit_code == 4


def test_files_cut_short_are_refused(other: Arrays, tmp_path: Path) -> None:
    for save, name in (SAVERS[0], SAVERS[1], SAVERS[3]):
        save(other, path := tmp_path / name)
        path.write_bytes(path.read_bytes()[:-50_000])
        assert refusal(path).exit_code == 4


def test_missing_external_data_is_refused(other: Arrays, tmp_path: Path) -> None:
    save_onnx_external(other, tmp_path / "w.onnx")
    (tmp_path / "weights.bin").unlink()
    assert "weights.bin" in refusal(tmp_path / "w.onnx").message


def test_pickled_arrays_are_not_opened(other: Arrays, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **{**other, "features.0.bias": np.array([{}] * 64, dtype=object)})
    assert "not float  features.0.bias is object" in refusal(tmp_path / "w.npz").message


@pytest.mark.parametrize("name", ["w.pth", "w.h5", "w"])
def test_other_extensions_are_a_usage_error(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError, match=r"\.safetensors, \.npz, \.onnx") as caught:
        SMALL.build(weights=tmp_path / name)
    assert "save_file" in caught.value.hint


def test_a_missing_file_or_a_folder_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    for name in ("absent.npz", "folder.onnx"):
        with pytest.raises(UsageError, match=name):
            SMALL.build(weights=tmp_path / name)


def foreign(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network as another tool would write it: all names replaced, initializers in another order."""
    new = onnx.ModelProto()
    new.CopyFrom(model)
    names: dict[str, str] = {}
    for node in new.graph.node:
        for part in (node.input, node.output):
            part[:] = [names.setdefault(name, f"t{len(names)}") for name in part]
    for value in (*new.graph.initializer, *new.graph.input, *new.graph.output):
        value.name = names[value.name]
    tensors = sorted(new.graph.initializer, key=lambda t: t.name)
    del new.graph.initializer[:]
    new.graph.initializer.extend(tensors)
    return new


@pytest.mark.parametrize("name", ["squeezenet1_1", "googlenet", "googlenet_torchvision"])
def test_a_foreign_graph_of_the_same_network_matches_by_position(name: str, tmp_path: Path) -> None:
    model = model_defs.get(name).build(seed=2)
    onnx.save(foreign(model), tmp_path / "w.onnx")
    assert_loads(tmp_path / "w.onnx", initializers(model), name)


def test_branches_of_one_shape_written_in_another_order_are_not_swapped(tmp_path: Path) -> None:
    """inception_3b/1x1 and /3x3_reduce are both 128×256×1×1: by order and shape alone they would change places."""
    model = model_defs.get("googlenet").build()
    nodes = list(model.graph.node)
    names = [node.name for node in nodes]
    start, other = names.index("inception_3b/1x1"), names.index("inception_3b/3x3_reduce")
    assert other == start + 2  # each is followed by its rectifier
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:start], *nodes[other : other + 2], *nodes[start:other], *nodes[other + 2 :]])
    onnx.checker.check_model(model)
    onnx.save(foreign(model), tmp_path / "w.onnx")
    assert "does not match by position" in refusal(tmp_path / "w.onnx", "googlenet").message


def test_a_concatenation_in_another_order_is_not_this_network(tmp_path: Path) -> None:
    model = foreign(SMALL.build())
    concat = next(node for node in model.graph.node if node.op_type == "Concat")
    concat.input[:] = reversed(concat.input)
    onnx.save(model, tmp_path / "w.onnx")
    assert "does not match by position" in refusal(tmp_path / "w.onnx").message


def test_a_name_of_ours_that_stands_elsewhere_is_not_trusted(tmp_path: Path) -> None:
    model = foreign(SMALL.build())
    sizes = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer}
    expand1x1 = next(node for node in model.graph.node if node.op_type == "Conv" and sizes[node.input[2]] == 128)
    old, wrong = expand1x1.input[2], "features.6.expand3x3.bias"
    expand1x1.input[2] = wrong
    next(tensor for tensor in model.graph.initializer if tensor.name == old).name = wrong
    onnx.save(model, tmp_path / "w.onnx")
    assert "does not match by position" in refusal(tmp_path / "w.onnx").message


def tiny(trans_b: int, **attributes: float) -> onnx.ModelProto:
    nodes = [helper.make_node("Gemm", ["x", "fc.weight", "fc.bias"], ["y"], transB=trans_b, **attributes)]
    arrays = {"fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "fc.bias": np.zeros(3 - trans_b, np.float32)}
    shapes = (("x", ["N", 2 + trans_b]), ("y", ["N", 3 - trans_b]))
    x, y = (helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes)
    tensors = [numpy_helper.from_array(a, n) for n, a in arrays.items()]
    return helper.make_model(helper.make_graph(nodes, "tiny", [x], [y], tensors))


@pytest.mark.parametrize("trans_b", [0, 1])
def test_gemm_weights_are_read_features_first_whichever_way_they_are_stored(trans_b: int, tmp_path: Path) -> None:
    """A square weight stored the other way round would load without complaint."""
    from model_defs.weight_files import open_weight_file

    onnx.save(tiny(trans_b), tmp_path / "w.onnx")
    stored = np.arange(6).reshape(2, 3)
    with open_weight_file(tmp_path / "w.onnx") as file:
        want = stored if trans_b else stored.T
        assert file.tensors["fc.weight"].shape == want.shape
        np.testing.assert_array_equal(file.read("fc.weight"), want)


def test_gemm_that_scales_its_weights_is_refused(tmp_path: Path) -> None:
    onnx.save(tiny(1, alpha=0.5), tmp_path / "w.onnx")
    assert "alpha" in refusal(tmp_path / "w.onnx").message
