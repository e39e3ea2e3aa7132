"""One profile of the loaded backend: where the time of a batch goes, prefill and decode together."""

import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from bench import harness


def once(batch: int, prompt: int, output: int, folder: Path | None) -> str:
    """Ask ``batch`` generations at once under torch's profiler; the table of what took longest.

    With a folder, the timeline is written there as ``trace.json`` (for Perfetto), and the table as ``profile.txt``.
    """
    on_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    everywhere = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)  # passes run in a thread of their own
    with harness.loaded() as backend:
        asked = harness.prompts(backend, batch, prompt)
        harness.ask(backend, asked, output)
        began = time.perf_counter()
        harness.ask(backend, asked, output)
        alone = time.perf_counter() - began
        with profile(activities=activities, experimental_config=everywhere) as seen:
            harness.ask(backend, asked, output)
    column = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    table = seen.key_averages().table(sort_by=column, row_limit=25, max_name_column_width=60)
    said = f"{batch} x ({prompt} + {output}) tokens in {alone:.3f} s unprofiled, {batch * output / alone:.1f} token/s"
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        seen.export_chrome_trace(str(folder / "trace.json"))
        (folder / "profile.txt").write_text(f"{said}\n{table}")
    return f"{table}\n{said}"
