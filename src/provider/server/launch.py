"""Starts one command of the user's on the server, so that it can be interrupted and its end be known.

Arguments: the folder below the home directory, the run's name, `agent` or `alone`, the command. The command
gets our input and output and a process group of its own, noted in ~/.dacapo/run-NAME; with `agent` it is not
started where no agent arrived. Exit codes are the command's own; 128 + n after signal n; 125, 126, 127 where it
couldn't be started.
"""
import os
import signal
import sys

folder, name, agent, command = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
home = os.path.expanduser("~")
record = os.path.join(home, ".dacapo", "run-" + name)


def note(words):
    with open(os.open(record, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(words)


def begin(ready):
    os.setpgid(0, 0)
    os.read(ready, 1)  # Nobody may run before the group is noted.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, ("dacapo: cannot run `%s`: %s\n" % (command[0], error.strerror)).encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


if agent == "agent" and not os.environ.get("SSH_AUTH_SOCK"):
    words = "dacapo: no ssh agent arrived here, so `%s` was not started; either none runs where you are (`ssh-add -l`" \
        " tells), or this server takes none along: `AllowAgentForwarding yes` in its /etc/ssh/sshd_config allows it\n"
    os.write(2, (words % command[0]).encode())
    os._exit(125)
os.makedirs(os.path.dirname(record), 0o700, exist_ok=True)
try:
    os.chdir(os.path.join(home, folder))
except OSError as error:
    os.write(2, ("dacapo: cannot enter `%s`: %s\n" % (folder, error.strerror)).encode())
    os._exit(125)
ready, go = os.pipe()
child = os.fork()
if child == 0:
    begin(ready)
note("group %d" % child)
os.write(go, b".")
status = os.waitpid(child, 0)[1]
code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
if code == 255:
    note("exit 255")  # ssh says 255 too when the connection is lost; this tells the two apart.
else:
    os.unlink(record)
os._exit(code)
