#!/bin/sh
# What sshd runs for every session of one connection (`ForceCommand`): it notes what was asked, and lets
# nothing of the tester's own environment or home go further.
{
    [ -z "${SSH_AUTH_SOCK:-}" ] || printf 'ssh agent\0'
    printf '%s\0' "${SSH_ORIGINAL_COMMAND:-shell}"
} > @notes@
cd @home@ || exit 1
set -- /usr/bin/env -i @environment@ ${SSH_AUTH_SOCK:+"SSH_AUTH_SOCK=$SSH_AUTH_SOCK"} /bin/sh
[ -n "${SSH_ORIGINAL_COMMAND:-}" ] || exec "$@"
exec "$@" -c "$SSH_ORIGINAL_COMMAND"
