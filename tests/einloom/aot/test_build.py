"""Built libraries: results in a process that has only NumPy, symbols, errors, equal bytes."""

import importlib.util
import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import einloom as el
from einloom.aot.building import Built
from einloom.aot.cpus import cpus_of
from einloom.aot.lowering import lower
from einloom.aot.targets import source_of
from einloom.aot.toolchain import ToolchainError
from einloom.cli import cli
from einloom_compiler.codegen import elf
from einloom_compiler.codegen.objects import print_assembly
from einloom_compiler.errors import DTypeError, ShapeError, SpecError, UnsupportedError

SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 64, 67, 130, 257)
#: What may be undefined in a library, besides weak symbols of the C compiler's start files.
LIBRARIES = {"libc.so.6", "libm.so.6", "libpthread.so.0"}
#: Level for tests that do not need all.
CPU = "x86-64-v3"
SUM = "np.einsum('ab->b', x[B, 3])"


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return ``bi,ij->bj`` with a symbolic batch, for all levels, shared and static."""
    call = "np.einsum('bi,ij->bj', x[B,53], w[53,67])"
    folder = tmp_path_factory.mktemp("aot") / "dense"
    built = el.aot.build(call, folder, dtype="float32", static=True)
    assert isinstance(built, Built)
    return built


@pytest.fixture(scope="module")
def numpy_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which there is NumPy and nothing else to import."""
    folder = tmp_path_factory.mktemp("packages")
    home = Path(np.__file__).parent
    for name in ("numpy", "numpy.libs"):
        if (home.parent / name).exists():
            (folder / name).symlink_to(home.parent / name)
    return folder


def run_alone(built: Built, numpy_only: Path, statements: str) -> str:
    """Run statements after importing the loader in a process without einloom; return its output."""
    script = f"""
import sys
sys.path[:] = [p for p in sys.path if "-packages" not in p]
sys.path += [{str(numpy_only)!r}, {str(built.folder)!r}]
import numpy as np
from {built.name} import {built.name} as f
assert not any(name.startswith("einloom") for name in sys.modules)
{textwrap.dedent(statements)}
"""
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def check_product(f: object, sizes: Iterator[int] | tuple[int, ...] = SIZES) -> None:
    """Compare a dense layer with NumPy at many batch sizes."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((53, 67)).astype(np.float32)
    for n in sizes:
        x = rng.standard_normal((n, 53)).astype(np.float32)
        expected = x.astype(float) @ w.astype(float)
        bound = 53 * np.finfo(np.float32).eps * (abs(x) @ abs(w))
        assert np.all(abs(f(x, w) - expected) <= bound), n  # type: ignore[operator]


def test_a_loaded_library_computes_at_every_size(dense: Built) -> None:
    check_product(el.aot.load(dense.folder))


@pytest.mark.parametrize("cpu", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_every_level_computes_without_einloom(dense: Built, numpy_only: Path, cpu: str) -> None:
    out = run_alone(
        dense,
        numpy_only,
        f"""
        import os, subprocess
        if os.environ.get("EINLOOM_AOT_CPU") != {cpu!r}:  # it is read when the library is loaded
            os.environ["EINLOOM_AOT_CPU"] = {cpu!r}
            os.execv(sys.executable, sys.orig_argv)
        rng = np.random.default_rng(0)
        w = rng.standard_normal((53, 67)).astype(np.float32)
        for n in {SIZES}:
            x = rng.standard_normal((n, 53)).astype(np.float32)
            for threads in (1, 3):
                got = f(x, w, threads=threads)
                bound = 53 * np.finfo(np.float32).eps * (abs(x) @ abs(w))
                assert np.all(abs(got - x.astype(float) @ w) <= bound), n
        print(f.cpu)
        """,
    )
    assert out.strip() <= cpu


def test_a_library_needs_the_c_library_only(dense: Built) -> None:
    found = elf.dynamic((dense.folder / "libdense.so").read_bytes())
    assert found.libraries <= LIBRARIES
    assert {name for name in found.exported if not name.startswith("dense")} == set()
    assert dense.manifest["glibc"] == found.glibc
    assert found.versions.keys() <= LIBRARIES


def test_the_example_runs_clean_and_agrees(dense: Built, tmp_path: Path) -> None:
    for file in (path for path in dense.folder.iterdir() if path.is_file()):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    sums = []
    for links in (["-L.", "-ldense", "-Wl,-rpath,$ORIGIN"], ["libdense.a"]):
        flags = ["-std=c99", "-Wall", "-Werror", "-fsanitize=address,undefined"]
        command = ["cc", *flags, "example.c", "-o", "example", *links, "-lm", "-lpthread"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        run = subprocess.run(
            ["./example"], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        assert run.stderr == ""
        sums.append(run.stdout.partition("checksum ")[2])
    x = np.arange(3 * 53).reshape(3, 53) % 5.0
    w = np.arange(53 * 67).reshape(53, 67) % 5.0
    assert sums == [f"{(x @ w).sum():.6g}\n"] * 2


def test_archives_of_two_libraries_in_one_program(dense: Built, tmp_path: Path) -> None:
    built = el.aot.build(SUM, tmp_path / "sums", dtype="float32", cpu=CPU, static=True)
    assert isinstance(built, Built)
    (tmp_path / "main.c").write_text("""
#include "dense.h"
#include "sums.h"
static float x[4 * 53], w[53 * 67], out[4 * 67], sums[3];
int main(void) {
    for (int i = 0; i < 4 * 53; i++)
        x[i] = 1;
    for (int i = 0; i < 53 * 67; i++)
        w[i] = 2;
    if (dense_call(x, w, out, 4, 2) != 0 || sums_call(x, sums, 5, 2) != 0)
        return 1;
    return out[4 * 67 - 1] != 106 || sums[2] != 5;
}
""")
    folders = [dense.folder, built.folder]
    command = ["cc", "main.c", *(f"-I{folder}" for folder in folders), "-o", "main"]
    command += [str(dense.folder / "libdense.a"), str(built.folder / "libsums.a")]
    subprocess.run([*command, "-lm", "-lpthread"], cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "main"], check=True)


def test_equal_inputs_give_equal_bytes(dense: Built, tmp_path: Path) -> None:
    script = f"""
import einloom as el
el.aot.build("np.einsum('bi,ij->bj', x[B,53], w[53,67])", {str(tmp_path / "dense")!r},
             dtype="float32", static=True)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    for file in sorted(path for path in dense.folder.iterdir() if path.is_file()):
        assert (tmp_path / "dense" / file.name).read_bytes() == file.read_bytes(), file.name


def test_unnamed_operands_and_unknown_extents_are_called_the_same_in_every_build(
    tmp_path: Path,
) -> None:
    texts = []
    for n in range(2):
        x, y = el.spec(None, 7, dtype="float32"), el.spec(7, 5, dtype="float32")
        built = el.aot.build(el.matmul(x, y), tmp_path / f"{n}" / "f", cpu=CPU)
        assert isinstance(built, Built)
        texts.append((built.folder / "manifest.json").read_text(encoding="utf-8"))
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["inputs"][0]["shape"] == ["_1", "7"]


def test_errors_are_those_of_the_compiler(dense: Built) -> None:
    f = el.aot.load(dense.folder)
    w = np.ones((53, 67), np.float32)
    with pytest.raises(ShapeError, match=r"operand 'x' has rank 1 .* declared with rank 2"):
        f(np.ones(53, np.float32), w)
    with pytest.raises(ShapeError, match=r"axis 1 of operand 'x' has extent 54 .* with 53; build"):
        f(np.ones((2, 54), np.float32), w)
    with pytest.raises(DTypeError, match="operand 'w' has dtype float64"):
        f(np.ones((2, 53), np.float32), w.astype(float))
    with pytest.raises(ShapeError, match="out has shape"):
        f(np.ones((2, 53), np.float32), w, out=np.empty((3, 67), np.float32))
    with pytest.raises(TypeError, match="takes 2 arrays"):
        f(w)


def test_arrays_of_any_layout_and_overlapping_results(dense: Built) -> None:
    f = el.aot.load(dense.folder)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((106, 14)).astype(np.float32)[::-2, ::2].T
    w = np.asfortranarray(rng.standard_normal((53, 67)).astype(np.float32))
    expected = f(x.copy(), w.copy())
    np.testing.assert_array_equal(f(x, w), expected)
    out = np.zeros((67, 14), np.float32)[:, ::2].T
    assert f(x, w=w, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="dtype of x"):
        el.aot.build(SUM, tmp_path / "f")
    with pytest.raises(UnsupportedError, match="axis B alone"):
        el.aot.build("np.einsum('a->', x[2*B])", tmp_path / "f", dtype="float32")
    with pytest.raises(UnsupportedError, match="x86-64-v9"):
        el.aot.build(SUM, tmp_path / "f", dtype="float32", cpu="x86-64-v9")
    with pytest.raises(SpecError, match="identifier"):
        el.aot.build(SUM, tmp_path / "f", dtype="float32", name="for")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("precious")
    with pytest.raises(SpecError, match="no build of einloom wrote it"):
        el.aot.build(SUM, tmp_path / "full", dtype="float32")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_the_manifest_says_what_was_built(dense: Built) -> None:
    manifest = json.loads((dense.folder / "manifest.json").read_text())
    assert manifest["inputs"][0] == {"name": "x", "dtype": "float32", "shape": ["B", "53"]}
    assert manifest["outputs"] == [{"name": "out", "dtype": "float32", "shape": ["B", "67"]}]
    assert manifest["symbols"] == [{"name": "B", "input": 0, "axis": 0, "least": 0, "most": None}]
    assert manifest["cpu"] == ["x86-64-v2", "x86-64-v3", "x86-64-v4"]


def test_specs_give_a_folder_each_and_a_wheel(tmp_path: Path) -> None:
    specs = tmp_path / "specs.toml"
    specs.write_text(
        """
[[spec]]
name = "scores"
call = "np.einsum('bqd,bkd->bqk', q[B,20,16], k[B,30,16])"
dtype = "float32"
[[spec]]
name = "classic"
call = "K.batch_dot(x[B,20,1], y[B,30,20], axes=(1, 2), version='2.2.4')"
dtype = "float64"
cpu = ["x86-64-v2"]
"""
    )
    command = ["build", str(specs), "-o", str(tmp_path / "dist"), "--cpu", CPU, "--check"]
    run = subprocess.run(
        [sys.executable, "-m", "einloom", *command, "--wheel", "1.2"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.count("against the same compiled in the process") == 2
    for name, cpu in (("scores", CPU), ("classic", "x86-64-v2")):
        manifest = json.loads((tmp_path / "dist" / name / "manifest.json").read_text())
        assert manifest["cpu"] == [cpu]
        (wheel,) = (tmp_path / "dist" / name).glob(f"{name}-1.2-py3-none-manylinux_*.whl")
        assert wheel.stat().st_size > 10_000


def test_a_documents_open_dtypes_are_settled(tmp_path: Path) -> None:
    from click.testing import CliRunner

    (tmp_path / "f.json").write_text(el.parse("ij->ji (x[I,J])").to_json())
    arguments = ["build", str(tmp_path / "f.json"), "-o", str(tmp_path / "f"), "--cpu", CPU]
    run = CliRunner().invoke(cli, [*arguments, "--dtype", "int16"], catch_exceptions=False)
    assert run.exit_code == 0
    x = np.arange(6, dtype=np.int16).reshape(2, 3)
    np.testing.assert_array_equal(el.aot.load(tmp_path / "f")(x), x.T)


def test_a_folder_can_be_built_again_while_its_library_is_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    for n in (43, 44, 45):  # they have the same kernels
        built = el.aot.build(f"np.einsum('ab->b', x[B,{n}])", folder, dtype="float32", cpu=CPU)
        f = el.aot.load(folder)
        assert isinstance(built, Built)
        np.testing.assert_array_equal(f(np.ones((7, n), np.float32)), np.full(n, 7))


def test_large_weights_lie_in_a_file_beside_the_library(tmp_path: Path, numpy_only: Path) -> None:
    w = np.random.default_rng(0).standard_normal((40, 30))
    x = el.spec("B", 40, dtype="float64", name="x")
    built = el.aot.build(
        "bi,ij->bj", tmp_path / "mapped", x, w, cpu=CPU, embedded_bytes=1000, static=True
    )
    assert isinstance(built, Built)
    assert (built.folder / "libmapped.weights").stat().st_size >= w.nbytes
    np.save(tmp_path / "w.npy", w)
    statements = f"""
w = np.load({str(tmp_path / "w.npy")!r})
x = np.random.default_rng(1).standard_normal((7, 40))
np.testing.assert_allclose(f(x), x @ w, atol=1e-12)
"""
    run_alone(built, numpy_only, statements)
    loaded = el.aot.load(built.folder)
    loaded.verify()
    assert "SHA-256" in (built.folder / "mapped.h").read_text(encoding="ascii")
    with (built.folder / "libmapped.weights").open("r+b") as file:
        file.seek(1000)
        file.write(b"other")
    with pytest.raises(RuntimeError, match=r"libmapped\.weights has SHA-256 \w+ but"):
        loaded.verify()
    with (built.folder / "libmapped.weights").open("r+b") as file:
        file.write(b"other")
    broken = """
try:
    f(np.ones((7, 40)))
except RuntimeError as error:
    print(error)
"""
    assert "file of weights" in run_alone(built, numpy_only, broken)


@pytest.mark.parametrize("embedded_bytes", [0, 1 << 30])
def test_loading_maps_constants(tmp_path: Path, numpy_only: Path, embedded_bytes: int) -> None:
    """A first call then meets no fault of a page of the file."""
    w = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    x = el.spec(1, 1024, dtype="float32", name="x")
    built = el.aot.build("bi,ij->bj", tmp_path / "f", x, w, cpu=CPU, embedded_bytes=embedded_bytes)
    assert isinstance(built, Built)
    file = f"libf.{'so' if embedded_bytes else 'weights'}"
    resident = run_alone(
        built,
        numpy_only,
        f"""
        import re
        from pathlib import Path
        parts = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())
        ours = [part for part in parts if part.partition("\\n")[0].endswith({file!r})]
        print(sum(int(re.search(r"Rss: +([0-9]+) kB", part)[1]) for part in ours))
        """,
    )
    assert int(resident) >= w.nbytes // 1024


def grown_by(built: Built, numpy_only: Path, *calls: str) -> list[int]:
    """Return the kB of a process's own memory when the library is loaded, and after each call."""
    return [
        int(number)
        for number in run_alone(
            built,
            numpy_only,
            f"""
            import re
            from pathlib import Path
            def show():
                text = Path("/proc/self/status").read_text()
                print(re.search(r"RssAnon:\\s+([0-9]+) kB", text)[1])
            x = np.ones((64, {built.manifest["inputs"][0]["shape"][1]}), np.float32)
            show()
            for array in ({", ".join(calls)},):
                f(array)
                show()
            """,
        ).split()
    ]


def test_loading_packs_constants(tmp_path: Path, numpy_only: Path) -> None:
    """Levels that pack in their own ways get constants packed at load, up to 8 MB of them."""
    w = np.random.default_rng(0).standard_normal((1024, 1536)).astype(np.float32)
    x = el.spec(64, 1024, dtype="float32", name="x")
    built = el.aot.build("bi,ij->bj", tmp_path / "f", x, w, cpu=("x86-64-v2", CPU))
    assert isinstance(built, Built)
    loaded, called = grown_by(built, numpy_only, "x")
    assert called - loaded < w.nbytes // 1024


def test_many_constants_are_packed_by_the_first_call_that_reads_them(
    tmp_path: Path, numpy_only: Path
) -> None:
    w = np.random.default_rng(0).standard_normal((2048, 2048)).astype(np.float32)
    x = el.spec("B", 2048, dtype="float32", name="x")
    built = el.aot.build("bi,ij->bj", tmp_path / "f", x, w, cpu=("x86-64-v2", CPU))
    assert isinstance(built, Built)
    loaded, single, many = grown_by(built, numpy_only, "x[:1]", "x")
    assert single - loaded < w.nbytes // 1024 < many - single


def test_other_architectures_need_a_cross_compiler_and_get_neon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnsupportedError, match="one library is for one architecture"):
        el.aot.build(SUM, tmp_path / "f", dtype="float32", cpu=("aarch64", CPU))
    if importlib.util.find_spec("ziglang") is None:
        if shutil.which("aarch64-linux-gnu-gcc") is None:
            with pytest.raises(ToolchainError, match=r"aarch64-linux-gnu-gcc.*ziglang"):
                el.aot.build(SUM, tmp_path / "f", dtype="float32", cpu="aarch64")
    else:
        built = el.aot.build(SUM, tmp_path / "f", dtype="float32", cpu="aarch64")
        assert isinstance(built, Built)
        assert built.manifest["architecture"] == "aarch64"
        if built.manifest["linked_by"] == "ziglang":
            assert built.manifest["glibc"] == "2.17"
    library = lower(
        "f", source_of("np.einsum('bi,ij->bj', x[B,64], w[64,64])", (), "float32", None),
        cpus_of("aarch64").levels,
    )  # fmt: skip
    target = cpus_of("aarch64").levels["aarch64"].target
    texts = [print_assembly(text, "f", target) for text in library.levels[0].kernels]
    assert all("fmla\tv" in text for text in texts)
