"""Read the raw samples of a benchmark, and make one from Python."""

import json
from pathlib import Path

import trtkit

for path in sorted(Path("results").glob("*.bench.json")):
    found = json.loads(path.read_text())
    columns = found["timeline"]["columns"]
    pairs = zip(columns["start_compute_ms"], columns["end_compute_ms"], strict=True)
    times = sorted(end - start for start, end in pairs)
    median = times[len(times) - 1 - int(0.5 * len(times))]  # trtexec's rule: always one of the values
    same = abs(median - found["summary"]["compute"]["p50_ms"]) < 1e-3
    batch = found["settings"]["batch"]
    print(f"batch {batch}: median of {len(times)} iterations in the file equals the summary's: {same}")

request = trtkit.BenchmarkRequest(
    trtkit.SourceRequest("squeezenet1_1"),
    devices="cpu",
    batches=(2,),
    settings={"duration_s": 0.2, "max_duration_s": 0.4},
    output=Path("results"),
)
(run,) = trtkit.bench(request).runs
verdict, check = run.result.verdict, run.result.conditions.check
batch = run.result.settings.batch
print(f"measured again at batch {batch}: valid {verdict.valid}, outputs checked: {check['matches']}")
