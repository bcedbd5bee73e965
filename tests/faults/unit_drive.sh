#!/bin/bash
# Runs inside the container, as root: one fault after the other, what came of it into /result.
S=/var/lib/fer-agent
value() { systemctl show fer-agent -p "$1" --value; }
until_state() { for _ in $(seq 100); do [ "$(value ActiveState)" = "$1" ] && return; sleep 0.1; done; }
restarted() {
    for _ in $(seq 200); do
        [ "$(value NRestarts)" -gt "$1" ] && [ "$(value ActiveState)" = active ] && return
        sleep 0.1
    done
}
begin() {
    systemctl stop fer-agent; systemctl reset-failed fer-agent; rm -f $S/starts $S/stopped
    echo "$1" > $S/fault; chown fer-agent: $S/fault
    systemctl start fer-agent
}
note() { echo "$1=$2" >> /result; }
systemd-sysusers; systemd-tmpfiles --create
# The interpreter's own library, before Debian's of the same name.
echo /opt/base/lib > /etc/ld.so.conf.d/0base.conf; ldconfig
echo "secret" > /etc/fer-agent/mqtt-password

begin none; until_state active
note started "$(value ActiveState)"
note facts "$(cat $S/facts)"
note user "$(ps -o user= -p "$(value MainPID)")"
kill -KILL "$(value MainPID)"; restarted 0
note killed "$(value NRestarts) $(value ActiveState)"
sleep 7
note fed "$(value NRestarts)"
systemctl stop fer-agent
note stopped "$(value Result) $(ls $S/stopped 2>/dev/null)"

begin hang; restarted 0
note hang "$(value NRestarts)"
begin camera; restarted 0
note camera "$(value NRestarts)"
begin config; sleep 4
note config "$(value ActiveState) $(value ExecMainStatus) $(wc -l < $S/starts)"
# Only where there is a limit: without one it would eat the machine's own memory.
if ! grep -q "'limit': None" $S/facts; then
begin memory; for _ in $(seq 100); do [ "$(wc -l < $S/starts)" -ge 2 ] && break; sleep 0.1; done
note memory "$(wc -l < $S/starts)"
fi
systemctl stop fer-agent

# The real program, on a video, in the unit as it is; no broker, so its windows wait in the spool.
cp /real.conf /etc/systemd/system/fer-agent.service.d/test.conf; cp /agent.toml /etc/fer-agent/agent.toml
systemctl daemon-reload; systemctl reset-failed fer-agent; systemctl start fer-agent
note real "$(value ActiveState)"
agent() { PYTHONHOME=/opt/base PYTHONPATH=/opt/repo:/opt/site /opt/base/bin/python3 -B -m agent "$@"; }
for _ in $(seq 90); do
    agent status --json > /status.json 2>/status.err && grep -q '"newest_seq": [1-9]' /status.json && break
    sleep 1
done
note status "$(cat /status.json /status.err)"
pid=$(value MainPID)
systemctl reload fer-agent; sleep 10
note reload "$(value ActiveState) $([ "$(value MainPID)" = "$pid" ] && echo same) $(value NRestarts)"
systemctl stop fer-agent
note real_stopped "$(value Result)"
note spool "$(stat -c %U $S/spool) $(ls $S/spool | wc -l)"
note doctor "$(agent doctor --json 2>/doctor.err | tr -d '\n'; echo " exit ${PIPESTATUS[0]}")"
note groups "$(PYTHONHOME=/opt/base PYTHONPATH=/opt/repo:/opt/site /opt/base/bin/python3 -B /owner.py)"
note doctor_err "$(tr '\n' ' ' < /doctor.err)"
agent doctor > /dev/null 2>&1 & doctor=$!
for _ in $(seq 300); do compgen -G '/run/fer-agent-*/mqtt-password' > /dev/null && break; sleep 0.1; done
note secrets "$(ls -d /run/fer-agent-* | wc -l)"
pkill -TERM -o -f -- "-m agent doctor"; wait $doctor
note ended "$? $(ls -d /run/fer-agent-* | wc -l)"

# The installer on a running system: a fresh configuration has no policy, then it gets a video and is installed anew;
# then it is upgraded while it runs, and while it is switched off; then all is removed.
rm -r /etc/systemd/system/fer-agent.service* /etc/fer-agent/agent.toml
mkdir -p /opt/fer-agent/bin
printf '#!/bin/sh\nPYTHONHOME=/opt/base PYTHONPATH=/opt/repo:/opt/site exec /opt/base/bin/python3 -B -m agent "$@"\n' \
    > /opt/fer-agent/bin/fer-agent
chmod +x /opt/fer-agent/bin/fer-agent
agent config init /etc/fer-agent/agent.toml
said() { /opt/repo/deploy/install.sh --no-python "$@" > /said 2>&1; echo "$? $(tail -n 1 /said)"; }
state() { echo "$(value ActiveState) $(systemctl is-enabled fer-agent)"; }
note fresh "$(said) $(value ExecMainStatus)"
cp /agent.toml /etc/fer-agent/agent.toml
rm /etc/systemd/system/fer-agent.service
note installed "$(said) $(state)"
note upgraded "$(said) $(state)"
systemctl disable --now fer-agent
note switched_off "$(said) $(state)"
note removed "$(said --uninstall) $(systemctl is-active fer-agent) $(ls /etc/fer-agent)"
echo finished >> /result
systemctl --force --force poweroff
