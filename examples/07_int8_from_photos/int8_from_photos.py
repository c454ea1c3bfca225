"""Make a dozen pictures, calibrate SqueezeNet 1.1 on them, build an INT8 plan, and print the proof that it is one."""

from pathlib import Path

import numpy as np
from PIL import Image

import trtkit

photos = Path("photos")
photos.mkdir(exist_ok=True)
pixels = np.random.default_rng(0)
for number in range(12):
    picture = Image.fromarray(pixels.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    picture.resize((320, 240), Image.Resampling.BICUBIC).save(photos / f"{number:02}.jpg")

source = trtkit.SourceRequest("squeezenet1_1")
data = trtkit.Quantization(data=trtkit.DataSpec(photos), method="minmax,percentile,entropy,mse")
calibrated = trtkit.calibrate(trtkit.CalibrationRequest(source, data, output=Path("plans")))

assert calibrated.report is not None
for found in calibrated.report.methods:
    print(f"{found.method:16}  {found.sqnr_db:.1f} dB on {calibrated.report.held_out} held-out pictures")
print("chosen:", calibrated.table.method)

table = trtkit.Quantization(table=calibrated.table_path)
plan = trtkit.convert(trtkit.ConvertRequest(source, precision="int8", quantization=table, output=Path("plans")))

assert plan.manifest.proof is not None
print(plan.plan.name)
print(plan.manifest.proof.sentence)
print("proven to be INT8:", plan.manifest.proof.fraction("int8"))
