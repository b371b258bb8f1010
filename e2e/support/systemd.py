"""Stands in for systemd, which would have to be the first process of the machine.

    systemd.py SERVICE [SOCKET]

Runs the service of a unit file with the socket of another one. Prints the notifications of the service. When the
service has ended, it is started again. SIGHUP restarts it, SIGTERM stops it.
"""
import configparser
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time


def section(path, name):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(path)
    return unit[name]


service = section(sys.argv[1], 'Service')
assert service['Type'] == 'notify' and service['Restart'] == 'always'
pause = float(service['RestartSec'].removesuffix('ms')) / 1000
environment = {**os.environ, 'WATCHDOG_USEC': str(int(service['WatchdogSec']) * 1_000_000)}

notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
environment['NOTIFY_SOCKET'] = os.path.join(tempfile.mkdtemp(), 'notify')
notifications.bind(environment['NOTIFY_SOCKET'])


def listen():
    while True:
        print(notifications.recv(1000).decode(), end='', flush=True)


threading.Thread(target=listen, daemon=True).start()

script = 'export WATCHDOG_PID=$$; '
listener = None
if len(sys.argv) > 2:
    unit = section(sys.argv[2], 'Socket')
    listener = socket.create_server(('127.0.0.1', int(unit['ListenStream'])), backlog=int(unit['Backlog']))
    script += 'export LISTEN_FDS=1 LISTEN_PID=$$; exec 3<&0 </dev/null; '
is_over = False
process = None


def end(number, _):
    global is_over
    is_over |= number == signal.SIGTERM
    if process:
        process.terminate()


signal.signal(signal.SIGHUP, end)
signal.signal(signal.SIGTERM, end)
while not is_over:
    command = ['sh', '-c', f'{script}exec {service["ExecStart"]}']
    process = subprocess.Popen(command, env=environment, stdin=listener or subprocess.DEVNULL)
    # A signal may have come before.
    if is_over:
        process.terminate()
    process.wait()
    time.sleep(pause)
