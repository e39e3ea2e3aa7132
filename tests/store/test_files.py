from __future__ import annotations

import threading
from pathlib import Path

from warpsmith.store.files import held


def test_a_folder_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    entered = threading.Event()

    def other() -> None:
        with held(tmp_path):
            entered.set()

    second = threading.Thread(target=other)
    with held(tmp_path):
        second.start()
        assert not entered.wait(0.3)
    assert entered.wait(10)
    second.join()
