# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import database as subject
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import lock as locks
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import (
    RecordError,
    RecordReadOnly,
    RecordSchemaError,
    RecordUrlError,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.lock import PollLock
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.url import network_file_system
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._nic_record.fake_hypervisor import guest


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


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:Hunter2@secret@db/records",
        "postgresql://u:Hunter2@secret@db:5432/records?sslmode=require",
        "mariadb://u:Hunter2@se/cret@db/records",
        "mysql://u:Hun?ter2@secret@db/records",
        "postgresql://u:Hunter2@secret:x@db/records",
    ],
)
def test_an_at_sign_in_the_password_is_not_shown_as_a_host(url: str) -> None:
    with pytest.raises(RecordUrlError, match="%40|is not a database URL") as error:
        subject.Database(url)
    assert "cret" not in str(error.value) and "Hun" not in str(error.value)


def test_an_encoded_at_sign_and_one_in_the_users_name_are_good() -> None:
    one = subject.Database("postgresql://me%40site:Hunter2%40secret@db/records?sslmode=require")
    assert (one.url.username, one.url.password, one.url.host) == ("me@site", "Hunter2@secret", "db")
    assert subject.Database("mysql://me@site:pw@db/records").url.host == "db"


def test_a_relative_file_is_refused() -> None:
    with pytest.raises(RecordUrlError, match="'records/my.db' without saying where it is.*inventory_dir }}/my.db"):
        subject.Database("sqlite:///records/my.db")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mariadb://u:s3cret@h/d?ssl=true", "parameter ssl, .*ssl_ca=FILE"),
        ("mysql://u:s3cret@h/d?sslmode=verify-full", "parameter sslmode, .*ssl_ca=FILE"),
        ("mariadb://u:s3cret@h/d?charzet=utf8", "did you mean charset"),
        ("mariadb://u:s3cret@h/d?ssl_ca=/nonexistent/ca.pem", "there is no such file"),
        ("postgresql://u:s3cret@h/d?sslrootcert=/nonexistent/ca.pem", "there is no such file"),
        ("mariadb://u:s3cret@h/d?connect_timeout=soon", "a number of seconds"),
        ("mariadb://u:s3cret@h/d?charset=a&charset=b", "more than once"),
    ],
)
def test_parameters_that_would_end_in_a_traceback(url: str, words: str) -> None:
    with pytest.raises(RecordUrlError, match=words) as error:
        subject.Database(url)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(("library", "scheme"), [("pymysql", "mariadb"), ("psycopg", "postgresql")])
def test_what_a_driver_says_of_its_parameters_is_one_sentence(tmp_path: pathlib.Path, library: str, scheme: str) -> None:
    pytest.importorskip(library)
    (tmp_path / "ca.pem").write_text("this is no certificate")
    option = "ssl_ca" if scheme == "mariadb" else "sslmod"
    with pytest.raises(RecordError) as error:
        subject.Database(f"{scheme}://u:s3cret@127.0.0.1:1/d?{option}={tmp_path}/ca.pem").prepare()
    assert "the record d on 127.0.0.1:1" in str(error.value) and "s3cret" not in str(error.value)


def test_a_damaged_column_is_named(tmp_path: pathlib.Path) -> None:
    one = subject.Database(f"sqlite:///{tmp_path}/record.db")
    one.prepare()
    store = RecordStore(one)
    store.enter("kvm01", [guest(1).facts()])
    for damage in ("[1,", '{"a": 1}'):
        one.run(lambda c, damage=damage: c.exec_driver_sql("UPDATE nics SET cidrs = ?", (damage,)), write=True)
        with pytest.raises(RecordSchemaError, match="damaged list in a column"):
            store.nics()
    one.close()


MOUNTS = """\
21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 21 0:40 / /home rw shared:5 - nfs4 nas:/home rw
31 30 8:2 / /home/me/local rw - xfs /dev/sdb rw
32 21 0:41 / /srv/my\\040share rw - cifs //nas/share rw
33 21 0:42 / /data rw - nfs nas:/data rw
34 21 8:3 / /data rw - ext4 /dev/sdc rw
35 21 0:43 / /mnt rw - fuse.sshfs me@x:/ rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/x/record.db", None),
        ("/home/me/record.db", "nfs4"),
        ("/home/me/local/record.db", None),
        ("/homework/record.db", None),
        ("/srv/my share/record.db", "cifs"),
        ("/data/record.db", None),
        ("/mnt/r/record.db", "fuse.sshfs"),
    ],
)
def test_network_file_systems_are_noticed(path: str, kind: str | None) -> None:
    assert network_file_system(path, MOUNTS) == kind


def test_a_file_on_a_network_file_system_is_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "network_file_system", lambda path: "nfs4")
    with pytest.raises(RecordUrlError, match=r"network file system \(nfs4\)"):
        subject.Database(f"sqlite:///{tmp_path}/record.db").prepare()
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can poll for others")
@pytest.mark.parametrize("made_by_root", [False, True])
def test_roots_poll_leaves_files_that_the_records_owner_can_use(tmp_path: pathlib.Path, made_by_root: bool) -> None:
    os.chown(tmp_path, 65534, 65534)
    path = tmp_path / "record.db"
    if not made_by_root:
        path.touch(0o640)
        os.chown(path, 65534, 65534)
    one = subject.Database(f"sqlite:///{path}")
    one.prepare()
    with PollLock(one, "kvm01", "hypervisor") as lock:
        assert lock.acquire()
    one.close()
    made = {name: os.stat(tmp_path / name) for name in os.listdir(tmp_path)}
    assert len([name for name in made if name.endswith(".lock")]) == 2
    assert {there.st_uid for there in made.values()} == {65534}
    assert {there.st_mode & 0o777 for there in made.values()} == {0o600 if made_by_root else 0o640}


def test_a_lock_file_that_cannot_be_opened_says_whose_it_is(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = subject.Database(f"sqlite:///{tmp_path}/record.db")
    one.prepare()
    (tmp_path / "record.db.vmIpFetch.lock").touch(0o600)
    monkeypatch.setattr(locks.os, "open", lambda *_words: (one for one in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(RecordReadOnly, match=f"belongs to user {os.getuid()} with mode 0600: give it the record's owner"):
        PollLock(one, "kvm01").acquire()
    one.close()


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
