"""Names as CUDA and NVML give them find their product, and nothing that only sounds alike."""

from __future__ import annotations

import pytest

from trtkit.measurement import peaks

NAMES = {
    "Tesla M40": "Tesla M40",
    "Tesla M40 24GB": "Tesla M40",
    "Tesla P40": "Tesla P40",
    "Tesla P4": "Tesla P4",
    "Tesla T4": "Tesla T4",
    "NVIDIA T4": "Tesla T4",
    "Tesla V100-SXM2-16GB": "V100 SXM2",
    "Tesla V100-SXM2-32GB": "V100 SXM2",
    "Tesla V100-PCIE-16GB": "V100 PCIe",
    "Tesla V100S-PCIE-32GB": "V100S PCIe",
    "A100-SXM4-40GB": "A100 SXM 40 GB",
    "NVIDIA A100-SXM4-40GB": "A100 SXM 40 GB",
    "NVIDIA A100-SXM4-80GB": "A100 SXM 80 GB",
    "NVIDIA A100-PCIE-40GB": "A100 PCIe 40 GB",
    "NVIDIA A100 80GB PCIe": "A100 PCIe 80 GB",
    "NVIDIA L4": "L4",
    "NVIDIA L40S": "L40S",
    "NVIDIA H100 80GB HBM3": "H100 SXM",
    "NVIDIA H100 PCIe": "H100 PCIe",
    "NVIDIA H100 NVL": "H100 NVL",
    "NVIDIA H200": "H200 SXM",
    "NVIDIA H200 NVL": "H200 NVL",
    "NVIDIA B200": "B200",
    "NVIDIA GeForce RTX 3090": "GeForce RTX 3090",
    "NVIDIA GeForce RTX 3090 Ti": "GeForce RTX 3090 Ti",
    "GeForce RTX 3060": "GeForce RTX 3060",
    "NVIDIA GeForce RTX 4090": "GeForce RTX 4090",
    "NVIDIA GeForce RTX 4080 SUPER": "GeForce RTX 4080 SUPER",
    "NVIDIA GeForce RTX 4070 Ti SUPER": "GeForce RTX 4070 Ti SUPER",
    "NVIDIA GeForce RTX 5090": "GeForce RTX 5090",
}

UNKNOWN = (
    "NVIDIA GeForce RTX 4090 Laptop GPU",
    "NVIDIA GeForce RTX 4090 D",
    "NVIDIA GeForce RTX 3080 with Max-Q Design",
    "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
    "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
    "GRID T4-16Q",
    "NVIDIA L40",
    "NVIDIA H20",
    "NVIDIA H800",
    "NVIDIA GH200 480GB",
    "NVIDIA P400",
    "NVIDIA RTX 4000 Ada Generation",
    "AMD EPYC",
    "nothing",
    "",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_drivers_name_finds_its_product(name: str) -> None:
    found = peaks.lookup(name)
    assert found is not None
    assert found.name == NAMES[name]
    assert sum(peaks.re.fullmatch(entry.pattern, found.name) is not None for entry in peaks.table()) <= 1


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_only_sounds_alike_has_no_peak(name: str) -> None:
    assert peaks.lookup(name) is None
    assert peaks.peak_of(name, "fp16") is None


@pytest.mark.parametrize(
    ("name", "precision", "tera"),
    [
        # Datasheet figures, written down again by hand; dense.
        ("Tesla P40", "int8", 47),
        ("Tesla V100-SXM2-16GB", "fp16", 125),
        ("NVIDIA A100-SXM4-80GB", "tf32", 156),
        ("NVIDIA A100-SXM4-80GB", "int8", 624),
        ("NVIDIA H100 80GB HBM3", "fp16", 989.5),
        ("NVIDIA H100 80GB HBM3", "fp8", 1979),
        ("NVIDIA GeForce RTX 3090", "fp16", 142),
        ("NVIDIA GeForce RTX 4090", "fp16", 330.3),
        ("NVIDIA GeForce RTX 5090", "fp32", 104.8),
        ("NVIDIA B200", "fp8", 4500),
    ],
)
def test_figures_of_datasheets(name: str, precision: str, tera: float) -> None:
    found = peaks.peak_of(name, precision)
    assert found is not None
    assert found[0] == pytest.approx(tera * 1e12, rel=3e-3)


def test_of_several_precisions_the_fastest_is_the_limit() -> None:
    assert peaks.peak_of("NVIDIA H100 80GB HBM3", "fp16 + fp32") == peaks.peak_of("NVIDIA H100 80GB HBM3", "fp16")


def test_tf32_before_ampere_is_fp32() -> None:
    assert peaks.peak_of("Tesla V100-SXM2-16GB", "tf32") == peaks.peak_of("Tesla V100-SXM2-16GB", "fp32")


@pytest.mark.parametrize("precision", ["fp8", "fp8 + fp32", "", "bf9"])
def test_a_precision_that_a_gpu_has_not_has_no_peak(precision: str) -> None:
    assert peaks.peak_of("Tesla P40", precision) is None


def test_the_table_is_whole_and_plausible() -> None:
    names = [entry.name for entry in peaks.table()]
    assert len(set(names)) == len(names)
    for entry in peaks.table():
        rates = entry.ops_per_s
        assert entry.source and "fp32" in rates
        assert set(rates) <= {"fp32", "tf32", "fp16", "fp8", "int8"}
        assert 1e12 < rates["fp32"] < 2e14 and 1e11 < entry.memory_bytes_per_s < 1e13
        assert rates["fp32"] <= rates.get("tf32", rates["fp32"]) <= rates.get("fp16", 1e18)
        if "fp8" in rates:
            assert rates["fp8"] == rates["int8"] == pytest.approx(2 * rates["fp16"], rel=0.02)
