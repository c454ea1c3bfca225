"""Build several plans as a release script would: read JSON from stdout, decide by exit code."""

import json
import subprocess
import sys

JOBS = (("squeezenet1_1", "fp32"), ("squeezenet1_1", "fp16"), ("squeezenet", "fp16"))
NO_SUCH_THING = 2

for model, precision in JOBS:
    command = ["convert", model, "--precision", precision, "--batch", "1:4:8", "-o", "plans", "--json"]
    done = subprocess.run([sys.executable, "-m", "trtkit", *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    answer = json.loads(done.stdout)
    if done.returncode == 0:
        manifest = answer["manifest"]
        print(f"{answer['plan']}: {manifest['proof']['sentence']}, {manifest['validation']['status']}")
    elif done.returncode == NO_SUCH_THING:
        print(f"{model}: {answer['error']['hint']}")
    else:
        sys.exit(f"{model}: {answer['error']['message']}")
