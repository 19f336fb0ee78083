# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Windows scripts, as far as they can be tested without Windows.

ConfigDrive.cs, where the decisions are, is compiled as the C# that Windows PowerShell 5.1 takes and really run, by
mono. The .ps1 files are parsed and the commands in them compared with a list; they are NOT executed. So what sets the
password, protects the state folder, writes the event log and registers the task has never run here.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import pathlib
import re
import shutil
import subprocess
import typing as t

import jinja2
import pytest
import yaml

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import build, digest_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis import guest
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import agent_files

from .conftest import FILES, NETWORK
from .test_password import NASTY

WINDOWS = FILES / "windows"
TEMPLATES = FILES.parent / "templates"
POWERSHELL = sorted(WINDOWS.glob("*.ps1"))
UTF8 = {name: password for name, password in NASTY.items() if name != "not utf-8"}


@dataclasses.dataclass
class Answer:
    status: int
    values: list[bytes | None]
    error: str


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    if shutil.which("mcs") is None or shutil.which("mono") is None:
        pytest.skip("no mono")
    target = tmp_path_factory.mktemp("mono") / "harness.exe"
    harness = pathlib.Path(__file__).with_name("harness.cs")
    sources = [str(WINDOWS / "ConfigDrive.cs"), str(harness)]
    done = subprocess.run(
        ["mcs", "-langversion:5", "-warn:4", "-warnaserror", f"-out:{target}", *sources],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


class Core:
    def __init__(self, program: pathlib.Path, base: pathlib.Path) -> None:
        self.program = program
        self.base = base
        self.drive = base / "drive"
        self.drive.mkdir()
        self.state = base / "password"

    def ask(self, *arguments: str | pathlib.Path) -> Answer:
        done = subprocess.run(
            ["mono", str(self.program), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode in (0, 3), done.stderr
        values = [base64.b64decode(line[1:]) if line.startswith("=") else None for line in done.stdout.splitlines()]
        return Answer(done.returncode, values, done.stderr.strip())

    def put(self, content: bytes, path: str = "cloudstack/password/vm_password.txt") -> None:
        target = self.drive / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def boot(self, user: str = "Administrator", works: bool = True) -> Answer:
        return self.ask("boot", self.drive, self.state, user, "works" if works else "fails")


@pytest.fixture
def core(program: pathlib.Path, tmp_path: pathlib.Path) -> Core:
    return Core(program, tmp_path)


# --- executed: the decisions ---


@pytest.mark.parametrize("password", UTF8.values(), ids=UTF8.keys())
def test_exact_password_once(core: Core, password: bytes) -> None:
    core.put(password + b"\r\n")
    assert core.boot().values == [password]
    assert core.boot().values == [None]


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\n\r\n\n"])
def test_ends_of_line(core: Core, ending: bytes) -> None:
    core.put(" wörd \\ ".encode() + ending)
    assert core.boot().values == [" wörd \\ ".encode()]


@pytest.mark.matrix(hypervisor="any", guest="Windows", reader="our scripts", how="own simulator", proves=["password"])
def test_changed_password_and_other_user_are_set_again(core: Core) -> None:
    core.put(b"first")
    assert core.boot().values == [b"first"]
    core.put(b"second")
    assert core.boot().values == [b"second"]
    assert core.boot(user="Admin").values == [b"second"]
    core.put(b"first")
    assert core.boot(user="Admin").values == [b"first"]


def test_what_failed_is_tried_again(core: Core) -> None:
    core.put(b"word")
    assert core.boot(works=False).values == [b"word"]
    assert not core.state.exists()
    assert core.boot().values == [b"word"]
    assert core.boot().values == [None]


@pytest.mark.parametrize("content", [None, b"", b"\r\n", b"saved_password\r\n", b"bad_request"])
def test_nothing_new(core: Core, content: bytes | None) -> None:
    if content is not None:
        core.put(content)
    assert core.boot().values == [None]
    assert not core.state.exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"two\nlines", "more than one line"),
        (b"two\rlines", "more than one line"),
        (b"nul\0byte", "NUL"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * 1025, "larger than 1024 bytes"),
    ],
)
def test_refused(core: Core, content: bytes, problem: str) -> None:
    core.put(content)
    answer = core.boot()
    assert (answer.status, answer.values) == (3, [])
    assert problem in answer.error
    assert not core.state.exists()


def test_state_is_salted_and_slow_and_not_the_value(core: Core) -> None:
    core.put(b"canary-7f3a")
    states = []
    for _time in range(2):
        core.boot()
        states.append(core.state.read_text())
        core.state.unlink()
    assert states[0] != states[1]
    kind, iterations, salt, digest = states[0].split(" ")
    assert kind == "pbkdf2"
    assert int(iterations) >= 100000
    expected = hashlib.pbkdf2_hmac("sha1", b"Administrator:canary-7f3a", base64.b64decode(salt), int(iterations), 32)
    assert base64.b64decode(digest) == expected
    assert "canary" not in states[0]


@pytest.mark.parametrize(
    "state",
    [
        "",
        "x",
        "pbkdf2 1 2 3",
        "pbkdf2 100000 AAAA AAAA",
        "pbkdf2 99999999999 QUFBQUFBQUE= " + "A" * 43 + "=",
        "\x00\x01",
        "a b c d e",
    ],
)
def test_damaged_state_counts_as_none(core: Core, state: str) -> None:
    core.state.write_text(state)
    core.put(b"word")
    assert core.boot().values == [b"word"]
    assert core.boot().values == [None]


def volume(base: pathlib.Path, name: str, *folders: str) -> pathlib.Path:
    root = base / name
    root.mkdir()
    for folder in folders:
        (root / folder).mkdir()
    return root


@pytest.mark.parametrize("label", ["config", "config-2", "CONFIG-2", "Config"])
def test_found_on_any_volume_by_label(core: Core, label: str) -> None:
    """The genuine script looked at the first ready CD drive only."""
    first = volume(core.base, "D", "sources")
    named_so = volume(core.base, "E", "documents")
    ours = volume(core.base, "F", "cloudstack")
    answer = core.ask("find", "config", first, "INSTALL", named_so, label, ours, label)
    assert answer.values == [str(ours).encode()]


def test_configured_label_comes_first(core: Core) -> None:
    one, other, third = (volume(core.base, name, "openstack") for name in "DEF")
    pairs = [one, "config", other, "config-2", third, "site data"]
    assert core.ask("find", "site data", *pairs).values == [str(third).encode()]
    assert core.ask("find", "config-2", *pairs).values == [str(other).encode()]
    assert core.ask("find", "missing", *pairs).values == [str(one).encode()]


def test_no_drive(core: Core) -> None:
    assert core.ask("find", "config").values == [None]
    assert core.ask("find", "config", volume(core.base, "D", "cloudstack"), "").values == [None]


def test_volumes_of_this_machine_can_be_listed(core: Core) -> None:
    (number,) = core.ask("ready").values
    assert number is not None
    assert int(number) >= 0


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ("password", "cloudstack/password/vm_password.txt"),
        ("password", "cloudstack/password/vm-password.txt"),
        ("user-data", "cloudstack/userdata/user_data.txt"),
        ("user-data", "cloudstack/userdata/user-data.txt"),
        ("user-data", "openstack/latest/user_data"),
    ],
)
@pytest.mark.matrix(hypervisor="any", guest="Windows", reader="our scripts", how="parsed only", proves=["user data", "password"])
def test_items_under_every_name(core: Core, item: str, path: str) -> None:
    assert core.ask(item, core.drive).values == [None]
    core.put(b"\x1f\x8b\0 bytes", path)
    assert core.ask(item, core.drive).values == [b"\x1f\x8b\0 bytes"]


@pytest.mark.parametrize("on_drive", ["instance-id", "instance_id"])
@pytest.mark.parametrize("asked", ["instance-id", "instance_id"])
def test_both_spellings_of_metadata(core: Core, on_drive: str, asked: str) -> None:
    core.put(b"i-1", f"cloudstack/metadata/{on_drive}.txt")
    assert core.ask("metadata", core.drive, asked).values == [b"i-1"]


def test_metadata_name_leads_nowhere_else(core: Core) -> None:
    assert core.ask("metadata", core.drive, "../../x").status == 3


def test_links_are_not_followed(core: Core) -> None:
    (core.base / "outside").write_text("secret")
    (core.drive / "cloudstack/password").mkdir(parents=True)
    (core.drive / "cloudstack/password/vm_password.txt").symlink_to(core.base / "outside")
    assert core.ask("password", core.drive).values == [None]


def test_settings_as_the_role_writes_them(core: Core) -> None:
    environment = jinja2.Environment()
    environment.filters["bool"] = bool
    environment.filters["ternary"] = lambda value, yes, no: yes if value else no
    template = environment.from_string((TEMPLATES / "settings.ini.j2").read_text())
    variables = {
        "label": "config-2",
        "set_password": True,
        "windows_user": "Administrateur é",
        "set_ssh_keys": False,
        "windows_ssh_users": ["Anna Ek", "DOMAIN\\bo"],
        "save_user_data": False,
        "wait": 7,
    }
    path = core.base / "settings.ini"
    path.write_text(template.render({f"vm_template_{name}": value for name, value in variables.items()}).replace("\n", "\r\n"))
    said = [b"config-2", b"True", "Administrateur é".encode(), b"False", b"Anna Ek|DOMAIN\\bo", b"False", b"7"]
    assert core.ask("settings", path).values == said
    path.write_text("# only comments\n\nSshKeyUsers=\n")
    assert core.ask("settings", path).values == [b"config", b"True", b"Administrator", b"True", b"", b"True", b"5"]


@pytest.mark.parametrize("line", ["Lable=x", "SetPassword=maybe", "WaitSeconds=-1", "WaitSeconds=601", "Label=", "nonsense"])
def test_wrong_settings_are_named(core: Core, line: str) -> None:
    path = core.base / "settings.ini"
    path.write_text(line)
    answer = core.ask("settings", path)
    assert answer.status == 3
    assert re.split("[= ]", line)[0] in answer.error


BEGIN = "# BEGIN keys from the config drive (replaced when it changes, put your own keys elsewhere)"
END = "# END keys from the config drive"


def real_key(number: int, comment: str = "someone") -> str:
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes([number]) * 32
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} {comment}"


def test_keys_go_into_a_block_and_all_else_stays(core: Core) -> None:
    path = core.base / "authorized_keys"
    others = "# öwn\r\nssh-rsa AAAA own\r\n".encode("latin-1") + b"\xff\xfe"
    path.write_bytes(others)
    core.put(f"{real_key(1)}\r\n\t{real_key(2, 'b c')} \r\n# remark\r\n".encode(), "cloudstack/metadata/public-keys.txt")
    assert core.ask("keys", core.drive, path).values == [b"2 0 new"]
    block = f"{BEGIN}\n{real_key(1)}\n{real_key(2, 'b c')}\n{END}\n".encode()
    assert path.read_bytes() == others + b"\n" + block
    assert core.ask("keys", core.drive, path).values == [b"2 0 same"]
    core.put(real_key(3).encode(), "cloudstack/metadata/public-keys.txt")
    assert core.ask("keys", core.drive, path).values == [b"1 0 new"]
    assert path.read_bytes() == others + f"\n{BEGIN}\n{real_key(3)}\n{END}\n".encode()
    core.put(b"", "cloudstack/metadata/public-keys.txt")
    assert core.ask("keys", core.drive, path).values == [b"0 0 new"]
    assert path.read_bytes() == others + b"\n"


def test_no_key_file_changes_nothing(core: Core) -> None:
    path = core.base / "authorized_keys"
    path.write_text(f"{BEGIN}\n{real_key(1)}\n{END}\n")
    assert core.ask("keys", core.drive, path).values == [b"0 0 same"]
    path.unlink()
    core.put(b"\n", "cloudstack/metadata/public_keys.txt")
    assert core.ask("keys", core.drive, path).values == [b"0 0 same"]
    assert not path.exists()


@pytest.mark.parametrize(
    "line",
    [
        f'command="evil" {real_key(1)}',
        real_key(1).replace("AAAAC3NzaC1lZDI1NTE5", "AAAAB3NzaC1yZDI1NTE5"),
        real_key(1).replace(" AAAA", " AAA"),
        f"{real_key(1)}\x1b[31m",
        f"{real_key(1)}{'x' * 8192}",
        "ssh-dss AAAAB3NzaC1kc3MAAACB" + "A" * 80,
        "ssh-ed25519",
    ],
)
def test_what_is_no_plain_key_is_left_out(core: Core, line: str) -> None:
    path = core.base / "authorized_keys"
    core.put(f"{line}\n{real_key(7)}\n".encode(), "cloudstack/metadata/public-keys.txt")
    assert core.ask("keys", core.drive, path).values == [b"1 1 new"]
    assert path.read_text() == f"{BEGIN}\n{real_key(7)}\n{END}\n"
    core.put(line.encode(), "cloudstack/metadata/public-keys.txt")
    answer = core.ask("keys", core.drive, path)
    assert answer.status == 3 and "no line" in answer.error
    assert real_key(7) in path.read_text()


def test_a_begin_without_an_end_takes_nothing_with_it(core: Core) -> None:
    path = core.base / "authorized_keys"
    path.write_text(f"{BEGIN}\nmine\n")
    core.put(real_key(1).encode(), "cloudstack/metadata/public-keys.txt")
    assert core.ask("keys", core.drive, path).values == [b"1 0 new"]
    assert path.read_text() == f"mine\n{BEGIN}\n{real_key(1)}\n{END}\n"


def test_keys_are_not_written_through_links(core: Core) -> None:
    core.put(real_key(1).encode(), "cloudstack/metadata/public-keys.txt")
    (core.base / "elsewhere").mkdir()
    (core.base / ".ssh").symlink_to(core.base / "elsewhere")
    answer = core.ask("keys", core.drive, core.base / ".ssh" / "authorized_keys")
    assert answer.status == 3 and "is a link" in answer.error
    assert list((core.base / "elsewhere").iterdir()) == []


def test_rights_are_what_sshd_wants(core: Core) -> None:
    """Protected from inheritance; SYSTEM, Administrators and the user, nobody else."""
    (rights,) = core.ask("rights", "S-1-5-21-1-2-3-1001", "S-1-5-18", "S-1-5-32-544").values
    assert rights is not None and rights.startswith(b"D:P")
    assert set(re.findall(rb"\((.*?)\)", rights)) == {b"A;;FA;;;S-1-5-21-1-2-3-1001", b"A;;FA;;;SY", b"A;;FA;;;BA"}


@pytest.mark.parametrize("how", ["done", "failed"])
def test_the_confirmation_names_the_drive(core: Core, how: str) -> None:
    path = core.base / "drive.iso"
    path.write_bytes(build({"cloudstack/metadata/instance-id.txt": b"i-1"}, owner="web1"))
    core.put(b"i-1", "cloudstack/metadata/instance-id.txt")
    (said,) = core.ask("confirm", how, core.drive, path).values
    assert said is not None and guest.drive_seen(said) == guest.DriveSeen(how == "failed", "i-1", digest_of(path.read_bytes()))


@pytest.mark.parametrize("instance", [None, b"", b"i 1", b"i-1\n2", "\N{CYRILLIC SMALL LETTER A}".encode(), b"i" * 129])
def test_the_confirmation_of_others_drives_names_none(core: Core, instance: bytes | None) -> None:
    path = core.base / "drive.iso"
    data = build({"cloudstack/metadata/instance-id.txt": b"i-1"})
    assert (digest := digest_of(data)) is not None
    if instance is not None:
        core.put(instance, "cloudstack/metadata/instance-id.txt")
    for other in (
        b"",
        bytes(40000),
        data[:33000],
        data.replace(b"VMOPS", b"OTHER"),
        data.replace(digest.encode(), digest.upper().encode()),
    ):
        path.write_bytes(other)
        assert core.ask("confirm", "done", core.drive, path).values == [b"0 - -"]


def test_core_compiles_without_other_assemblies() -> None:
    """Add-Type -Path references the core library and System; anything else would need to be named."""
    text = (WINDOWS / "ConfigDrive.cs").read_text()
    assert text.isascii(), "its compiler reads a file without a mark in the machine's own code page"
    used = set(re.findall(r"^using ([\w.]+);", text, re.MULTILINE))
    allowed = {"System", "System.Collections.Generic", "System.Globalization", "System.IO", "System.Security"}
    allowed |= {f"System.Security.{name}" for name in ("AccessControl", "Cryptography", "Principal")}
    allowed |= {"System.Runtime.InteropServices", "System.Text", "System.Text.RegularExpressions", "Microsoft.Win32.SafeHandles"}
    assert used <= allowed


# --- parsed only: PowerShell ---

ALLOWED_COMMANDS = {
    "ConfigDrive.ps1": {
        *(
            "Add-Type",
            "Get-Command",
            "Get-ItemProperty",
            "Get-WmiObject",
            "Join-Path",
            "New-Item",
            "New-Object",
            "Set-LocalUser",
            "Set-StrictMode",
            "Start-Sleep",
        ),
        *("Test-Path", "Write-EventLog", "icacls.exe", "$rpcTool"),
        *(
            "Invoke-Part",
            "Protect-StateFolder",
            "Send-Confirmation",
            "Set-AdministratorKey",
            "Set-Key",
            "Set-Secret",
            "Set-UserKey",
        ),
        "Write-Log",
    },
    "Find-Hypervisor.ps1": {"Get-CimInstance", "Set-StrictMode"},
    "Set-AgentInterval.ps1": {"Join-Path", "Set-StrictMode", "$toolbox"},
    "Register-ConfigDrive.ps1": {
        *("Get-ScheduledTask", "Join-Path", "New-EventLog", "New-ScheduledTaskAction", "New-ScheduledTaskPrincipal"),
        *("New-ScheduledTaskTrigger", "Register-ScheduledTask", "Set-StrictMode"),
    },
}


def nodes(node: t.Any, kind: str) -> t.Iterator[t.Any]:
    if node.type == kind:
        yield node
    for child in node.children:
        yield from nodes(child, kind)


def parse(text: bytes) -> t.Any:
    tree_sitter = pytest.importorskip("tree_sitter")
    grammar = pytest.importorskip("tree_sitter_powershell")
    return tree_sitter.Parser(tree_sitter.Language(grammar.language())).parse(text).root_node


def commands(root: t.Any) -> list[tuple[str, str]]:
    """The name and the whole text of every command."""
    found = []
    for command in nodes(root, "command"):
        name = next((child for child in command.children if child.type in ("command_name", "command_name_expr")), None)
        if name is not None:
            found.append((name.text.decode(), command.text.decode()))
    return found


@pytest.mark.parametrize("path", POWERSHELL, ids=lambda path: path.name)
def test_powershell_parses(path: pathlib.Path) -> None:
    text = path.read_bytes()
    assert not parse(text).has_error
    assert parse(text.replace(b"}", b"", 1)).has_error, "the parser would notice"
    assert text.isascii(), "Windows PowerShell reads a file without a mark in the machine's own code page"


@pytest.mark.parametrize("path", POWERSHELL, ids=lambda path: path.name)
def test_powershell_uses_known_commands_only(path: pathlib.Path) -> None:
    used = {name for name, _text in commands(parse(path.read_bytes()))}
    assert used - {"$Part"} == ALLOWED_COMMANDS[path.name]
    assert not used & {"Invoke-Expression", "Invoke-WebRequest", "Invoke-RestMethod", "Start-Process", "net", *NETWORK}
    assert "Net.WebClient" not in path.read_text()


def test_every_powershell_file_is_looked_at() -> None:
    assert {path.name for path in POWERSHELL} == set(ALLOWED_COMMANDS)


def test_programs_get_no_secret() -> None:
    """Of the commands that get a variable in their arguments, those with the secret are not programs and do not log."""
    secret = re.compile(r"\$(secret|decision\b|state\b|userData)", re.IGNORECASE)
    root = parse((WINDOWS / "ConfigDrive.ps1").read_bytes())
    with_secret = {name for name, text in commands(root) if secret.search(text) and name != "Invoke-Part"}
    assert with_secret == {"Set-Secret", "Set-LocalUser", "New-Object"}
    (icacls,) = [text for name, text in commands(root) if name == "icacls.exe"]
    assert re.findall(r"\$\w+", icacls) == ["$stateFolder"]
    for name, text in commands(root):
        if name in ("Write-Log", "Write-EventLog"):
            assert not secret.search(text)


def test_the_confirmation_comes_after_all_that_it_is_about_and_where_it_is_looked_for() -> None:
    text = (WINDOWS / "ConfigDrive.ps1").read_text()
    order = ["Set-Secret -User", "-Part { Set-AdministratorKey", "-Part { Set-UserKey", "-Part { Send-Confirmation"]
    places = [text.index(word) for word in order]
    assert places == sorted(places)
    variables = yaml.safe_load((FILES.parent / "vars" / "main.yml").read_text())
    place = variables["vm_template_windows_folder"] + r"\state\drive-seen"
    assert agent_files.ON_WINDOWS[_defaults.DRIVE_SEEN] == place and "-ChildPath 'drive-seen'" in text
    assert _defaults.DRIVE_SEEN_VMWARE in text and _defaults.DRIVE_SEEN_XENSTORE in text


def test_state_is_written_after_the_password_is_set() -> None:
    text = (WINDOWS / "ConfigDrive.ps1").read_text()
    order = ["Protect-StateFolder\n    #", "PasswordDecision]::Make(", "Set-Secret -User", "::Write($stateFile"]
    places = [text.index(word) for word in order]
    assert places == sorted(places)


# --- parsed only: the role's tasks on Windows ---

TASKS = FILES.parent / "tasks"


@pytest.mark.parametrize("name", ["windows", "windows-agent", "look-windows", "verify-windows"])
def test_tasks_give_the_modules_what_they_take(name: str) -> None:
    """As the modules' documentation in the collection has it: options, and choices of what is no template. None of them was run."""
    modules = pathlib.Path(pytest.importorskip("ansible_collections.ansible.windows").__path__[0], "plugins/modules")
    for task in yaml.safe_load((TASKS / f"{name}.yml").read_text()):
        module = next(key for key in task if key.startswith("ansible."))
        if not module.startswith("ansible.windows."):
            continue
        source = (modules / f"{module.rpartition('.')[2]}.py").read_text()
        documentation = re.search(r"DOCUMENTATION = r?(\"\"\"|''')(.*?)\1", source, re.DOTALL)
        assert documentation is not None
        options = yaml.safe_load(documentation.group(2)).get("options", {})
        given = task[module] or {}
        assert set(given) <= set(options), task["name"]
        for option, value in given.items():
            if "choices" in options[option] and "{{" not in str(value):
                assert set(str(value).split(", ")) <= {str(choice) for choice in options[option]["choices"]}, task["name"]
