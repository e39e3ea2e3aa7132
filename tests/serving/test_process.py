"""The life of a server's process: ready, crashed, drained, killed; its tree, its port, and who holds that."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.serving.servers import LONG_S, alive, running, until
from warpsmith.errors import BadInput
from warpsmith.model.harness import Server
from warpsmith.serving import ports
from warpsmith.serving.keeper import descendants
from warpsmith.serving.process import ServerFailed, start

SERVER = """
    import http.server, os, signal, socket, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response({status} if self.path == {path!r} else 404)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"hi")
    {first}
    print("listening", flush=True)
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def command(folder: Path, first: str = "", path: str = "/health", status: int = 200, **more: float) -> Server:
    """A server of another framework: a program of its own that is told its port."""
    program = folder / "program.py"
    program.write_text(textwrap.dedent(SERVER).format(first=first, path=path, status=status))
    limits = {"ready_s": LONG_S, "drain_s": LONG_S, **more}
    return Server(command=(sys.executable, "-I", "-S", str(program), "{port}"), **limits)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/health", "/v1/models"])
def test_a_command_is_told_its_port_and_ends_when_it_is_told_to(tmp_path: Path, path: str) -> None:
    with running(tmp_path, command(tmp_path, path=path)) as server:
        server.check()
        assert server.resident_bytes > 1 << 20 and len(server.processes) == 1 and "listening" in server.tail
        assert not ports.free(server.port)
        ended = server.stop()
        assert (ended.how, ended.status, ended.port_free) == ("drained", -signal.SIGTERM, True)
        assert server.stop() is ended and not server.alive


def test_a_server_that_never_gets_ready_is_told_with_its_log(tmp_path: Path) -> None:
    with running(tmp_path, command(tmp_path, status=503, ready_s=0.5), ready=False) as server:
        with pytest.raises(ServerFailed, match=r"not ready after 0\.5 s") as failed:
            server.wait_ready()
        assert failed.value.kind == "not_ready" and failed.value.log == tmp_path / "server.log"


def test_a_server_that_ends_by_itself_is_told_at_once_with_its_log(tmp_path: Path) -> None:
    first = "print('no memory left'); sys.exit(3)"
    with running(tmp_path, command(tmp_path, first), ready=False) as server:
        with pytest.raises(ServerFailed, match=r"(?s)ended by itself with status 3; .*no memory left") as failed:
            server.wait_ready()
        assert failed.value.kind == "crashed"
        assert (server.stop().how, server.stop().status, server.stop().port_free) == ("gone", 3, True)
    faulty = command(tmp_path, "os.kill(os.getpid(), 11)")
    with running(tmp_path, faulty, ready=False) as server, pytest.raises(ServerFailed, match="signal SIGSEGV"):
        server.wait_ready()


def test_whatever_a_server_started_ends_with_it_also_what_left_its_group(tmp_path: Path) -> None:
    away = f"""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.environ.clear()
            open({str(tmp_path / "away")!r}, "w").write(str(os.getpid()))
            signal.pause()
        os._exit(0)
    """
    with running(
        tmp_path, command(tmp_path, textwrap.dedent(away).strip().replace("\n", "\n    "), drain_s=0.5)
    ) as server:
        until((tmp_path / "away").exists)
        until(lambda: (tmp_path / "away").read_text())
        left = int((tmp_path / "away").read_text())
        assert left in server.processes
        os.kill(server.processes[0], signal.SIGKILL)
        until(lambda: not server.alive)
        assert not alive(left)


@pytest.mark.slow
def test_one_that_does_not_end_is_killed_when_its_time_is_up(tmp_path: Path) -> None:
    server = command(tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)", drain_s=0.3)
    with running(tmp_path, server) as started:
        ended = started.stop()
        assert (ended.how, ended.status, ended.port_free) == ("killed", -signal.SIGKILL, True)
        assert ended.seconds >= 0.3


@pytest.mark.slow
def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    command(tmp_path)
    starter = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from warpsmith.model.harness import Server
        from warpsmith.serving.process import start
        program = [sys.executable, "-I", "-S", {str(tmp_path / "program.py")!r}, "{{port}}"]
        said = Server(command=program, drain_s=30)
        server = start(said, Path("."), {{"PATH": "/usr/bin"}}, Path({str(tmp_path / "log")!r}))
        server.wait_ready()
        print(server.port, *server.processes, flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        port, *tree = map(int, parent.stdout.readline().split())
        keeper = descendants(parent.pid)
        assert tree and set(tree) < set(keeper)
        parent.kill()
    until(lambda: not any(map(alive, keeper)))
    assert ports.free(port)


def test_a_port_that_is_taken_names_who_holds_it(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert not ports.free(port) and str(os.getpid()) in ports.holder(port)
        for server in (Server(backend="mock"), command(tmp_path)):
            with pytest.raises(BadInput, match=rf"port {port} .*held by pid {os.getpid()}: "):
                start(server, tmp_path, {}, tmp_path / "log", port)
    assert ports.free(port) and ports.holder(port) == ""


def test_two_claims_never_name_the_same_port() -> None:
    claims = [ports.claimed(0) for _ in range(20)]
    assert len({claim.port for claim in claims}) == 20
    with pytest.raises(BadInput, match="about to be used"):
        ports.claimed(claims[0].port)
    for claim in claims:
        claim.release()
    ports.claimed(claims[0].port).release()


def test_a_program_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no-such-server is no program"):
        start(Server(command=("no-such-server", "{port}")), tmp_path, {"PATH": "/usr/bin"}, tmp_path / "log")


def test_a_command_is_told_model_and_snapshot(tmp_path: Path) -> None:
    said = Server(command=("sh", "-c", "echo at {port}: {model} of {snapshot}"), model="mine")
    with running(tmp_path, said, ready=False, files=tmp_path / "weights") as server:
        until(lambda: not server.alive)
        assert server.tail == f"at {server.port}: mine of {tmp_path}/weights"
        assert (server.stop().how, server.stop().status) == ("gone", 0)


def test_a_server_by_url_is_used_and_never_ended(tmp_path: Path) -> None:
    with running(tmp_path, command(tmp_path)) as own:
        other = start(Server(url=f"{own.url}/v1/", ready_s=5), tmp_path, {}, tmp_path / "none.log")
        other.wait_ready()
        assert other.url == own.url and other.resident_bytes == 0
        assert other.stop().how == "not ours" and own.alive and other.alive
        own.stop()
        with pytest.raises(ServerFailed, match="is gone"):
            other.check()
