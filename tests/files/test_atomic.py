"""Writing: whatever goes wrong, the file before is whole, nothing is left beside it, and it is said."""

import errno
import os
import resource
import signal
import stat
import threading

import pytest
import torch

import diffeo
from diffeo.errors import FileError
from diffeo.files import write_atomically
from diffeo.files.atomic import _mode_of
from diffeo.testing.faults import BOUNDARIES_A_SAVE, fault_at, io_error, no_space
from diffeo.testing.malicious import small_flow


def read_only():
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.fixture
def saved(tmp_path):
    """Return a path with a model, and its bytes."""
    path = tmp_path / "model.safetensors"
    small_flow().save(path)
    return path, path.read_bytes()


def names(path):
    return [each.name for each in path.parent.iterdir()]


@pytest.mark.parametrize("fault", [no_space, io_error, read_only])
@pytest.mark.parametrize("boundary", range(1, BOUNDARIES_A_SAVE))
def test_a_failing_disk_leaves_the_model_before(saved, fault, boundary):
    path, before = saved
    with fault_at(boundary, fault), pytest.raises(FileError, match=r"could not be written.*untouched"):
        small_flow().double().save(path)
    assert path.read_bytes() == before
    assert names(path) == [path.name]


@pytest.mark.parametrize("boundary", range(1, BOUNDARIES_A_SAVE))
def test_a_failing_disk_leaves_nothing_where_nothing_was(tmp_path, boundary):
    with fault_at(boundary, no_space), pytest.raises(FileError, match="No space left"):
        small_flow().save(tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_file_that_the_system_lets_grow_no_further(saved):
    path, before = saved
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(FileError, match="File too large"):
            small_flow().double().save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert names(path) == [path.name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_while_writing_leaves_the_file_before(saved, error):
    path, before = saved

    def half() -> None:
        with write_atomically(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        half()
    assert path.read_bytes() == before
    assert names(path) == [path.name]


@pytest.mark.parametrize(
    "where", ["nowhere/model.safetensors", "model.safetensors/more.safetensors", "a" * 300]
)
def test_a_place_that_cannot_be(saved, where):
    path, before = saved
    with pytest.raises(FileError, match=r"could not be written.*choose a folder that exists"):
        small_flow().save(path.parent / where)
    assert path.read_bytes() == before
    assert names(path) == [path.name]


def test_a_folder_a_pipe_and_a_device_are_not_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(FileError, match="no regular file"):
            small_flow().save(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "pipe"]
    with pytest.raises(OSError, match="no regular file"):
        _mode_of(type(tmp_path)("/dev/null"))


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_points_to_is_written(tmp_path, there):
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / "v1.safetensors", tmp_path / "latest.safetensors"
    if there:
        target.write_bytes(b"before")
    link.symlink_to(target)
    small_flow().save(link)
    assert link.is_symlink()
    assert not target.is_symlink()
    assert diffeo.load(target).event_shape == diffeo.load(link).event_shape == (3,)
    assert names(target) == [target.name]


def test_a_link_to_itself(tmp_path):
    link = tmp_path / "loop"
    link.symlink_to("loop")
    with pytest.raises(FileError, match="could not be written"):
        small_flow().save(link)
    assert names(link) == ["loop"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_permissions_stay(saved, mode):
    path, _ = saved
    path.chmod(mode)
    small_flow().save(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_permissions_that_any_has(tmp_path):
    (tmp_path / "other").write_bytes(b"")
    small_flow().save(tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_trap_beside_the_file_is_not_written_through(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "model.safetensors"
    victim.write_bytes(b"precious")
    trap = tmp_path / f".{path.name}.{os.getpid()}-{threading.get_ident()}.part"
    trap.symlink_to(victim)
    small_flow().save(path)
    assert victim.read_bytes() == b"precious"
    assert not trap.is_symlink()
    assert diffeo.load(path).event_shape == (3,)


def test_threads_that_save_to_one_path_each_leave_a_whole_file(tmp_path):
    path = tmp_path / "model.safetensors"
    flows = [small_flow(), small_flow().double()]
    flows[0].save(path)
    errors: list[BaseException] = []

    def work(flow) -> None:
        try:
            for _ in range(15):
                flow.save(path)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(flow,)) for flow in flows]
    for thread in threads:
        thread.start()
    seen = set()
    while any(thread.is_alive() for thread in threads):
        seen.add(diffeo.load(path).dtype)
    for thread in threads:
        thread.join()
    assert not errors
    assert seen <= {torch.float32, torch.float64}
    assert names(path) == [path.name]
