"""ONNX's own backend tests against lowp, as a ratchet: what passed once must pass for ever.

    backend_ratchet.py            fails where a test of the list does not pass any more, and prints how many pass
    backend_ratchet.py --update   adds what passes now to the list
    backend_ratchet.py --failing  prints why each of the others does not pass

The list is tests/onnx/backend_passing.txt. Each test runs in a process of its own, so that a crash is one failure.
"""

import argparse
import multiprocessing
import os
import pickle
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

import lowp

LIST = Path(__file__).resolve().parents[1] / "tests" / "onnx" / "backend_passing.txt"


def stored_cases():
    """Cases that the onnx package carries as files: operators and small models converted from PyTorch."""
    data = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for kind in ("pytorch-operator", "pytorch-converted", "simple"):
        for folder in sorted((data / kind).iterdir()):
            if (folder / "model.onnx").exists():
                yield folder.name, folder


def read_tensor(path):
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(tensor)


def load_stored(folder):
    model = onnx.load(folder / "model.onnx")
    sets = []
    for data in sorted(folder.glob("test_data_set_*")):
        inputs = [read_tensor(data / f"input_{i}.pb") for i in range(len(list(data.glob("input_*.pb"))))]
        outputs = [read_tensor(data / f"output_{i}.pb") for i in range(len(list(data.glob("output_*.pb"))))]
        sets.append((inputs, outputs))
    return model, sets, 1e-3, 1e-7


def array(value):
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def run_case(model, data_sets, rtol, atol):
    """None where lowp's outputs are the expected ones, else what is wrong."""
    engine = lowp.compile(lowp.load(model), precision="fp32", threads=1)
    for inputs, expected in data_sets:
        initializers = {i.name for i in model.graph.initializer}
        names = [i.name for i in model.graph.input if i.name not in initializers]
        feeds = dict(zip(names, inputs, strict=False))
        feeds = {i.name: array(feeds[i.name]) for i in engine.inputs}
        results = engine.run(feeds)
        for info, want in zip(model.graph.output, expected, strict=True):
            have, want = np.asarray(results[info.name]), array(want)
            if have.dtype != want.dtype:
                return f"output {info.name} has dtype {have.dtype}, {want.dtype} is wanted"
            if have.shape != want.shape:
                return f"output {info.name} has shape {have.shape}, {want.shape} is wanted"
            if have.dtype.kind not in "fiub":
                have, want = have.astype(np.float32), want.astype(np.float32)
            np.testing.assert_allclose(have, want, rtol=rtol, atol=atol)
    return None


def isolated(case):
    """run_case in a child; a dead child is a result too."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            problem = run_case(*case())
        except BaseException as e:  # noqa: BLE001
            problem = f"{type(e).__name__}: {e}".strip().splitlines()[0][:300] or type(e).__name__
        os.write(writer, pickle.dumps(problem))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(answer) if answer else "the process died"


def collect():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        generated = collect_testcases(None)
    cases = {}
    for c in generated:
        if c.model is not None:
            cases[c.name] = lambda c=c: (c.model, c.data_sets, c.rtol or 1e-3, c.atol or 1e-7)
    cases.update({name: lambda folder=folder: load_stored(folder) for name, folder in stored_cases()})
    return cases


def work(names_and_cases):
    return [(name, isolated(case)) for name, case in names_and_cases]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--failing", action="store_true")
    options = parser.parse_args()

    cases = collect()
    workers = multiprocessing.cpu_count()
    items = sorted(cases.items())
    with ThreadPoolExecutor(workers) as pool:
        results = dict(sum(pool.map(work, [items[i::workers] for i in range(workers)]), []))
    passing = {name for name, problem in results.items() if problem is None}
    known = set(LIST.read_text().split()) if LIST.exists() else set()
    lost = sorted(known - passing)
    print(f"{len(passing)} of {len(results)} ONNX backend tests pass; {len(known)} are held")
    if options.failing:
        for name in sorted(set(results) - passing):
            print(f"{name}: {results[name]}")
    if options.update:
        LIST.write_text("\n".join(sorted(known | passing)) + "\n")
    elif lost:
        for name in lost:
            print(f"lost: {name}: {results.get(name, 'no such test')}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
