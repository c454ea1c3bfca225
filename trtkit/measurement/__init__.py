"""How benchmarks are made and judged, without a vendor: harness, verdict, peaks, batch ladder, trtexec's formats."""
