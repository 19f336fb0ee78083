# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hypervisor of its own for tests and the demo: libvirtd, QEMU, a bridge and a template to clone.

libvirtd runs in a mount namespace where libvirt's usual folders are this rig's, and in a network namespace with the
bridge: to libvirt everything is at its usual place, and nothing of the machine's own libvirt or network is touched.
It needs neither systemd nor dbus nor polkit, and does not talk to them where they run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import typing as t
import uuid
from pathlib import Path
from xml.sax.saxutils import escape

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import image
import layer
import librig
import librig_dhcp
import probe
from librig import RigError, run, say

HELP = """
commands:
  up      bring the rig up (quick when it is; the first one of all builds the guest image)
  status  print what there is as KEY=VALUE lines
  down    remove machines, daemons, network and files (and the DHCP rig of the same name)

environment: VMOPS_RIG_DIR (folder of the rigs' states), VMOPS_CACHE_DIR (folder of built images), VMOPS_MIRROR (package mirror)
"""

PROGRAMS = {
    "ip": "iproute2",
    "mount": "mount",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "unshare": "util-linux",
    "virsh": "libvirt-clients",
}
#: libvirt's folders → the rig's folders that stand in for them.
FOLDERS = {
    "/etc/libvirt": "libvirt/etc",
    "/run/libvirt": "libvirt/run",
    "/var/cache/libvirt": "libvirt/cache",
    "/var/lib/libvirt": "libvirt/lib",
    "/var/log/libvirt": "libvirt/log",
}
#: Hidden from the daemons if they exist: through them libvirt would register the guests (machined), open the firewall (firewalld) and
#: delay suspend (logind), all of which belongs to the machine and not to the rig.
HIDDEN = ("/run/dbus",)
IMAGES = "/var/lib/libvirt/images"
#: Name of the template per suite of the guest.
TEMPLATE = {"bookworm": "debian-12", "jammy": "ubuntu-22.04", "noble": "ubuntu-24.04"}
#: Ending of the name of a template without the guest agent's channel.
NO_AGENT = "-no-agent"
Q35 = "-q35"
#: Other templates by the word in --with-WORD: what builds their tree, and the key of their name among the rig's values.
LAYERS = {
    "cloud-init": (layer.cloud_init, "TEMPLATE_CLOUD_INIT"),
    "dhcp-clients": (layer.dhcp_clients, "TEMPLATE_DHCP_CLIENTS"),
}
MEMORY_MIB = 256
#: The daemons of distributions without a monolithic one. Clients connect to the first, which asks the others.
MODULAR = ("virtqemud", "virtstoraged", "virtnetworkd", "virtinterfaced", "virtnodedevd", "virtnwfilterd", "virtsecretd")
MONOLITHIC = ("libvirtd",)

CONFIGURATION = {
    "libvirtd.conf": """
# The socket belongs to who started the rig; nothing else is asked.
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_ro_perms = "0700"
unix_sock_rw_perms = "0700"
unix_sock_admin_perms = "0700"
host_uuid = "@HOST_UUID@"
""",
    "qemu.conf": """
# No cgroups, huge pages or security labels: those are the machine's, and a rig has no need of them. No /dev of each
# guest's own either: libvirt cannot build one around the /dev/kvm that the rig hides.
cgroup_controllers = []
namespaces = []
hugetlbfs_mount = []
security_driver = "none"
# Some sudo takes away the right to raise this limit, and libvirt raises it unless told otherwise.
max_core = 0
""",
    "virtlogd.conf": "max_clients = 4096\nadmin_max_clients = 5\n",
}


#: Added where libvirtd also listens for others, each with a certificate of the same authority; the names are libvirt's.
TLS = """
listen_tls = 1
auth_tls = "none"
ca_file = "@FOLDER@/cacert.pem"
cert_file = "@FOLDER@/servercert.pem"
key_file = "@FOLDER@/serverkey.pem"
"""


class KvmRig(librig.Rig):
    """Names and folders of the hypervisor's part."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.libvirt = self.state / "libvirt"
        self.images = self.libvirt / "lib" / "images"
        self.logs = self.libvirt / "log"
        self.serial_logs = self.logs / "qemu"
        self.pids = self.state / "pids"
        #: The values that `up` found out and made; the file exists only after a complete `up`.
        self.facts_file = self.state / "facts.json"
        self.daemons = MONOLITHIC if shutil.which("libvirtd") or not shutil.which("virtqemud") else MODULAR
        self.socket = self.libvirt / "run" / f"{self.daemons[0].replace('libvirtd', 'libvirt')}-sock"
        self.uri = f"qemu+unix:///system?socket={self.socket}"
        if len(str(self.socket)) > 100:
            raise RigError(f"{self.socket} is too long for a socket's path: name a shorter folder in VMOPS_RIG_DIR")

    def virsh(self, *words: str, **options: t.Any) -> subprocess.CompletedProcess[str]:
        return run("virsh", "-q", "-c", self.uri, *words, **options)

    def answers(self) -> bool:
        """Whether libvirtd answers on the rig's socket."""
        if not self.socket.exists():
            return False
        try:
            return self.virsh("version", "--daemon", check=False, timeout=10).returncode == 0
        except RigError:
            return False

    def daemon_pid(self, program: str) -> int | None:
        return librig.read_pid(self.pids / f"{program}.pid", program)

    def uuid_of(self, thing: str) -> str:
        """A UUID that is the same at every `up`, so that defining again replaces, and another one for every rig."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"vmops-external-dhcp{self.state}/{thing}"))

    def facts(self) -> dict[str, t.Any]:
        try:
            return dict(json.loads(self.facts_file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}


# up -----------------------------------------------------------------------------------------------------------------


def up(rig: KvmRig, accelerator: str, layers: t.Sequence[str] = (), certificates: str | None = None) -> None:
    if rig.facts() and librig.link_exists(rig.hypervisor_netns, rig.bridge) and rig.answers():
        give_socket(rig)
    else:
        bring_up(rig, accelerator, certificates)
    for name, (build, fact) in LAYERS.items():
        facts = rig.facts()
        if name in layers and not facts.get(fact):
            built = image.image(build)
            write_facts(rig, {**facts, fact: publish_template(rig, built, facts["DOMAIN_TYPE"], f"-{name}")})


def bring_up(rig: KvmRig, accelerator: str, certificates: str | None) -> None:
    librig.need(PROGRAMS)
    if certificates and rig.daemons != MONOLITHIC:
        raise RigError("--tls is for machines with the daemon libvirtd: the modular ones do not listen themselves")
    if not any(shutil.which(program) for program in ("libvirtd", "virtqemud")) or not shutil.which("virtlogd"):
        raise RigError("missing on this machine: libvirt's daemons. Install them with: apt-get install libvirt-daemon-system")
    # The probe may take long, so it runs beside the other preparations.
    domain_type = librig.in_background(lambda: probe.domain_type(accelerator))
    built = image.image()
    rig.make_state()
    librig_dhcp.make_bridge(rig)
    make_folders(rig)
    if certificates:
        with (rig.libvirt / "etc" / "libvirtd.conf").open("a", encoding="ascii") as stream:
            stream.write(TLS.replace("@FOLDER@", os.path.abspath(certificates)))
    kind, why = domain_type()
    say(f"domain type {kind}: {why}")
    start_daemons(rig, kind, ["--listen"] if certificates else [])
    name = publish_template(rig, built, kind)
    write_facts(rig, {"DOMAIN_TYPE": kind, "DOMAIN_TYPE_REASON": why, "TEMPLATE": name, "GUEST_KERNEL": built.kernel_version})


def make_folders(rig: KvmRig) -> None:
    for folder in (
        rig.libvirt,
        rig.pids,
        *(rig.state / own for own in FOLDERS.values()),
        rig.images,
        rig.serial_logs,
        rig.state / "empty",
    ):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder.chmod(0o755)
    names = {"libvirtd.conf", "qemu.conf", "virtlogd.conf"}
    for name in names:
        text = CONFIGURATION[name].replace("@HOST_UUID@", rig.uuid_of("host"))
        (rig.libvirt / "etc" / name).write_text(text.lstrip(), encoding="ascii")
    for daemon in MODULAR:
        shutil.copyfile(rig.libvirt / "etc" / "libvirtd.conf", rig.libvirt / "etc" / f"{daemon}.conf")


def start_daemons(rig: KvmRig, kind: str, options: t.Sequence[str]) -> None:
    """virtlogd and libvirtd, each when it does not run; a guest outlives both."""
    for program in ("virtlogd", *rig.daemons):
        if not rig.daemon_pid(program) and shutil.which(program):
            start_daemon(rig, program, kind, options if program in rig.daemons else ())
    first = rig.daemons[0]
    librig.wait_for(f"{first}'s answer", lambda: rig.answers() or not rig.daemon_pid(first), 30)
    if not rig.daemon_pid(first):
        log = rig.logs / f"{first}.log"
        raise RigError(
            f"{first} ended by itself; the end of {log}:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-4:])
        )
    give_socket(rig)


def start_daemon(rig: KvmRig, program: str, kind: str, options: t.Sequence[str]) -> None:
    # Mount points that no package or daemon has made yet; they are removed with the rig.
    made = rig.state / "made-folders"
    for folder in FOLDERS:
        if not os.path.isdir(folder):
            os.makedirs(folder, mode=0o755)
            with made.open("a", encoding="ascii") as stream:
                stream.write(f"{folder}\n")
    pid_file = rig.pids / f"{program}.pid"
    with contextlib.suppress(FileNotFoundError):
        pid_file.unlink()
    lines = ["set -e", "mount --make-rprivate /"]
    lines += [f"mount --bind {rig.state / own} {folder}" for folder, own in FOLDERS.items()]
    lines += [f"mount --bind {rig.state}/empty {folder}" for folder in HIDDEN if os.path.isdir(folder)]
    if kind != "kvm" and os.path.exists("/dev/kvm"):
        # With an unusable /dev/kvm libvirt would ask QEMU about it at every call, which takes a second each time.
        nothing = rig.state / "no-kvm"
        nothing.touch()
        nothing.chmod(0)
        lines.append(f"mount --bind {nothing} /dev/kvm")
    # The daemons' pid files must not go to /run, where the machine's own daemons have theirs.
    lines.append('exec "$@"')
    log = rig.logs / f"{program}.out"
    librig.start_kept(
        [program, "--pid-file", str(pid_file), *options],
        inside=["ip", "netns", "exec", rig.hypervisor_netns, "unshare", "--mount", "sh", "-c", "\n".join(lines), "sh"],
        output=log,
        env={"LIBVIRT_LOG_OUTPUTS": f"3:file:{rig.logs}/{program}.log"},
    )
    try:
        librig.wait_for(program, lambda: rig.daemon_pid(program), 15)
    except RigError as error:
        raise RigError(f"{program} did not start: {log.read_text(errors='replace').strip() or error}") from None


def give_socket(rig: KvmRig) -> None:
    """Gives the socket to the person who called sudo, who needs no root for libvirt then."""
    caller = os.environ.get("SUDO_UID", "")
    if caller.isdigit() and int(caller):
        os.chown(rig.socket, int(caller), -1)


def write_facts(rig: KvmRig, facts: t.Mapping[str, t.Any]) -> None:
    new = rig.facts_file.with_suffix(".new")
    new.write_text(json.dumps(facts, indent=2), encoding="utf-8")
    os.replace(new, rig.facts_file)


def publish_template(rig: KvmRig, built: image.Image, kind: str, suffix: str = "") -> str:
    """Puts the image into libvirt's images folder and defines the machine that is to be cloned, shut off."""
    name = TEMPLATE.get(built.suite, built.suite) + suffix
    endings = {built.disk: "qcow2", built.kernel: "vmlinux", built.efi_kernel: "vmlinuz", built.initrd: "initrd.img"}
    files = {source: f"{name}.{ending}" for source, ending in endings.items()}
    for source, target in files.items():
        # Running clones read these files, so they are never replaced.
        if not (rig.images / target).exists():
            new = rig.images / f".{target}.new"
            run("cp", "--reflink=auto", "--sparse=auto", source, new, timeout=120)
            new.chmod(0o644)
            os.replace(new, rig.images / target)
    define(rig, "define", template_xml(rig, name, kind))
    # A second template: the same guest in a machine without the guest agent's channel.
    define(rig, "define", template_xml(rig, name, kind, NO_AGENT))
    # A third one as virt-install makes it today: machine q35, its CD drive on SATA, which the small kernel does not see.
    define(rig, "define", template_xml(rig, name, kind, Q35))
    if rig.virsh("pool-info", "default", check=False).returncode != 0:
        define(rig, "pool-define", f"<pool type='dir'><name>default</name><target><path>{IMAGES}</path></target></pool>")
        rig.virsh("pool-autostart", "default")
        rig.virsh("pool-start", "default")
    return name


def define(rig: KvmRig, command: str, xml: str) -> None:
    path = rig.state / "new.xml"
    path.write_text(xml, encoding="utf-8")
    rig.virsh(command, str(path))
    path.unlink()


def cd_drive(target: str, bus: str) -> str:
    return f"    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/><target dev='{target}' bus='{bus}'/><readonly/></disk>\n"


def template_xml(rig: KvmRig, files: str, kind: str, variant: str = "") -> str:
    """The template's machine: `pc` with two empty CD drives on IDE, because the small kernel knows no SATA.

    files: the name of its files. variant: NO_AGENT leaves out the guest agent's channel; Q35 is machine q35 with a
    virtio-scsi controller and one CD drive, on SATA. Its own name says so.
    """
    name = files + variant
    channel = (
        "" if variant == NO_AGENT else "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
    )
    machine, drives = "pc", cd_drive("hdc", "ide") + cd_drive("hdd", "ide")
    if variant == Q35:
        machine, drives = "q35", cd_drive("sda", "sata") + "    <controller type='scsi' model='virtio-scsi'/>"
    return f"""<domain type='{kind}'>
  <name>{escape(name)}</name>
  <uuid>{rig.uuid_of(f"domain/{name}")}</uuid>
  <description>Template of the test rig: clone it, never start it</description>
  <memory unit='MiB'>{MEMORY_MIB}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <kernel>{IMAGES}/{files}.vmlinux</kernel>
    <initrd>{IMAGES}/{files}.initrd.img</initrd>
    <cmdline>{escape(image.COMMAND_LINE)}</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='maximum'/>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>{shutil.which("qemu-system-x86_64")}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{IMAGES}/{files}.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
{drives}
    <controller type='usb' model='none'/>
    <interface type='bridge'>
      <source bridge='{rig.bridge}'/>
      <model type='virtio'/>
      <rom enabled='no'/>
    </interface>
    <serial type='pty'>
      <log file='/var/log/libvirt/qemu/{name}.serial.log' append='on'/>
      <target port='0'/>
    </serial>
    <console type='pty'><target type='serial' port='0'/></console>
    {channel}
    <memballoon model='none'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
</domain>
"""


# status -------------------------------------------------------------------------------------------------------------


def status(rig: KvmRig) -> dict[str, t.Any]:
    facts = rig.facts()
    return {
        "NAME": rig.name,
        "KVM": "up" if facts and rig.answers() else "down" if not rig.state.exists() else "partly",
        "URI": rig.uri,
        "DOMAIN_TYPE": facts.get("DOMAIN_TYPE"),
        "DOMAIN_TYPE_REASON": facts.get("DOMAIN_TYPE_REASON"),
        "TEMPLATE": facts.get("TEMPLATE"),
        "TEMPLATE_NO_AGENT": f"{facts['TEMPLATE']}{NO_AGENT}" if facts.get("TEMPLATE") else None,
        "TEMPLATE_Q35": f"{facts['TEMPLATE']}{Q35}" if facts.get("TEMPLATE") else None,
        **{fact: facts.get(fact) for _build, fact in LAYERS.values()},
        "GUEST_KERNEL": facts.get("GUEST_KERNEL"),
        "HYPERVISOR_NETNS": rig.hypervisor_netns,
        "IMAGES": IMAGES,
        "IMAGES_HOST": rig.images,
        "SERIAL_LOGS": rig.serial_logs,
        "STATE_DIR": rig.state,
        "CACHE_DIR": image.cache_dir(),
        **librig_dhcp.status(rig),
    }


# down ---------------------------------------------------------------------------------------------------------------


def down(rig: KvmRig, purge: bool) -> None:
    # Everything of the rig runs in its network namespace, also processes that a killed `up` did not write down.
    # libvirtd ends first, so that it restarts nothing; virtlogd last, because the guests write to it.
    for group in (rig.daemons, ("qemu-system-x86_64", "qemu-kvm", "dnsmasq"), ("virtlogd",)):
        end_processes(rig, group)
    with contextlib.suppress(RigError):
        # The keepers end by themselves when their processes have ended.
        librig.wait_for("the end", lambda: not any(map(librig.program_of, librig.netns_pids(rig.hypervisor_netns))), 3)
    left = [f"{pid} ({librig.program_of(pid)})" for pid in librig.netns_pids(rig.hypervisor_netns) if librig.program_of(pid)]
    if left:
        say(f"left alone, not started by the rig: processes in its network namespace {', '.join(left)}")
    librig_dhcp.down(rig)
    if librig.netns_exists(rig.hypervisor_netns):
        run("ip", "netns", "del", rig.hypervisor_netns)
    remove_state(rig)
    if purge and image.cache_dir().is_dir():
        shutil.rmtree(image.cache_dir())


def end_processes(rig: KvmRig, programs: t.Sequence[str]) -> None:
    """Ends those processes in the rig's namespace that run one of `programs`, side by side."""
    found = [(pid, librig.program_of(pid)) for pid in librig.netns_pids(rig.hypervisor_netns)]
    threads = [threading.Thread(target=librig.stop_process, args=(pid, program)) for pid, program in found if program in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def remove_state(rig: KvmRig) -> None:
    if not rig.state.is_dir():
        return
    # Nothing is mounted here in the machine's own namespace; if something is, it is not the rig's to delete.
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        mounted = line.split()[1]
        if mounted == str(rig.state) or mounted.startswith(f"{rig.state}/"):
            raise RigError(f"something is mounted on {mounted}: unmount it, then call `down` again")
    made = rig.state / "made-folders"
    folders = made.read_text(encoding="ascii").split() if made.exists() else []
    shutil.rmtree(rig.state)
    for folder in (*folders, str(rig.base)):
        # Goes only when it is empty: by now it may be somebody else's.
        with contextlib.suppress(OSError):
            os.rmdir(folder)


# Command line -------------------------------------------------------------------------------------------------------


def command() -> int:
    parser = argparse.ArgumentParser(
        prog="rig", description=__doc__, epilog=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["up", "status", "down"])
    parser.add_argument("--name", default="test", help="name of the rig (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the status as JSON")
    parser.add_argument(
        "--domain-type",
        choices=["auto", "kvm", "qemu"],
        default=os.environ.get("VMOPS_RIG_DOMAIN_TYPE", "auto"),
        help="up: hardware virtualization (kvm), emulation (qemu), or kvm if a guest really runs with it (auto, the default)",
    )
    parser.add_argument(
        "--with-cloud-init", action="store_true", help="up: a second template, whose guest has the distribution's cloud-init"
    )
    parser.add_argument(
        "--with-dhcp-clients", action="store_true", help="up: another template, whose guest has the distribution's DHCP clients"
    )
    parser.add_argument(
        "--tls",
        metavar="FOLDER",
        help="up: libvirtd listens on port 16514 of its network namespace as well, with the cacert.pem, servercert.pem and serverkey.pem "
        "of this folder (a rig that is up already stays as it is)",
    )
    parser.add_argument("--purge", action="store_true", help="down: remove the cache of built images too")
    arguments = parser.parse_args()
    rig = KvmRig(arguments.name)
    # The status is for whoever may use the socket.
    if arguments.command != "status" or (rig.socket.exists() and not os.access(rig.socket, os.W_OK)):
        librig.become_root()
    if arguments.command == "up":
        with rig.lock():
            layers = [name for name in LAYERS if getattr(arguments, f"with_{name.replace('-', '_')}")]
            up(rig, arguments.domain_type, layers, arguments.tls)
    elif arguments.command == "down":
        with rig.lock():
            down(rig, arguments.purge)
        return 0
    librig.print_values(status(rig), arguments.json)
    return 0


if __name__ == "__main__":
    librig.main(command)
