#!/bin/sh
# What sshd runs for every session of one connection (`ForceCommand`): it notes what was asked, and lets
# nothing of the tester's own environment or home go further.
{
    [ -z "${SSH_AUTH_SOCK:-}" ] || printf 'ssh agent\0'
    printf '%s\0' "${SSH_ORIGINAL_COMMAND:-shell}"
} > @notes@
cd @home@ || exit 1
set -- /usr/bin/env -i @environment@ ${TERM:+"TERM=$TERM"} ${SSH_AUTH_SOCK:+"SSH_AUTH_SOCK=$SSH_AUTH_SOCK"}
[ -n "${SSH_ORIGINAL_COMMAND:-}" ] || exec "$@" @shell@ -l
exec "$@" /bin/sh -c "$SSH_ORIGINAL_COMMAND"
