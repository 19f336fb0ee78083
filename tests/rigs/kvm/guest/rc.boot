#!/bin/sh
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Boot of the test guest, run by busybox init before there is a login prompt. Every step leaves a mark on the console,
# which the serial log keeps: BOOT[seconds since power-on] step.

PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

mark() {
    read -r up _ </proc/uptime
    echo "BOOT[$up] $*" >/dev/console
}

mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run
mkdir -p /run/lock /run/rig /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /tmp
ip link set lo up

# Without polling the kernel never notices that a CD was changed in a running machine.
echo 2000 >/sys/module/block/parameters/events_dfl_poll_msecs

if [ -x /lib/systemd/systemd-udevd ]; then
    udevd=/lib/systemd/systemd-udevd
else
    udevd=/usr/lib/systemd/systemd-udevd
fi
"$udevd" --daemon
udevadm trigger --action=add --subsystem-match=block --subsystem-match=virtio-ports --subsystem-match=net --subsystem-match=input
udevadm settle --timeout=60
mark udev

# A name of its own for every machine, so that the DHCP server's log can be read.
read -r mac </sys/class/net/eth0/address 2>/dev/null || mac=00:00:00:00:00:00
suffix=$(echo "$mac" | tr -d : | cut -c7-)
hostname "vm-$suffix"
hostname >/etc/hostname
busybox syslogd -O /var/log/messages

# What must know its data before there is a network.
/etc/rc.guest early

for link in /sys/class/net/eth*; do
    [ -e "$link" ] && /usr/local/sbin/nic-up "${link##*/}"
done
: >/run/rig/booted
port=/dev/virtio-ports/org.qemu.guest_agent.0
# On q35 the port comes a moment after its controller; a VM without an agent's channel has neither.
tries=20
while [ ! -e "$port" ] && [ "$tries" -gt 0 ] && ls -d /sys/bus/virtio/drivers/virtio_console/virtio* >/dev/null 2>&1; do
    sleep 1
    tries=$((tries - 1))
done
[ -e "$port" ] && qemu-ga -d -m virtio-serial -p "$port"
mark network

# Password and keys from the config drive, before anybody can log in.
/etc/rc.guest late
mark guest-scripts

[ -d /proc/acpi ] && busybox acpid -c /etc/acpi -p /run/acpid.pid -l /var/log/acpid.log
mark ready
