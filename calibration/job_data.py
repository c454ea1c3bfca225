"""Which data a calibration worker reads: what crosses the process boundary instead of the samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from calibration.source import Batch, DataSpec
from trtkit.artifacts.files import sha256_json
from trtkit.artifacts.model import TensorSpec
from trtkit.artifacts.preprocessing import Preprocessing

if TYPE_CHECKING:
    from calibration.dataset import Dataset

__all__ = ["JobData"]


@dataclass(frozen=True)
class JobData:
    """The data of a job.

    Attributes:
        spec: which data.
        inputs: the model's inputs.
        preprocessing: how images become inputs; ``None`` for arrays.
        holdout: share (below 1) or number of samples that calibration does not see.
        seed: of the split.
        batch: samples at a time.
        fixed: the model takes exactly so many; a smaller batch at the end is left out.
    """

    spec: DataSpec
    inputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing | None
    holdout: float
    seed: int
    batch: int
    fixed: bool = False

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {
            "spec": self.spec.to_json(),
            "inputs": [asdict(spec) for spec in self.inputs],
            "preprocessing": self.preprocessing.to_json() if self.preprocessing else None,
            "holdout": self.holdout,
            "seed": self.seed,
            "batch": self.batch,
            "fixed": self.fixed,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> JobData:
        """The inverse of :meth:`to_json`."""
        preprocessing = value["preprocessing"]
        return cls(
            spec=DataSpec.from_json(value["spec"]),
            inputs=tuple(TensorSpec.from_json(spec) for spec in value["inputs"]),
            preprocessing=Preprocessing.from_json(preprocessing) if preprocessing else None,
            holdout=value["holdout"],
            seed=value["seed"],
            batch=value["batch"],
            fixed=value["fixed"],
        )

    def batches(self, dataset: Dataset, indices: Sequence[int]) -> Iterator[Batch]:
        """The samples as batches that the model takes."""
        for batch in dataset.batches(indices, self.batch):
            if self.fixed and len(batch.ids) < self.batch:
                dataset.leave_out(batch.indices, f"left over: the model takes exactly {self.batch} at a time")
            else:
                yield batch

    def identity(self, dataset: Dataset, calibration: Sequence[int]) -> dict[str, Any]:
        """What decides the statistics of these samples, in words for people: a checkpoint of another one is refused."""
        return {
            "data": dataset.identity,
            "preprocessing": sha256_json(self.preprocessing.to_json()) if self.preprocessing else None,
            "batch": self.batch,  # values are sampled in each batch
            "calibration samples": len(calibration),
            "choice of them": sha256_json(list(calibration)),
        }

    def open(self) -> tuple[Dataset, tuple[int, ...], tuple[int, ...]]:
        """The data set, and the indices of its calibration and of its held-out samples.

        Raises:
            CalibrationError: the data cannot be read, or too few samples are usable.
        """
        from calibration.dataset import open_dataset

        dataset = open_dataset(self.spec, self.inputs, self.preprocessing)
        calibration, held_out = dataset.split(self.held_out_of(len(dataset)), self.seed)
        return dataset, tuple(calibration), tuple(held_out)

    def held_out_of(self, count: int) -> float:
        """The holdout for so many samples: of a model with a fixed batch whole batches, as near as can be.

        A single batch is calibrated with, and nothing is held out.
        """
        if not self.fixed or self.batch == 1 or self.holdout < 0 or count < self.batch:
            return self.holdout
        if self.holdout == 0 or (self.holdout >= 1 and self.holdout % 1):
            return self.holdout
        wanted = self.holdout * count if self.holdout < 1 else self.holdout
        whole = count // self.batch
        return min(max(1, round(wanted / self.batch)), whole - 1) * self.batch
