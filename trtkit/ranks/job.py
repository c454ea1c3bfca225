"""Which job a process belongs to, so that two jobs that meet on one port do not mix."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Job", "job_of"]

_IDS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "TORCHELASTIC_RUN_ID", "PMIX_NAMESPACE")
_LONG = 60


@dataclass(frozen=True)
class Job:
    """What a rank says of its job when it comes.

    Attributes:
        token: ``TRTKIT_RENDEZVOUS_TOKEN``; where it is set, it alone decides.
        ids: the schedulers' and launchers' numbers of the job, by their variables.
        terms: what the job measures, by the name of each option.
    """

    token: str
    ids: Mapping[str, str]
    terms: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {"token": self.token, "ids": dict(self.ids), "terms": dict(self.terms)}

    def objection(self, said: Mapping[str, Any]) -> str | None:
        """Why a newcomer does not belong to this job, as :meth:`to_json` describes it; ``None`` if it does.

        One scheduler's number is enough to tell; without any, what is measured must be the same. With a number in
        common other options are no stranger's: the ranks then compare them and all end with the difference.
        """
        if said.get("token") != self.token:
            return "TRTKIT_RENDEZVOUS_TOKEN differs from rank 0's"
        if self.token:
            return None
        theirs = dict(said.get("ids") or {})
        common = [name for name in self.ids if name in theirs]
        for name in common:
            if theirs[name] != self.ids[name]:
                return (
                    f"it belongs to another job: {name} is {str(theirs[name])[:_LONG]}, and rank 0's {self.ids[name]}"
                )
        terms = dict(said.get("terms") or {})
        for name in () if common else self.terms:
            if name in terms and terms[name] != self.terms[name]:
                return f"it was started with {name} {str(terms[name])[:_LONG]}, and rank 0 with {self.terms[name]}"
        return None


def job_of(terms: Mapping[str, Any], env: Mapping[str, str] | None = None) -> Job:
    """This process's job.

    Args:
        terms: what it measures, JSON-ready.
        env: environment variables; this process's own if not given.
    """
    env = os.environ if env is None else env
    ids = {name: env[name] for name in _IDS if env.get(name)}
    if "SLURM_JOB_ID" in ids:  # the parts of a heterogeneous job have numbers of their own
        ids["SLURM_JOB_ID"] = env.get("SLURM_HET_JOB_ID") or ids["SLURM_JOB_ID"]
    return Job(env.get("TRTKIT_RENDEZVOUS_TOKEN", ""), ids, {name: _short(value) for name, value in terms.items()})


def _short(value: Any) -> str:
    """Few characters, which differ where the value does."""
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    if value is None or not text:
        return "none"
    if len(text) <= _LONG:
        return text
    return f"{text[: _LONG - 10]}…{hashlib.sha256(text.encode()).hexdigest()[:8]}"
