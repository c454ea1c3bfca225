"""Convert one network in two precisions, print what is proved about each, and meet an error."""

from pathlib import Path

import trtkit


class Printer:
    """A listener: is told what goes on. Leave it out, and the conversion is silent."""

    def stage(self, title: str) -> None:
        print(f"  {title}")

    def event(self, event: object) -> None:
        pass  # progress and log lines of the builder; the command line draws its bar from them

    def note(self, text: str) -> None:
        print(f"  note: {text}")


# Workers are processes of their own, so a program needs no __main__ guard and no particular start method.
for precision in ("fp32", "fp16"):
    request = trtkit.ConvertRequest(
        trtkit.SourceRequest("squeezenet1_1", seed=1),
        precision=precision,
        batch="1:4:8",
        options={"compute_capability": ("8.6", "8.9"), "workspace_bytes": 512 * 2**20},
        output=Path("plans"),
    )
    result = trtkit.convert(request, Printer())
    manifest = result.manifest
    print(f"{result.plan.name}: {manifest.proof.sentence}; validation {manifest.validation.status}")

try:
    trtkit.convert(trtkit.ConvertRequest(trtkit.SourceRequest("squeezenet1_1"), precision="fp12"))
except trtkit.UsageError as error:
    print(f"{type(error).__name__} (exit code {error.exit_code}): {error.message} {error.hint}")
