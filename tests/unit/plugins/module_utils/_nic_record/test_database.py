# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import database as subject
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import (
    MissingLibrary,
    RecordError,
    RecordReadOnly,
    RecordSchemaError,
    RecordUrlError,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore


def test_the_default_is_a_file_in_the_users_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert subject.Database().path == f"{tmp_path}/vmops-external-dhcp/record.db"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert subject.Database().path == f"{tmp_path}/.local/state/vmops-external-dhcp/record.db"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "driver", "where"),
    [
        ("postgresql://u:p@db.example.com:5433/records", "postgresql+psycopg", "records on db.example.com:5433 (postgresql)"),
        ("postgres://u@db/records", "postgresql+psycopg", "records on db (postgresql)"),
        ("mysql://u:p@db/records", "mysql+pymysql", "records on db (mysql)"),
        ("mariadb+pymysql://u:p@db/records", "mariadb+pymysql", "records on db (mariadb)"),
        ("postgresql:///records?host=/run/x", "postgresql+psycopg", "records on the local socket (postgresql)"),
        ("sqlite:///~/r.db", "sqlite+pysqlite", "/r.db"),
    ],
)
def test_url_forms(url: str, driver: str, where: str) -> None:
    one = subject.Database(url)
    assert one.url.drivername == driver
    assert one.where.endswith(where)


@pytest.mark.parametrize("url", ["", " ", "records", "http://x/y", "postgresql+psycopg2://u:p@h/d", "mysql://h", "sqlite://h/x"])
def test_what_is_no_url_of_ours(url: str) -> None:
    if url == "":
        return  # the same as not given
    with pytest.raises(RecordUrlError, match="the option record"):
        subject.Database(url)


def test_secrets_of_the_url_are_hidden_wherever_they_turn_up() -> None:
    one = subject.Database("postgresql://u:p%40ss-w0rd@h/d?sslpassword=other-s3cret")
    assert one.hide("login of u with p@ss-w0rd (other-s3cret) failed") == "login of u with *** (***) failed"


def test_a_file_that_is_no_database(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "record.db"
    path.write_text("Dear diary, this is not a database at all. " * 50)
    with pytest.raises(RecordSchemaError, match="is not an SQLite database"):
        subject.Database(f"sqlite:///{path}").prepare()


def test_a_place_that_cannot_be_made(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordReadOnly, match="EXTERNAL_DHCP_RECORD"):
        subject.Database(f"sqlite:///{tmp_path}/file/record.db").prepare()


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_engine(*_arguments: t.Any, **_options: t.Any) -> t.Any:
        raise ImportError("No module named 'psycopg'")

    monkeypatch.setattr(subject.sa, "create_engine", create_engine)
    with pytest.raises(MissingLibrary, match="psycopg is needed for a record on postgresql"):
        subject.Database("postgresql://u:p@h/d").exists()


def test_a_missing_sqlalchemy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject.schema, "HAS_SQLALCHEMY", False)
    with pytest.raises(MissingLibrary, match="SQLAlchemy is needed"):
        subject.Database("sqlite:////tmp/x.db")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        ("25006", "can only be read"),
        ("53100", "has no room left"),
        ("28P01", "refuses the login"),
        ("3D000", "create the database first"),
        ("57P01", "broke the connection"),
        ("53300", "broke the connection"),
        ("42501", "does not allow this account"),
    ],
)
def test_postgresql_errors_in_words(number: str, words: str) -> None:
    one = subject.Database("postgresql://u:s3cret-word@h/d")
    original = Exception("connection with s3cret-word\nfailed")
    original.sqlstate = number  # type: ignore[attr-defined]
    text = str(one.explain(subject.sa.exc.OperationalError("SELECT 1", {}, original)))
    assert words in text and "s3cret-word" not in text and "\n" not in text and "SELECT" not in text


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1290, "can only be read"),
        (1114, "has no room left"),
        (1045, "refuses"),
        (2013, "broke"),
        (1049, "create the database first"),
    ],
)
def test_mariadb_errors_in_words(number: int, words: str) -> None:
    one = subject.Database("mariadb://u:p@h/d")
    assert words in str(one.explain(subject.sa.exc.OperationalError("SELECT 1", {}, Exception(number, "text"))))


def test_deadlocks_are_tried_again_and_not_for_ever(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject.time, "sleep", lambda seconds: None)
    one = subject.Database(f"sqlite:///{tmp_path}/record.db")
    one.prepare()
    calls = []

    def work(connection: t.Any) -> str:
        calls.append(1)
        if len(calls) < 3:
            raise subject.sa.exc.IntegrityError("INSERT", {}, Exception("twice"))
        return "done"

    assert one.run(work) == "done" and len(calls) == 3
    calls[:] = [1] * -100

    def never(connection: t.Any) -> None:
        raise subject.sa.exc.IntegrityError("INSERT", {}, Exception("twice"))

    with pytest.raises(RecordError, match="too busy"):
        one.run(never)
    one.close()


def test_what_fails_leaves_nothing(tmp_path: pathlib.Path) -> None:
    one = subject.Database(f"sqlite:///{tmp_path}/record.db")
    one.prepare()

    def work(connection: t.Any) -> None:
        connection.exec_driver_sql("UPDATE event_counter SET last_event_id = 7")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one.run(work, write=True)
    assert RecordStore(one).last_event_id() == 0
    one.close()
