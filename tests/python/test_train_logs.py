"""Logs, early stopping and schedules."""

import csv
import json
import math

import pytest

import lowp
from lowp.train import logs, schedules
from lowp.train.logs import EarlyStopping, open_logs


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_and_json_lines(tmp_path):
    with open_logs(tmp_path / "run", csv=True, jsonl=True) as log:
        log.log(0, {"loss": 2.5, "lr": 0.1})
        log.log(1, {"loss": math.nan, "lr": 0.1})
        log.log(1, {"accuracy": 0.1 + 0.2})
        table = rows(tmp_path / "run" / "log.csv")  # complete while the run goes on
    assert [list(r)[2:] for r in table] == [["loss", "lr", "accuracy"]] * 3
    assert [(r["step"], r["loss"], r["accuracy"]) for r in table] == [
        ("0", "2.5", ""),
        ("1", "nan", ""),
        ("1", "", "0.30000000000000004"),
    ]
    lines = [json.loads(x) for x in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 1]
    assert lines[1]["loss"] is None and lines[2]["accuracy"] == 0.1 + 0.2


def test_a_resumed_run_logs_each_step_once(tmp_path):
    with open_logs(tmp_path, csv=True, jsonl=True) as log:
        for step in range(5):
            log.log(step, {"loss": step})
    for name in ("log.csv", "log.jsonl"):
        path = tmp_path / name
        path.write_text(path.read_text()[:-3])  # killed while it wrote
    with open_logs(tmp_path, csv=True, jsonl=True, resume=3) as log:
        log.log(3, {"loss": 30, "new": 1})
    table = rows(tmp_path / "log.csv")
    assert [(r["step"], float(r["loss"]), r["new"]) for r in table] == [
        ("0", 0, ""),
        ("1", 1, ""),
        ("2", 2, ""),
        ("3", 30, "1.0"),
    ]
    assert [json.loads(x)["loss"] for x in (tmp_path / "log.jsonl").read_text().splitlines()] == [0, 1, 2, 30]
    seconds = [float(r["seconds"]) for r in table]
    assert seconds == sorted(seconds)
    with open_logs(tmp_path, csv=True, jsonl=True):
        pass
    assert rows(tmp_path / "log.csv") == [] and (tmp_path / "log.jsonl").read_text() == ""


def test_logs_that_cannot_be(tmp_path):
    (tmp_path / "log.csv").write_text("a,b\n")
    with pytest.raises(lowp.CorruptFile, match="no log"):
        open_logs(tmp_path, resume=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(lowp.IoError, match="cannot be written"):
        open_logs(tmp_path / "file")


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    with open_logs(tmp_path, csv=False, tensorboard=True) as log:
        log.log(3, {"loss": 0.5, "lr": 0.25})
    (path,) = (tmp_path / "tensorboard").iterdir()
    content, events = path.read_bytes(), []
    while content:  # a record: length u64, its checksum, the event, its checksum
        length = int.from_bytes(content[:8], "little")
        events.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    found = {v.tag: (e.step, v.simple_value) for e in events for v in e.summary.value}
    assert found == {"loss": (3, 0.5), "lr": (3, 0.25)}


def test_the_bar_is_for_terminals(capsys):
    with open_logs("unused", csv=False, console=True, steps=3) as log:
        log.log(0, {"loss": 1.0})
    assert capsys.readouterr() == ("", "")


def test_a_log_that_fails_to_open_leaves_none_open(tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(logs.CsvLog, "close", lambda self: closed.append(self._file.close()))
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(lowp.IoError):
        open_logs(tmp_path, jsonl=True)
    assert len(closed) == 1


def test_early_stopping():
    stop = EarlyStopping(2)
    assert [stop.observe(m) for m in (1.0, 0.5, 0.6, 0.4, 0.4)] == [False] * 5
    again = EarlyStopping(2)
    again.restore(json.loads(json.dumps(stop.state())))
    assert again.best == 0.4 and again.observe(math.nan)
    larger = EarlyStopping(1, larger_is_better=True, threshold=0.1)
    assert [larger.observe(m) for m in (1.0, 1.2, 1.25)] == [False, False, True]
    with pytest.raises(lowp.InvalidArgument, match="patience is 0"):
        EarlyStopping(0)


def values(schedule, steps):
    return [round(schedule(s), 6) for s in steps]


def test_schedules():
    assert values(schedules.constant(), [0, 9]) == [1, 1]
    assert values(schedules.step(3, 0.5), [0, 2, 3, 6]) == [1, 1, 0.5, 0.25]
    assert values(schedules.milestones([7, 4], 0.1), [3, 4, 7]) == [1, 0.1, 0.01]
    assert values(schedules.linear(10, 0.2), [0, 5, 10, 99]) == [1, 0.6, 0.2, 0.2]
    assert values(schedules.cosine(10, 0.2), [0, 5, 10, 99]) == [1, 0.6, 0.2, 0.2]
    noam = schedules.noam(512, 4000)
    assert max(range(10_000), key=noam) == 3999
    assert noam(3999) == pytest.approx((512 * 4000) ** -0.5) and noam(15999) == pytest.approx(noam(3999) / 2)
    cycle = schedules.one_cycle(100)
    assert values(cycle, [0, 30]) == [0.04, 1] and cycle(100) == pytest.approx(4e-6)
    assert all(cycle(s) < cycle(s + 1) for s in range(30)) and all(cycle(s) > cycle(s + 1) for s in range(30, 100))
    warm = schedules.warm_up(schedules.cosine(10), 4)
    assert values(warm, [0, 1, 3, 4, 14]) == [0.25, 0.5, 1, 1, 0]
    assert schedules.warm_up(schedules.constant(), 0)(0) == 1
    for wrong in (lambda: schedules.linear(0), lambda: schedules.one_cycle(5, peak=1), lambda: schedules.Plateau(1.0)):
        with pytest.raises(lowp.InvalidArgument):
            wrong()


def test_plateau():
    plateau = schedules.Plateau(0.5, patience=1, least=0.2)
    assert [plateau.observe(m) for m in (1.0, 1.0, 1.0, 1.0)] == [False, False, True, False]
    assert plateau(0) == 0.5
    again = schedules.Plateau(0.5, patience=1, least=0.2)
    again.restore(json.loads(json.dumps(plateau.state())))
    assert [again.observe(1.0) for _ in range(6)] == [True, False, True, False, False, False]
    assert again(0) == 0.2
