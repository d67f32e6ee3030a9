"""The zoo without downloads: the checkpoint reader refuses code and damage and follows strides; images are prepared."""

import io
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import lowp
from lowp import zoo
from lowp.zoo._torch_pickle import _MAGIC, _PROTOCOL, read_state_dict


class Global:
    """Pickles as a call of module.name, which need not exist."""

    def __init__(self, module, name, *arguments):
        self.call = module, name, arguments


class Pickler(pickle._Pickler):
    """Writes Global as a call, and ("storage", ...) tuples as persistent ids."""

    def persistent_id(self, item):
        return item if isinstance(item, tuple) and item and item[0] == "storage" else None

    def save(self, item, *args, **kwargs):
        if isinstance(item, Global):
            module, name, arguments = item.call
            self.write(b"c" + module.encode() + b"\n" + name.encode() + b"\n")
            if arguments:
                super().save(arguments)
                self.write(pickle.REDUCE)
            return
        if isinstance(item, tuple) and item and item[0] == "storage":
            self.write(pickle.MARK)
            for part in item:
                self.save(part)
            self.write(pickle.TUPLE + pickle.BINPERSID)
            return
        super().save(item, *args, **kwargs)


def checkpoint(stride, offset=0, elements=6, state=None):
    file = io.BytesIO()
    for item in (_MAGIC, _PROTOCOL, {"little_endian": True}):
        pickle.dump(item, file, 2)
    storage = ("storage", Global("torch", "FloatStorage"), "7", "cpu", elements, None)
    tensor = Global("torch._utils", "_rebuild_tensor_v2", storage, offset, (2, 3), stride, False, OrderedDict())
    Pickler(file, 2).dump(OrderedDict(w=tensor) if state is None else state)
    pickle.dump(["7"], file, 2)
    file.write((6).to_bytes(8, "little") + np.arange(6, dtype="<f4").tobytes())
    file.seek(0)
    return file


def test_strides_are_followed():
    np.testing.assert_array_equal(read_state_dict(checkpoint((3, 1)))["w"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(read_state_dict(checkpoint((1, 2)))["w"], [[0, 2, 4], [1, 3, 5]])


def test_code_and_damage_are_refused(tmp_path):
    victim = tmp_path / "touched"
    for state in (Global("os", "system", f"touch {victim}"), Global("builtins", "eval", "1"), [1, 2]):
        with pytest.raises(lowp.CorruptFile):
            read_state_dict(checkpoint((3, 1), state=state))
    assert not victim.exists()
    for file in (checkpoint((3, 2)), checkpoint((3, 1), offset=1), checkpoint((3, 1), elements=7), io.BytesIO(b"PK")):
        with pytest.raises(lowp.CorruptFile):
            read_state_dict(file)
    whole = checkpoint((3, 1)).getvalue()
    for length in range(len(whole)):
        with pytest.raises(lowp.CorruptFile):
            read_state_dict(io.BytesIO(whole[:length]))


def test_images():
    image = pytest.importorskip("PIL.Image")
    x = zoo.preprocess_image(image.new("RGB", (400, 300), (255, 127, 0)), 224)
    assert x.shape == (1, 3, 224, 224) and x.dtype == np.float32 and x.flags.c_contiguous
    np.testing.assert_array_equal(x[0, :, 0, 0], [1, 0, -127 / 128])
    with pytest.raises(lowp.NotFound):
        zoo.preprocess_image("none.jpg")


def test_unknown_package():
    with pytest.raises(lowp.InvalidArgument, match="nothing"):
        zoo.fetch("nothing")
